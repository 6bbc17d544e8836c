import type { Command } from "commander";
import type { Config } from "../../config/file-schema.ts";
import type { EarlierBucket } from "../../jobs/adopt-bucket.ts";
import type { ForeignReader } from "../../store/foreign-folder.ts";
import { StoreError } from "../../store/object-store.ts";
import { loadBucket } from "../configuration.ts";
import { CommandFailure, exitCodes, type Terminal } from "../terminal.ts";

/** What is adopted, opened; who got it closes it. */
export interface AdoptSource {
  readonly reader: ForeignReader;
  /** Why the first of its objects could not be read that could not, where that is known. */
  readonly firstFailure: Error | undefined;
  close(): Promise<void>;
}

/**
 * Opens what is to be adopted: a folder's path, or a bucket as `s3://BUCKET[/PREFIX]`. What only this needs is loaded
 * when it runs.
 *
 * @throws {CommandFailure} it cannot be adopted.
 * @throws {ConfigError} the flags do not say how the bucket is reached.
 */
export async function openAdoptSource(
  from: string,
  { storage }: Config,
  command: Command,
  terminal: Terminal,
): Promise<AdoptSource> {
  if (/^s3:\/\//i.test(from)) return openBucket(from, storage, command, terminal);
  const { openEarlierFolder } = await import("../../jobs/adopt-source.ts");
  const { BufferPool } = await import("../../store/buffers.ts");
  const reader = await orFailure(from, () => openEarlierFolder(from, storage.root, new BufferPool()));
  return { reader, firstFailure: undefined, close: async () => undefined };
}

async function openBucket(
  from: string,
  { s3 }: Config["storage"],
  command: Command,
  terminal: Terminal,
): Promise<AdoptSource> {
  const settings = await loadBucket(command, terminal, from);
  const { openBucketStore } = await import("../../app/bucket-store.ts");
  const { openEarlierBucket } = await import("../../jobs/adopt-bucket.ts");
  const store = await openBucketStore(settings);
  const close = (): Promise<void> => store.close();
  let reader: EarlierBucket;
  try {
    reader = await orFailure(from, () => openEarlierBucket(store, settings, s3));
  } catch (error) {
    await close();
    throw error;
  }
  return {
    reader,
    get firstFailure() {
      return reader.firstFailure;
    },
    close,
  };
}

async function orFailure<T>(from: string, open: () => Promise<T>): Promise<T> {
  const { NotAdoptable } = await import("../../jobs/adopt-source.ts");
  try {
    return await open();
  } catch (error) {
    if (error instanceof NotAdoptable) {
      throw new CommandFailure(error.message, { exitCode: exitCodes.usage, cause: error });
    }
    if (error instanceof StoreError) {
      throw new CommandFailure(`${from} cannot be adopted: ${error.message}`, { cause: error });
    }
    throw error;
  }
}
