import type {
  DatedObject,
  DatedStore,
  Key,
  ListOptions,
  OpenObject,
  PutOptions,
  Source,
  Version,
} from "../../src/store/object-store.ts";

/** What is asked of a store. */
export interface StoreCall {
  readonly verb: "head" | "get" | "put" | "delete" | "list";
  readonly key: Key;
}

/** What a test does about what is asked: it waits, or throws. */
export interface Steps {
  /** Before it is done; where it throws, nothing is. */
  readonly before?: (call: StoreCall) => void | Promise<void>;
  /** When it is done, and nobody knows; where it throws, nobody hears of it. */
  readonly after?: (call: StoreCall) => void | Promise<void>;
}

/** A store of which each operation goes on when a test lets it; a listing at each of its objects. */
export class SteppedStore implements DatedStore {
  readonly #store: DatedStore;
  readonly #steps: Steps;

  constructor(store: DatedStore, steps: Steps) {
    this.#store = store;
    this.#steps = steps;
  }

  head(key: Key): Promise<DatedObject | undefined> {
    return this.#step({ verb: "head", key }, () => this.#store.head(key));
  }

  get(key: Key): Promise<OpenObject | undefined> {
    return this.#step({ verb: "get", key }, () => this.#store.get(key));
  }

  put(key: Key, source: Source, options?: PutOptions): Promise<Version> {
    return this.#step({ verb: "put", key }, () => this.#store.put(key, source, options));
  }

  delete(key: Key, options?: { readonly if?: Version }): Promise<void> {
    return this.#step({ verb: "delete", key }, () => this.#store.delete(key, options));
  }

  async *list(prefix: Key, options?: ListOptions): AsyncGenerator<DatedObject> {
    await this.#steps.before?.({ verb: "list", key: prefix });
    for await (const object of this.#store.list(prefix, options)) {
      yield object;
      await this.#steps.before?.({ verb: "list", key: prefix });
    }
    await this.#steps.after?.({ verb: "list", key: prefix });
  }

  now(): number {
    return this.#store.now();
  }

  close(): Promise<void> {
    return this.#store.close();
  }

  async #step<T>(call: StoreCall, work: () => Promise<T>): Promise<T> {
    await this.#steps.before?.(call);
    const result = await work();
    await this.#steps.after?.(call);
    return result;
  }
}
