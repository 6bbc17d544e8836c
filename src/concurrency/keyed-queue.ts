/** Work on what has a key: what concerns one key is done one after the other, in the order in which it was asked for. */
export class KeyedQueue<Key> {
  readonly #last = new Map<Key, Promise<unknown>>();

  /** Does `work` when all that was asked for this key before has ended, whatever came of it: at once where that is so. */
  async run<T>(key: Key, work: () => Promise<T>): Promise<T> {
    const before = this.#last.get(key)?.catch(() => undefined);
    const done = before === undefined ? work() : before.then(work);
    this.#last.set(key, done);
    try {
      return await done;
    } finally {
      if (this.#last.get(key) === done) this.#last.delete(key);
    }
  }

  /** Resolves when all that was asked for until now has ended, whatever came of it. */
  async idle(): Promise<void> {
    await Promise.allSettled(this.#last.values());
  }
}
