import { settleOrAbort } from "./settle-or-abort.ts";

/**
 * What comes, until the signal aborts: then its reason is thrown at once, and nobody waits for the source to end, which
 * may itself wait for what never comes.
 */
export async function* untilAborted<T>(items: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T> {
  const iterator = items[Symbol.asyncIterator]();
  let hasEnded = false;
  try {
    for (;;) {
      const next = await settleOrAbort(iterator.next(), signal);
      if (next.done === true) {
        hasEnded = true;
        return;
      }
      yield next.value;
    }
  } finally {
    if (!hasEnded) iterator.return?.().catch(() => undefined);
  }
}
