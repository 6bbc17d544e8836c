import type { BucketStore } from "../../src/store/bucket-store.ts";
import type { DatedObject, Key, ListOptions } from "../../src/store/object-store.ts";

/** A server's clock that a test sets forward: what its listings tell of times is as if so much had passed. */
export class ServerAge {
  /** The real moments at which it was set forward, and by how much then, in milliseconds. */
  readonly #steps: { readonly at: number; readonly ms: number }[] = [];

  /** Lets time pass. What is written from the next second on is written then. */
  async pass(ms: number): Promise<void> {
    // Servers tell whole seconds.
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    this.#steps.push({ at: Date.now() - 1_000, ms });
  }

  /** The same store, whose listings tell the times of this clock. */
  watch(store: BucketStore): BucketStore {
    const timeOf = this.#timeOf.bind(this);
    return {
      now: () => timeOf(store.now()),
      async head(key) {
        const object = await store.head(key);
        return object && { ...object, writtenAt: timeOf(object.writtenAt) };
      },
      get: (key) => store.get(key),
      put: (key, source, options) => store.put(key, source, options),
      upload: (key, bytes, options) => store.upload(key, bytes, options),
      delete: (key, options) => store.delete(key, options),
      probe: () => store.probe(),
      sweepUploads: (olderThanMs) => store.sweepUploads(olderThanMs),
      presign: (key, options) => store.presign(key, options),
      close: () => store.close(),
      async *list(prefix: Key, options?: ListOptions): AsyncGenerator<DatedObject> {
        for await (const object of store.list(prefix, options)) {
          yield { ...object, writtenAt: timeOf(object.writtenAt) };
        }
      },
    };
  }

  #timeOf(real: number): number {
    return this.#steps.reduce((time, { at, ms }) => (real >= at ? time + ms : time), real);
  }
}
