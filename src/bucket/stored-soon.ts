import type { Clock } from "../concurrency/clock.ts";
import type { Digest } from "../oci/digest.ts";
import { linkKey, type RepositoryId } from "../store/layout.ts";
import type { Bucket } from "./bucket.ts";

/** When it is looked, in milliseconds after the last look. A client goes on at once, and its manifest is copied soon. */
const looksMs = [500, 2_000, 8_000];

/**
 * Whether another instance stores that a repository contains a digest, within some ten seconds: a client that has asked
 * here what a tag stands for may fetch that from another one. Never rejects; false when the signal aborts.
 */
export async function isStoredSoon(
  bucket: Pick<Bucket, "link" | "doubtAbsence">,
  id: RepositoryId,
  digest: Digest,
  clock: Pick<Clock, "wait">,
  signal: AbortSignal,
): Promise<boolean> {
  for (const ms of looksMs) {
    const isOver = await clock.wait(ms, signal).then(
      () => false,
      () => true,
    );
    if (isOver) return false;
    bucket.doubtAbsence(linkKey(id, digest));
    if ((await bucket.link(id, digest)) !== undefined) return true;
  }
  return false;
}
