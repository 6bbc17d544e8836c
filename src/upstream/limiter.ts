/** A queue of the limiter: who waits in one is served in order, and the queues take turns. */
export interface Queue {
  readonly key: string;
  /** Transfers that may take minutes. They never take the last slots, so that small requests go on beside them. */
  readonly bulk: boolean;
}

/** Limits how much happens at once. */
export interface Limiter {
  /**
   * Waits for a slot. The slot is held until the function that it resolves to is called; calling that again does
   * nothing. When the signal aborts, the place in the queue is given up and the promise rejects with its reason.
   */
  acquire(queue: Queue, signal: AbortSignal): Promise<() => void>;
  /** How many slots are held. */
  readonly running: number;
  /** How many wait for one. */
  readonly waiting: number;
}

interface Waiter {
  readonly bulk: boolean;
  readonly start: () => void;
}

/**
 * A limiter of `slots` slots. A quarter of them (at least one, where there are two) is kept from bulk transfers: turns
 * alone would not help a manifest while every slot is held by a large blob.
 */
export function createLimiter(slots: number): Limiter {
  const bulkSlots = slots <= 1 ? slots : slots - Math.max(1, Math.floor(slots / 4));
  // In the order in which they have their turn; a queue that was served goes to the end, an empty one is removed.
  const queues = new Map<string, Waiter[]>();
  let running = 0;
  let runningBulk = 0;
  let waiting = 0;

  const mayRun = (bulk: boolean): boolean => running < slots && (!bulk || runningBulk < bulkSlots);

  const hold = (bulk: boolean): (() => void) => {
    running += 1;
    runningBulk += bulk ? 1 : 0;
    let held = true;
    return () => {
      if (held) {
        held = false;
        running -= 1;
        runningBulk -= bulk ? 1 : 0;
        serve();
      }
    };
  };

  const serve = (): void => {
    for (const [key, waiters] of queues) {
      const [next] = waiters;
      if (next !== undefined && mayRun(next.bulk)) {
        remove(key, next);
        if (waiters.length > 0) {
          queues.delete(key);
          queues.set(key, waiters);
        }
        next.start();
        return;
      }
    }
  };

  const remove = (key: string, waiter: Waiter): void => {
    const waiters = queues.get(key) ?? [];
    waiters.splice(waiters.indexOf(waiter), 1);
    waiting -= 1;
    if (waiters.length === 0) {
      queues.delete(key);
    }
  };

  return {
    get running() {
      return running;
    },
    get waiting() {
      return waiting;
    },
    async acquire({ key, bulk }, signal) {
      signal.throwIfAborted();
      // A slot that is free while somebody waits is one that is kept from bulk transfers.
      if (!queues.has(key) && mayRun(bulk)) {
        return hold(bulk);
      }
      return new Promise((resolve, reject) => {
        const leave = (): void => {
          remove(key, waiter);
          reject(signal.reason);
        };
        const waiter: Waiter = {
          bulk,
          start: () => {
            signal.removeEventListener("abort", leave);
            resolve(hold(bulk));
          },
        };
        signal.addEventListener("abort", leave, { once: true });
        const waiters = queues.get(key) ?? [];
        waiters.push(waiter);
        queues.set(key, waiters);
        waiting += 1;
      });
    },
  };
}
