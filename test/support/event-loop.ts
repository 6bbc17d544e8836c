import { setImmediate, setTimeout as rest } from "node:timers/promises";

/** Longer than anything in a test takes on a busy machine: who waits longer waits for ever. */
const patienceMs = 60_000;
const quickTurns = 100;
const restMs = 5;

/**
 * Keeps the process alive until it goes out of scope (`using`), for tests that wait for what does not: a worker thread
 * that is not referenced, a socket of another process. A test that waits for ever is let go, and fails for that.
 */
export function holdEventLoop(): Disposable {
  // It ends itself: a test that has its own clock by now would not clear a timer of the real one.
  return setTimeout(() => undefined, patienceMs);
}

/** Lets everything that is ready run: `turns` turns of the event loop. */
export async function turn(turns = 1): Promise<void> {
  for (let count = 0; count < turns; count++) await setImmediate();
}

/**
 * Waits until `condition` holds; fails, and says what it was, where that takes longer than anything in a test does. It is
 * tried in each turn of the event loop, soon with rests, which leave the processor to whoever makes it come true.
 */
export async function until(condition: () => boolean | Promise<boolean>): Promise<void> {
  const started = performance.now();
  for (let turns = 0; !(await condition()); turns++) {
    if (performance.now() - started > patienceMs) throw new Error(`it never came to ${condition.toString()}`);
    await (turns < quickTurns ? setImmediate() : rest(restMs));
  }
}

/** A signal that never aborts. */
export function never(): AbortSignal {
  return new AbortController().signal;
}
