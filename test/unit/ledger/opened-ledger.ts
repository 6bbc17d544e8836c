import { join } from "node:path";
import { type LedgerOptions, openLedger } from "../../../src/ledger/client.ts";
import type { Ledger } from "../../../src/ledger/ledger.ts";
import { until } from "../../support/event-loop.ts";

/** A ledger with what it says to its observer. */
export interface Opened extends AsyncDisposable {
  readonly ledger: Ledger;
  readonly said: string[];
  /** Resolves when the store has been read `times` times, or did not need to be. */
  known(): Promise<void>;
}

/** Opens the ledger of a folder. */
export function openIn(folder: { readonly path: string }, options: Partial<LedgerOptions> = {}): Opened {
  const said: string[] = [];
  const ledger = openLedger({
    path: join(folder.path, "ledger.sqlite"),
    root: folder.path,
    now: () => 1_000,
    observer: {
      rebuilding: (reason) => said.push(reason),
      rebuilt: ({ objects, unreadable }) =>
        said.push(`rebuilt ${objects}${unreadable > 0 ? `, not ${unreadable}` : ""}`),
      failed: (error) => said.push(`failed: ${error.message}`),
    },
    ...options,
  });
  return {
    ledger,
    said,
    known: () => until(() => ledger.totals !== undefined),
    [Symbol.asyncDispose]: () => ledger.close(),
  };
}
