import type { LedgerOverhead } from "../ledger/ledger.ts";

/** What the store's folder takes besides content and records, in bytes. */
export interface Besides extends LedgerOverhead {
  /** Damaged content that was put aside. */
  readonly quarantineBytes: number;
  /** What is hosted, as far as it was counted. */
  readonly hostedBytes: number;
  /** The lock, the format, what the program remembers, and what could not be removed at the start. */
  readonly othersBytes: number;
  /** What is kept back for what is just being written: records that replace others, and what is written of them. */
  readonly slackBytes: number;
}

/** What it is while that is not known. */
export const nothingBesides: Besides = {
  ledgerBytes: 0,
  foldersBytes: 0,
  quarantineBytes: 0,
  hostedBytes: 0,
  othersBytes: 0,
  slackBytes: 0,
};

/** All of it. */
export function sumBesides(besides: Besides): number {
  const { ledgerBytes, foldersBytes, quarantineBytes, hostedBytes, othersBytes, slackBytes } = besides;
  return ledgerBytes + foldersBytes + quarantineBytes + hostedBytes + othersBytes + slackBytes;
}
