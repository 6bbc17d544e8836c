import type { Namespace } from "../oci/reference.ts";
import type { LedgerChange, LedgerQueries } from "./ledger.ts";

/** A question with what it is asked with. */
export type Query = {
  [Name in keyof LedgerQueries]: { readonly name: Name; readonly parameters: Parameters<LedgerQueries[Name]> };
}[keyof LedgerQueries];

/** Why the store is read. */
export type RebuildReason = "absent" | "damaged" | "another version" | "not complete" | "not closed" | "asked for";

/** Charged bytes of the store and of some namespaces, or of all; one with 0 bytes is gone. */
export interface TotalsPart {
  readonly bytes: number;
  /** What the store's folders take besides. */
  readonly foldersBytes: number;
  readonly namespaces: readonly (readonly [Namespace, number])[];
}

/** How reading the store went. */
export interface RebuildStats {
  /** What was found. */
  readonly objects: number;
  /** What could not be looked up or read: it is left out, or as it was known before. */
  readonly unreadable: number;
  readonly durationMs: number;
}

/** What the thread is asked for. It does one after the other, in order. */
export type LedgerRequest =
  | { readonly kind: "changes"; readonly id: number; readonly changes: readonly LedgerChange[] }
  | { readonly kind: "query"; readonly id: number; readonly query: Query }
  /** The answer to `rebuilding`: what was told last, and perhaps is not written yet. */
  | { readonly kind: "scan"; readonly recent: readonly LedgerChange[] }
  | { readonly kind: "rebuild"; readonly id: number }
  | { readonly kind: "close" };

/** A request, and what time it is for the one who asks (milliseconds since 1970). */
export type LedgerMessage = LedgerRequest & { readonly now: number };

/** The same with what the ledger's own files take. */
export interface WithOverhead extends TotalsPart {
  readonly ledgerBytes: number;
}

/** What the thread says. */
export type LedgerReply =
  /** The changes are in the ledger, or lost: then `totals` becomes unknown. Or: the store was read anew. */
  | { readonly kind: "done"; readonly id: number; readonly changed?: WithOverhead }
  | { readonly kind: "answer"; readonly id: number; readonly value: unknown }
  | { readonly kind: "refused"; readonly id: number; readonly error: Error }
  /** The question is not to be answered before all of the store is known, or cannot be for the reason given. */
  | { readonly kind: "not ready"; readonly id: number; readonly error?: Error }
  /** All totals, or that they are not known. */
  | { readonly kind: "totals"; readonly totals: WithOverhead | undefined }
  /** The store will be read as soon as `scan` comes. */
  | { readonly kind: "rebuilding"; readonly reason: RebuildReason }
  | ({ readonly kind: "rebuilt" } & RebuildStats)
  | { readonly kind: "failed"; readonly error: Error }
  | { readonly kind: "closed" };

/** What the thread is started with. */
export interface LedgerThreadData {
  /** The database's file. */
  readonly path: string;
  /** The folder of the store. */
  readonly root: string;
  /** As of `LedgerOptions`. */
  readonly maxBytes?: number | undefined;
  /** How long it waits before it tries again what failed. */
  readonly retryMs: number;
  /** Milliseconds since 1970. */
  readonly now: number;
}
