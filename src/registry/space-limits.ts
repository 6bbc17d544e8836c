import type { Namespace } from "../oci/reference.ts";

/** A size, or a share (0 to 1) of the volume. */
export type SizeLimit =
  | { readonly kind: "bytes"; readonly bytes: number }
  | { readonly kind: "share"; readonly share: number };

/** How much the store may take. */
export interface SpaceLimits {
  /** The hard limit; `undefined`: as much as the volume has. */
  readonly maxSize: SizeLimit | undefined;
  /** What stays free on the volume, whoever else uses it. */
  readonly minFree: SizeLimit;
  /** The share of the limit above which room is made, and the share that is then aimed at. */
  readonly highWatermark: number;
  readonly lowWatermark: number;
  /** What a namespace may take. */
  readonly namespaceMaxBytes: (namespace: Namespace) => number | undefined;
}
