import type { Key } from "../store/object-store.ts";

/** How often an object may fail while others are copied. */
const maxRefusals = 5;

/** Which objects fail although the bucket takes others, an object that is too large for it for example. */
export class Refusals {
  /** Of what failed: how often it did while others were copied, and how many had been when it failed last. */
  readonly #failed = new Map<Key, { readonly times: number; readonly copied: number }>();
  #copied = 0;

  /** Notes that some object was copied. */
  noteCopied(): void {
    this.#copied++;
  }

  /** An object does not fail any more. */
  forget(key: Key): void {
    this.#failed.delete(key);
  }

  /** Notes that an object failed; false where it has done so often, and others did not. It is forgotten then. */
  mayTryAgain(key: Key): boolean {
    const before = this.#failed.get(key) ?? { times: 0, copied: this.#copied };
    const times = before.copied === this.#copied ? before.times : before.times + 1;
    if (times < maxRefusals) this.#failed.set(key, { times, copied: this.#copied });
    else this.#failed.delete(key);
    return times < maxRefusals;
  }
}
