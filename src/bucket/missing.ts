import { settleOrAbort } from "../concurrency/settle-or-abort.ts";
import type { ObjectInfo } from "../store/object-store.ts";

/**
 * What `wanted` has and `there` does not; both are in the order of their keys. Of a listing that is not, too much is
 * yielded, never too little.
 *
 * @throws the signal's reason when it aborts, also while a listing hangs.
 */
export async function* missingFrom(
  there: AsyncIterable<ObjectInfo>,
  wanted: AsyncIterable<ObjectInfo>,
  signal: AbortSignal,
): AsyncGenerator<ObjectInfo> {
  const others = there[Symbol.asyncIterator]();
  const next = (): Promise<IteratorResult<ObjectInfo, unknown>> => settleOrAbort(others.next(), signal);
  try {
    let other = await next();
    for await (const object of wanted) {
      signal.throwIfAborted();
      while (other.done !== true && other.value.key < object.key) other = await next();
      if (other.done === true || other.value.key !== object.key) yield object;
    }
  } finally {
    const ended = Promise.resolve(others.return?.()).catch(() => undefined);
    // One that hangs is not waited for.
    if (!signal.aborted) await ended;
  }
}
