import type { Namespace } from "../oci/reference.ts";
import type { HashPool } from "../store/hashing.ts";
import type { Breaker } from "../upstream/breaker.ts";
import type { Budget } from "../upstream/budget.ts";
import type { Upstream } from "../upstream/upstream.ts";
import type { Background } from "../concurrency/background.ts";
import type { Content } from "./content.ts";
import type { Digest } from "../oci/digest.ts";
import type { RepositoryId } from "../store/layout.ts";
import type { Fill } from "./fill.ts";
import type { Fills } from "./fills.ts";
import type { FreshnessPolicy } from "./freshness.ts";
import type { Ledger } from "../ledger/ledger.ts";

/** What a mirror is made of, and how it behaves. */
export interface MirrorTools {
  readonly namespace: Namespace;
  /** Guarded by `breaker`. */
  readonly upstream: Upstream;
  readonly breaker: Breaker;
  readonly budget: Budget;
  readonly content: Content;
  readonly fills: Fills;
  readonly hashes: HashPool;
  readonly background: Background;
  readonly policy: FreshnessPolicy;
  /** How often in a row a blob's transfer may break without progress. */
  readonly retries: number;
  /** How long a client waits for an upstream while something stale could be served, in milliseconds. */
  readonly staleWaitMs: number;
  /**
   * Whether the upstream's word counts as proof that a repository contains a digest. It does for a configured one; a
   * stranger could name the digest of somebody's private blob, so it has to send the bytes.
   */
  readonly trusted: boolean;
  /** How much is remembered at most, of each kind: tags that were not fetched, blobs that were looked into. */
  readonly remembered: number;
  /** Whether stored blobs are hashed each time they are served. */
  readonly checkDigest: boolean;
  /** Whether an image's blobs are fetched as soon as a client has its manifest. */
  readonly prefetch: boolean;
  /** Told of each fill that this mirror begins, in the tick in which it begins. */
  readonly follow?: (fill: Fill, id: RepositoryId, digest: Digest) => void;
  /**
   * Whether another instance has stored a manifest, or does within some seconds: what a client was told of here it may
   * fetch there. Never rejects.
   */
  readonly isStoredElsewhere?: (id: RepositoryId, digest: Digest) => Promise<boolean>;
  /** Told of each manifest and blob that a client was given or told of, a manifest perhaps by tag. */
  readonly noteUse: Ledger["use"];
  /** For what is stored; see `Clock`. */
  readonly now: () => number;
  /** For what is only waited for. */
  readonly monotonic: () => number;
  /** Aborts questions to the upstream when the process ends. */
  readonly signal: AbortSignal;
}
