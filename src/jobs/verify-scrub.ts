import { algorithmOf, type Digest } from "../oci/digest.ts";
import type { Content } from "../registry/content.ts";
import { blobKey, parseKey, type Place } from "../store/layout.ts";
import { type Ledger, LedgerNotReady } from "../ledger/ledger.ts";
import { readRecord } from "../store/read-record.ts";
import type { HashPool } from "../store/hashing.ts";
import type { FileReader, LocalUpkeep, StoredFile } from "../store/local-upkeep.ts";
import { type Key, StoreError } from "../store/object-store.ts";
import { DigestSet } from "../oci/digest-set.ts";
import type { StepProgress } from "./job.ts";
import type { Rate } from "./rate.ts";

/** What a scrub works with. */
export interface VerifyTools {
  /** Reads what is stored; it should not note that as use, or a scrub would make all of it look young. */
  readonly reader: FileReader;
  readonly content: Content;
  /** Its answers come before those of the files where somebody pulls meanwhile; without one, nobody may. */
  readonly ledger: Pick<Ledger, "totals" | "holders" | "rebuild"> | undefined;
  readonly hashes: HashPool;
  readonly files: Pick<LocalUpkeep, "swept" | "removeLeftovers" | "removeEmptyFolders">;
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** Content that was used less than so many milliseconds ago may be about to get its link; 10 minutes. */
  readonly graceMs?: number | undefined;
}

/** What looking at an object counts as against the rate: a million small ones are a load, too. */
const objectBytes = 32 * 1024;

/** What the steps of one scrub share. */
export class Scrub {
  readonly tools: VerifyTools;
  readonly repair: boolean;
  /** What links hold, as far as they were read. */
  readonly held: DigestSet = new DigestSet();
  /** Bytes of the content that was found. */
  contentBytes = 0;
  /** Charged bytes of all that was found, as the ledger counts. */
  chargedBytes = 0;
  readonly #rate: Rate;

  constructor(tools: VerifyTools, repair: boolean, rate: Rate) {
    this.tools = tools;
    this.repair = repair;
    this.#rate = rate;
  }

  /** All objects below `prefix`, at the rate; `place` is `undefined` for what is not one of ours. */
  async *walk(
    prefix: Key,
    signal: AbortSignal,
  ): AsyncGenerator<{ readonly object: StoredFile; readonly place: Place | undefined }> {
    for await (const object of this.tools.reader.list(prefix)) {
      await this.#rate.take(objectBytes, signal);
      yield { object, place: parseKey(object.key) };
    }
  }

  /** Does something for one object; one that cannot be read or changed is counted, and keeps no other from its turn. */
  async attempt(progress: StepProgress, work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      if (!(error instanceof StoreError) && !(error instanceof LedgerNotReady)) throw error;
      progress.count("failed");
    }
  }

  /** The records of a kind as they are stored. */
  records<T extends object>(isRecord: (value: unknown) => value is T): (key: Key) => Promise<T | "torn" | "absent"> {
    const { reader } = this.tools;
    return async (key) => {
      const record = await readRecord(reader, key, isRecord);
      if (record !== undefined) return record;
      if ((await reader.head(key)) === undefined) return "absent";
      // It may have been written since it was read.
      return (await readRecord(reader, key, isRecord)) ?? "torn";
    };
  }

  /** Reads content at the rate. `onRead` is told of its bytes as they are read. */
  async inspect(
    digest: Digest,
    signal: AbortSignal,
    onRead: (bytes: number) => void = () => undefined,
  ): Promise<{ readonly sizeBytes: number; readonly sound: boolean } | undefined> {
    const object = await this.tools.reader.get(blobKey(digest));
    if (object === undefined) return undefined;
    const { sizeBytes } = object;
    const hash = this.tools.hashes.start(algorithmOf(digest));
    try {
      for await (const chunk of object.read({ start: 0, end: sizeBytes })) {
        await this.#rate.take(chunk.length, signal);
        await hash.bytes(chunk);
        onRead(chunk.length);
      }
      return { sizeBytes, sound: (await hash.digest()) === digest };
    } finally {
      hash.drop();
      await object.close();
    }
  }
}
