/** Requests that were sent to the ledger's thread and are not settled, by number. */
export class Requests {
  readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();

  get size(): number {
    return this.#waiting.size;
  }

  /** A promise for the answer to the request of this number. */
  async add(id: number): Promise<unknown> {
    const settled = Promise.withResolvers<unknown>();
    this.#waiting.set(id, settled);
    return settled.promise;
  }

  /** Settles a request; one that is none changes nothing. */
  resolve(id: number, value: unknown): void {
    this.#waiting.get(id)?.resolve(value);
    this.#waiting.delete(id);
  }

  reject(id: number, error: Error): void {
    this.#waiting.get(id)?.reject(error);
    this.#waiting.delete(id);
  }

  rejectAll(error: Error): void {
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}
