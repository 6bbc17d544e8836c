import { setImmediate } from "node:timers/promises";

const longestTestMs = 20_000;

/**
 * Keeps the process alive until it goes out of scope (`using`), for tests that wait for what does not: a worker thread
 * that is not referenced, a socket of another process. A test that waits for ever is let go, and fails for that.
 */
export function holdEventLoop(): Disposable {
  const timer = setTimeout(() => undefined, longestTestMs);
  return { [Symbol.dispose]: () => clearTimeout(timer) };
}

/** Lets everything that is ready run: `turns` turns of the event loop. */
export async function turn(turns = 1): Promise<void> {
  for (let count = 0; count < turns; count++) await setImmediate();
}

/** Lets the event loop turn until `condition` holds; fails where that takes longer than anything in a test should. */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const started = performance.now();
  while (!(await condition())) {
    if (performance.now() - started > 5_000) throw new Error(`it never came to ${condition.toString()}`);
    await setImmediate();
  }
}

/** A signal that never aborts. */
export function never(): AbortSignal {
  return new AbortController().signal;
}
