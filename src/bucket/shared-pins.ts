import { isPatterns, parsePin, type Pin, PinError } from "../oci/pin.ts";
import type { BucketStore } from "../store/bucket-store.ts";
import type { Key, ObjectStore } from "../store/object-store.ts";
import { readRecord } from "../store/read-record.ts";

/** Each instance has an object below it. */
const pinsPrefix = "pins" as Key;
/** How often they are written where nothing changes, so that the others see that the instance is there. */
const refreshMs = 24 * 3_600_000;
/** The pins of an instance that was silent for so long do not count any more. */
const vanishedMs = 7 * 24 * 3_600_000;

/** What an instance tells the others of its pins with. */
export interface SharedPinsOptions {
  readonly store: ObjectStore;
  /** Names this instance, also after a restart. */
  readonly instance: string;
  /** The patterns that count now, the same list until something changes; `undefined` as long as not all are known. */
  readonly patterns: () => readonly string[] | undefined;
  /** As of `Clock`. */
  readonly monotonic: () => number;
}

/** Tells the other instances what this one has pinned, for whoever removes something from the bucket. */
export class SharedPins {
  readonly #options: SharedPinsOptions;
  #told: { readonly patterns: readonly string[]; readonly at: number } | undefined;

  constructor(options: SharedPinsOptions) {
    this.#options = options;
  }

  /** Writes them, where they changed or it is long ago. Throws what fails. */
  async tell(): Promise<void> {
    const { store, instance, monotonic } = this.#options;
    const patterns = this.#options.patterns();
    const at = monotonic();
    if (patterns === undefined) return;
    if (this.#told?.patterns === patterns && at - this.#told.at < refreshMs) return;
    const isNothing = patterns.length === 0;
    // Another process of this instance may have had some.
    if (isNothing && this.#told?.patterns.length !== 0) await store.delete(keyOf(instance));
    if (!isNothing) await store.put(keyOf(instance), Buffer.from(JSON.stringify({ patterns })));
    this.#told = { patterns, at };
  }
}

/**
 * What the instances have pinned that were heard of within a week; what is older is removed.
 *
 * @param now The server's time.
 * @throws {StoreError}
 */
export async function readPins(store: BucketStore, now: number): Promise<Pin[]> {
  const pins = new Map<string, Pin>();
  for await (const { key, writtenAt } of store.list(pinsPrefix)) {
    if (now - writtenAt >= vanishedMs) {
      await store.delete(key);
      continue;
    }
    for (const text of (await readRecord(store, key, isPatterns))?.patterns ?? []) {
      const pin = pins.has(text) ? undefined : readPin(text);
      if (pin !== undefined) pins.set(text, pin);
    }
  }
  return [...pins.values()];
}

function keyOf(instance: string): Key {
  return `${pinsPrefix}/${instance}` as Key;
}

/** One that a later version has written may mean nothing here. */
function readPin(text: string): Pin | undefined {
  try {
    return parsePin(text);
  } catch (error) {
    if (error instanceof PinError) return undefined;
    throw error;
  }
}
