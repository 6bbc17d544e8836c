const holdBackBytes = 16 * 1024;

/**
 * Passes `chunks` on, but keeps the last bytes of the `lengthBytes` that are expected until `released` resolves: what
 * turns out to be wrong then never makes a complete answer. Rejects with what `released` rejects with, or with the
 * reason of `signal`.
 *
 * With a length that is not finite nothing is kept but the end itself.
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
  const kept: Uint8Array[] = [];
  let position = 0;
  for await (const chunk of chunks) {
    const free = Math.max(0, Math.min(chunk.length, keepFrom - position));
    position += chunk.length;
    if (free > 0) yield free === chunk.length ? chunk : chunk.subarray(0, free);
    // A chunk is valid only until the next one, so what is kept is copied.
    if (free < chunk.length) kept.push(Uint8Array.from(chunk.subarray(free)));
  }
  await unlessAborted(released, signal);
  yield* kept;
}

async function unlessAborted(promise: Promise<void>, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const abort = (): void => aborted.reject(signal.reason as Error);
  signal.addEventListener("abort", abort, { once: true });
  try {
    await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
