import type { RetentionReport } from "../bucket/retention.ts";
import type { NamespaceUsage } from "../ledger/ledger.ts";
import type { Besides } from "../registry/besides.ts";
import type { Volume } from "../registry/volume-watch.ts";

/** How full the store is, in bytes as they are charged (whole blocks). */
export interface UsageReport {
  readonly bytes: number;
  /** Whether `bytes` is exact; otherwise the ledger is being rebuilt, and it is all that the volume holds. */
  readonly exact: boolean;
  /** Set aside for what is being stored. */
  readonly reservedBytes: number;
  /** What the folder takes besides, and what is kept back. */
  readonly besides: Besides;
  /** What `bytes`, `reservedBytes` and `besides` may come to now; `undefined` where there is no limit. */
  readonly limitBytes: number | undefined;
  /** `undefined` where nothing is known of it. */
  readonly volume: Volume | undefined;
  /** What pins keep. */
  readonly pinnedBytes: number;
  /** What was found when an instance looked through the bucket last; `undefined` where there is none, or nobody has. */
  readonly bucket: RetentionReport | undefined;
  /** Content that several namespaces hold counts fully in each. */
  readonly namespaces: readonly (NamespaceUsage & { readonly limitBytes: number | undefined })[];
}

/** One of several instances that act as one. */
export interface ReplicaReport {
  /** A new one for each process. */
  readonly id: string;
  /** Where the others reach it. */
  readonly address: string;
  /** Whether it is the one that tells this. */
  readonly isSelf: boolean;
  /** When it was last heard of, in milliseconds before now. */
  readonly silentMs: number;
  /** What it fetches for all, or has just fetched: what it holds the leases of, and not more than a hundred. */
  readonly fetching: readonly string[];
}
