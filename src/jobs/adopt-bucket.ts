import type { ForeignReader } from "../store/foreign-folder.ts";
import { blobsPrefix, repositoriesPrefix } from "../store/layout.ts";
import {
  type DatedObject,
  type Key,
  type ListOptions,
  type OpenObject,
  type Span,
  StoreError,
} from "../store/object-store.ts";
import { earlierBlobs, earlierManifests } from "./adopt-layout.ts";
import { distribution, NotAdoptable } from "./adopt-source.ts";

/** How many manifests are tried, where the first ones cannot be read, before nothing is taken to be readable. */
const mostTried = 100;

/** Where objects are in a bucket: which server's, which bucket, and what its keys begin with. */
export interface BucketAddress {
  /** `undefined`: AWS, where a bucket's name is enough. */
  readonly endpoint: string | undefined;
  readonly bucket: string;
  /** Without slashes at its ends. */
  readonly prefix: string | undefined;
}

/** What the earlier system's bucket is read by. */
export interface ForeignBucket extends ForeignReader {
  close(): Promise<void>;
}

/** The bucket cannot be read any more. What was adopted stays, and another run goes on from there. */
export class BucketLost extends Error {
  override readonly name = "BucketLost";

  constructor(cause: StoreError) {
    super(`the bucket cannot be read any more; another run goes on where this one ended: ${cause.message}`, { cause });
  }
}

/**
 * The earlier system's bucket. Where an object cannot be read, one that could be is asked for: when that fails too, it
 * is the bucket and not the object, and everything ends with `BucketLost`.
 */
export class EarlierBucket implements ForeignReader {
  readonly atOnce = 4;
  readonly #store: ForeignBucket;
  /** A key that could be read. */
  readonly #witness: Key;
  #firstFailure: StoreError | undefined;

  constructor(store: ForeignBucket, witness: Key) {
    this.#store = store;
    this.#witness = witness;
  }

  /** Why the first of those objects could not be read that could not. */
  get firstFailure(): Error | undefined {
    return this.#firstFailure;
  }

  async *list(prefix: Key, options?: ListOptions): AsyncGenerator<DatedObject> {
    try {
      yield* this.#store.list(prefix, options);
    } catch (error) {
      throw error instanceof StoreError ? new BucketLost(error) : error;
    }
  }

  async get(key: Key): Promise<OpenObject | undefined> {
    const object = await this.#store.get(key).catch((error: unknown) => this.#examine(error));
    if (object === undefined) return undefined;
    return {
      sizeBytes: object.sizeBytes,
      version: object.version,
      read: (span) => this.#read(object, span),
      close: () => object.close(),
    };
  }

  async interrupt(): Promise<void> {
    await this.#store.close();
  }

  async *#read(object: OpenObject, span: Span): AsyncGenerator<Uint8Array> {
    try {
      yield* object.read(span);
    } catch (error) {
      await this.#examine(error);
    }
  }

  /** @throws what was thrown, where that was about one object; else `BucketLost`. */
  async #examine(error: unknown): Promise<never> {
    if (!(error instanceof StoreError)) throw error;
    this.#firstFailure ??= error;
    try {
      // That it is gone by now is an answer, too.
      await (await this.#store.get(this.#witness))?.close();
    } catch (again) {
      throw again instanceof StoreError ? new BucketLost(again) : again;
    }
    throw error;
  }
}

/**
 * Opens the earlier system's bucket to adopt it into the storage, which may have a bucket behind it (`target`). Nothing
 * is written. The store stays the caller's to close.
 *
 * @throws {NotAdoptable} there is nothing of the earlier system, or it is where the storage keeps its own.
 * @throws {StoreError} nothing can be read there.
 */
export async function openEarlierBucket(
  store: ForeignBucket,
  source: BucketAddress,
  target: BucketAddress | undefined,
): Promise<EarlierBucket> {
  const place = formatBucket(source);
  if (target !== undefined && meets(source, target)) {
    throw new NotAdoptable(
      `${place} cannot be adopted: the storage keeps its own in ${formatBucket(target)}; what is adopted is copied, so ` +
        "set `prefix` of `storage.s3` to another one",
    );
  }
  let tried = 0;
  let failure: StoreError | undefined;
  for await (const { key } of store.list(earlierManifests)) {
    try {
      await (await store.get(key))?.close();
      return new EarlierBucket(store, key);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      failure = error;
    }
    if (++tried === mostTried) break;
  }
  if (failure !== undefined) throw failure;
  throw new NotAdoptable(`${place} cannot be adopted: ${await describe(store)}`);
}

/** A bucket as people name it. */
export function formatBucket({ endpoint, bucket, prefix }: BucketAddress): string {
  const url = `s3://${bucket}${prefix === undefined ? "" : `/${prefix}`}`;
  return endpoint === undefined ? url : `${url} at ${endpoint}`;
}

/** What there is in place of the earlier system's objects. */
async function describe(store: ForeignBucket): Promise<string> {
  for (const [name, owner] of [[repositoriesPrefix, "a storage of entrepot already"] as const, distribution]) {
    for await (const { key } of store.list(name as Key)) return `it is ${owner} (${key})`;
  }
  return `a bucket of mcronce/oci-registry has keys that begin with ${earlierManifests}/, and there are none`;
}

/** Whether one of two would read or write what is the other's. */
function meets(source: BucketAddress, target: BucketAddress): boolean {
  if (source.bucket !== target.bucket || source.endpoint !== target.endpoint) return false;
  const [from, to] = [source.prefix ?? "", target.prefix ?? ""];
  const read = [earlierManifests, earlierBlobs].map((name) => join(from, name));
  const written = [blobsPrefix, repositoriesPrefix].map((name) => join(to, name));
  return from === to || read.some((each) => isBelow(to, each)) || written.some((each) => isBelow(from, each));
}

function join(prefix: string, name: string): string {
  return prefix === "" ? name : `${prefix}/${name}`;
}

function isBelow(path: string, folder: string): boolean {
  return path === folder || path.startsWith(`${folder}/`);
}
