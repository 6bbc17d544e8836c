import { randomUUID } from "node:crypto";
import { isObject } from "../oci/document.ts";
import { errorOf, type Key, type ObjectStore, StoreError } from "../store/object-store.ts";
import { readRecord } from "../store/read-record.ts";
import type { SharedSecret } from "./shared-secret.ts";

/** How long a notice is kept for replicas that are not there. */
const keptMs = 7 * 24 * 3_600_000;

/** Below this lies what all replicas are told. */
export const noticesPrefix: Key = "replicas/notices" as Key;

/** Which notices this replica has obeyed, as its folder remembers it: what is in the folder may be older than a process. */
export interface ObeyedNotices {
  load(): Promise<ReadonlySet<string>>;
  save(names: ReadonlySet<string>): Promise<void>;
}

/** What notices work with. */
export interface NoticesOptions {
  readonly store: ObjectStore;
  readonly secret: SharedSecret;
  readonly obeyed: ObeyedNotices;
  /** Does what a notice says. Throws where that has to be tried again. */
  readonly obey: (text: string) => Promise<void>;
  /** As of `Clock`. */
  readonly now: () => number;
  /** Told of what could not be obeyed now, or is no notice. */
  readonly onError: (error: Error) => void;
}

interface Notice {
  readonly text: string;
  readonly signature: string;
}

/** The digits that a notice's name begins with: when it was written, by the clock of who wrote it; it counts in days. */
const timeDigits = 15;

/**
 * What one replica tells all: an object for each notice, which each of the others finds at its next look, or when it is
 * back, and obeys once. Kept for a week.
 */
export class Notices {
  readonly #options: NoticesOptions;
  #obeyed: Set<string> | undefined;

  constructor(options: NoticesOptions) {
    this.#options = options;
  }

  /** Tells the others. Throws where it cannot be told. */
  async tell(text: string): Promise<void> {
    const { store, secret, now } = this.#options;
    const name = `${String(now()).padStart(timeDigits, "0")}-${randomUUID()}`;
    const notice: Notice = { text, signature: secret.sign("notice", name, text) };
    // This one has done it by itself.
    (await this.#names()).add(name);
    await store.put(keyOf(name), Buffer.from(JSON.stringify(notice)));
  }

  /** Obeys what is new of all the notices that there are. Throws where the bucket fails. */
  async look(keys: ReadonlySet<Key>): Promise<void> {
    const { store, obeyed, onError, now } = this.#options;
    const names = await this.#names();
    const before = [...names].join();
    const there = new Set([...keys].map((key) => key.slice(noticesPrefix.length + 1)));
    for (const name of there) {
      if (!isKept(name, now())) {
        await store.delete(keyOf(name));
        there.delete(name);
      }
      if (names.has(name) || !there.has(name)) continue;
      try {
        await this.#take(name);
        names.add(name);
      } catch (error) {
        if (error instanceof StoreError) throw error;
        onError(errorOf(error));
      }
    }
    // One that is being told is not in the listing yet.
    for (const name of names) if (!there.has(name) && !isKept(name, now())) names.delete(name);
    if ([...names].join() !== before) await obeyed.save(names);
  }

  async #take(name: string): Promise<void> {
    const { store, secret, obey, onError } = this.#options;
    const notice = await readRecord(store, keyOf(name), isNotice);
    if (notice !== undefined && secret.isSigned(notice.signature, "notice", name, notice.text)) {
      await obey(notice.text);
    } else {
      onError(new Error(`${keyOf(name)} was written by no replica: it is not obeyed`));
    }
  }

  async #names(): Promise<Set<string>> {
    this.#obeyed ??= new Set(await this.#options.obeyed.load());
    return this.#obeyed;
  }
}

function isKept(name: string, now: number): boolean {
  return Math.abs(now - Number(name.slice(0, timeDigits))) <= keptMs;
}

function keyOf(name: string): Key {
  return `${noticesPrefix}/${name}` as Key;
}

function isNotice(value: unknown): value is Notice {
  if (!isObject(value)) return false;
  return typeof value["text"] === "string" && typeof value["signature"] === "string";
}
