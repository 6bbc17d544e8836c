import { settleOrAbort } from "../concurrency/settle-or-abort.ts";

/** How much of an answer is kept back until its digest is known. */
export const holdBackBytes = 16 * 1024;

/**
 * Passes `chunks` on, but keeps the last bytes of the `lengthBytes` that are expected until `released` resolves: what
 * turns out to be wrong then never makes a complete answer. Rejects with what `released` rejects with, or with the
 * reason of `signal`.
 *
 * With a length that is not finite, the newest bytes are kept back all along.
 */
export async function* holdBack(
  chunks: AsyncIterable<Uint8Array>,
  lengthBytes: number,
  released: Promise<void>,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  // A reader that leaves early never gets to wait for it.
  released.catch(() => undefined);
  const keepFrom = Math.max(0, lengthBytes - holdBackBytes);
  let kept: Uint8Array[] = [];
  let position = 0;
  for await (const chunk of chunks) {
    const free = Math.max(0, Math.min(chunk.length, keepFrom - position));
    position += chunk.length;
    if (lengthBytes === Infinity) {
      // A chunk is valid only until the next one, so what is kept is copied.
      const both = Buffer.concat([...kept, chunk]);
      const ready = Math.max(0, both.length - holdBackBytes);
      kept = [Uint8Array.from(both.subarray(ready))];
      if (ready > 0) yield both.subarray(0, ready);
    } else {
      if (free > 0) yield free === chunk.length ? chunk : chunk.subarray(0, free);
      if (free < chunk.length) kept.push(Uint8Array.from(chunk.subarray(free)));
    }
  }
  await settleOrAbort(released, signal);
  yield* kept;
}
