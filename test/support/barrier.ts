/** A point where one side of a test waits until the other side lets it go on. */
export interface Barrier {
  /** Resolves when somebody waits at the barrier for the first time. */
  readonly reached: Promise<void>;
  /** Resolves when `count` callers have come to the barrier, those that have left it included. */
  arrivals(count: number): Promise<void>;
  /** Waits until `release` was called. */
  wait(): Promise<void>;
  /** Opens the barrier for everybody, now and later. */
  release(): void;
}

/** Makes a closed barrier. */
export function createBarrier(): Barrier {
  const opened = Promise.withResolvers<void>();
  const expected: { count: number; resolve: () => void }[] = [];
  let arrived = 0;

  function arrivals(count: number): Promise<void> {
    if (arrived >= count) {
      return Promise.resolve();
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    expected.push({ count, resolve });
    return promise;
  }

  return {
    reached: arrivals(1),
    arrivals,
    wait() {
      arrived += 1;
      for (const { count, resolve } of expected) {
        if (arrived >= count) {
          resolve();
        }
      }
      return opened.promise;
    },
    release: opened.resolve,
  };
}
