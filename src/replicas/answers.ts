import { LRUCache } from "lru-cache";

/** For how long an answer is told to others, in milliseconds. */
const toldMs = 30_000;
const maxAnswers = 4_096;
const maxBytes = 16 * 1024 * 1024;
const overheadBytes = 1_024;

/** An upstream's answer as it is told to another replica. */
export interface Told {
  /** When it was true, by this machine's clock: others are told how long ago that is. */
  readonly checkedAt: number;
  /** A manifest's bytes, in base64. */
  readonly bytes?: string;
  readonly [name: string]: string | number | boolean | undefined;
}

/** What this replica has asked upstreams lately, or asks now, for the others: by the name of the question. */
export class Answers {
  readonly #answers: LRUCache<string, { readonly told: Promise<Told>; readonly sizeBytes: number }>;

  /** @param monotonic As of `Clock`. */
  constructor(monotonic: () => number) {
    this.#answers = new LRUCache({
      max: maxAnswers,
      maxSize: maxBytes,
      sizeCalculation: ({ sizeBytes }) => sizeBytes,
      ttl: toldMs,
      perf: { now: monotonic },
      ttlResolution: 0,
    });
  }

  /** Tells others what is being asked. An answer that does not come is forgotten. */
  tell(name: string, told: Promise<Told>): void {
    // Its time begins when it has come.
    this.#answers.set(name, { told, sizeBytes: overheadBytes }, { ttl: 0 });
    told.then(
      ({ bytes = "" }) => {
        if (this.#isLast(name, told)) this.#answers.set(name, { told, sizeBytes: bytes.length + overheadBytes });
      },
      () => {
        if (this.#isLast(name, told)) this.#answers.delete(name);
      },
    );
  }

  /** What was or will be answered; `undefined`: nothing of that name is known. Rejects with what the question does. */
  async find(name: string): Promise<Told | undefined> {
    return this.#answers.get(name)?.told;
  }

  /** Forgets all: something was removed on purpose. */
  clear(): void {
    this.#answers.clear();
  }

  #isLast(name: string, told: Promise<Told>): boolean {
    return this.#answers.peek(name)?.told === told;
  }
}
