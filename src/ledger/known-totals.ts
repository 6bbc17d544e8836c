import type { Namespace } from "../oci/reference.ts";
import type { LedgerOverhead, Totals } from "./ledger.ts";
import type { WithOverhead } from "./messages.ts";

/** The totals as they were heard of last. */
export class KnownTotals {
  #overhead: LedgerOverhead = { ledgerBytes: 0, foldersBytes: 0 };
  #totals: { bytes: number; readonly namespaces: Map<Namespace, number> } | undefined;

  /** `undefined` while they are not known. */
  get totals(): Totals | undefined {
    return this.#totals;
  }

  /** What there is besides, as of then. */
  get overhead(): LedgerOverhead {
    return this.#overhead;
  }

  /** All of them; or that they are not known. */
  set(totals: WithOverhead | undefined): void {
    this.#totals = totals && { bytes: 0, namespaces: new Map() };
    if (totals !== undefined) this.change(totals);
  }

  /** Those that have changed; without meaning while the others are not known. */
  change({ bytes, namespaces, ledgerBytes, foldersBytes }: WithOverhead): void {
    if (this.#totals === undefined) return;
    this.#overhead = { ledgerBytes, foldersBytes };
    this.#totals.bytes = bytes;
    for (const [namespace, held] of namespaces) {
      if (held > 0) this.#totals.namespaces.set(namespace, held);
      else this.#totals.namespaces.delete(namespace);
    }
  }
}
