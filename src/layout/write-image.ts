import { setTimeout as sleep } from "node:timers/promises";
import { forEachOf } from "../concurrency/for-each-of.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { algorithmOf, createHasher, type Digest, formatDigest } from "../oci/digest.ts";
import { isManifestMediaType } from "../oci/manifest.ts";
import type { Tag } from "../oci/reference.ts";
import type { BucketStore } from "../store/bucket-store.ts";
import { Lease } from "../store/lease.ts";
import { PreconditionFailed } from "../store/object-store.ts";
import { readWhole } from "../store/read-whole.ts";
import { within } from "./files.ts";
import { indexName, layoutBlobKey, layoutName } from "./image-layout.ts";
import { LayoutError, maxIndexBytes } from "./index-document.ts";
import { mergeIndex } from "./index-merge.ts";
import { type FoundImage, type Place, readManifest, wrongDigest, wrongSize } from "./place.ts";
import { maxDepth } from "./repository.ts";

const versionDocument = Buffer.from(JSON.stringify({ imageLayoutVersion: "1.0.0" }));
/** How long a lock holds that nobody renews, and how often it is asked for. */
const lockMs = 15_000;
const longestWaitMs = 1_000;

/** How an image is written into a layout. */
export interface WriteOptions {
  /** Where the layout lies. */
  readonly store: BucketStore;
  /** Its folder there. */
  readonly folder: string;
  /** What the image is called there; without a tag it is reached by its digest. */
  readonly tag: Tag | undefined;
  /** How many blobs are sent at a time. */
  readonly atOnce: number;
  /** Whether the server lets two writes win that have one condition: then a lock keeps others from the index. */
  readonly needsLock: boolean;
  readonly signal: AbortSignal;
  /** From 0 to 1: how long it is waited before the index is tried again. */
  readonly random: () => number;
  /** Told of what is done: content that was there already has no bytes that were sent. */
  readonly onContent: (content: {
    readonly digest: Digest;
    readonly sizeBytes: number;
    readonly isSent: boolean;
  }) => void;
}

/** All that an image consists of. */
export interface ImageContent {
  readonly blobs: readonly Descriptor[];
  /** What is referred to before what refers to it. */
  readonly manifests: readonly Descriptor[];
}

/**
 * Finds all that an image leads to.
 *
 * @throws {LayoutError} something is missing, or is not what it is called by.
 */
export async function contentOf(place: Pick<Place, "open">, { descriptor }: FoundImage): Promise<ImageContent> {
  const blobs = new Map<Digest, Descriptor>();
  const manifests = new Map<Digest, Descriptor>();
  const add = async (each: Descriptor, depth: number): Promise<void> => {
    if (manifests.has(each.digest)) return;
    if (depth >= maxDepth) throw new LayoutError("indexes lie too deep within each other");
    const manifest = await readManifest(place, each).catch((error: unknown) => {
      throw error instanceof LayoutError ? new LayoutError(`${each.digest}: ${error.message}`) : error;
    });
    if (manifest === undefined) throw new LayoutError(`${each.digest} is missing`);
    const { kind, children, required } = manifest.parsed;
    for (const child of children) {
      if (kind === "index" && isManifestMediaType(child.mediaType)) await add(child, depth + 1);
      else if (
        kind === "index" ||
        required.some(({ digest }) => digest === child.digest) ||
        (await isThere(place, child))
      )
        blobs.set(child.digest, child);
    }
    manifests.set(each.digest, each);
  };
  if (!isManifestMediaType(descriptor.mediaType)) {
    throw new LayoutError(`${descriptor.digest} is no image: its type is ${descriptor.mediaType}`);
  }
  await add(descriptor, 0);
  return { blobs: [...blobs.values()], manifests: [...manifests.values()] };
}

/**
 * Writes an image into a layout: its blobs, its manifests, and at the end its entry in the index, which is merged into what
 * others write at the same time. What is there already is not sent again, so a write that broke off goes on where it was.
 * Nothing is stored that does not have its digest; until the end the layout is what it was.
 *
 * @throws {LayoutError} content is missing or wrong, or the index that is there cannot be read.
 * @throws {StoreError}
 * @throws the signal's reason.
 */
export async function writeImage(
  place: Pick<Place, "open">,
  image: FoundImage,
  content: ImageContent,
  options: WriteOptions,
): Promise<void> {
  const { store, folder, atOnce, signal } = options;
  await forEachOf(content.blobs, atOnce, (blob) => copy(place, blob, options));
  for (const manifest of content.manifests) await copy(place, manifest, options);
  if ((await store.head(within(folder, layoutName))) === undefined) {
    await store.put(within(folder, layoutName), versionDocument);
  }
  const release = options.needsLock ? await lock(options) : undefined;
  try {
    await merge(image, options);
  } finally {
    await release?.();
  }
  signal.throwIfAborted();
}

async function merge({ descriptor }: FoundImage, { store, folder, tag, signal, random }: WriteOptions): Promise<void> {
  const key = within(folder, indexName);
  for (let attempt = 0; ; attempt++) {
    signal.throwIfAborted();
    const object = await store.get(key);
    const before = object && (await readWhole(object, maxIndexBytes));
    if (object !== undefined && before === undefined) {
      throw new LayoutError(`its ${indexName} has more than ${maxIndexBytes} bytes`);
    }
    try {
      await store.put(key, mergeIndex(before, descriptor, tag), { if: object?.version ?? "absent" });
      return;
    } catch (error) {
      if (!(error instanceof PreconditionFailed)) throw error;
    }
    await sleep(random() * Math.min(longestWaitMs, 5 * 2 ** Math.min(attempt, 10)), undefined, { signal });
  }
}

/** Waits until nobody else changes the index; what is returned gives that back. */
async function lock({ store, folder, signal, random }: WriteOptions): Promise<() => Promise<void>> {
  const key = within(folder, ".entrepot-lock.json");
  const lease = new Lease({ store, key, ttlMs: lockMs, monotonic: () => performance.now() });
  while (!(await lease.acquire())) await sleep(random() * longestWaitMs, undefined, { signal });
  return () => lease.release();
}

async function isThere(place: Pick<Place, "open">, { digest }: Descriptor): Promise<boolean> {
  const object = await place.open(digest);
  await object?.close();
  return object !== undefined;
}

async function copy(place: Pick<Place, "open">, { digest, size }: Descriptor, options: WriteOptions): Promise<void> {
  const { store, folder, signal, onContent } = options;
  signal.throwIfAborted();
  const key = layoutBlobKey(folder, digest);
  const isSent = (await store.head(key))?.sizeBytes !== size;
  if (isSent) {
    const object = await place.open(digest);
    if (object === undefined) throw new LayoutError(`${digest} is missing`);
    try {
      if (object.sizeBytes !== size) throw new LayoutError(`${digest}: ${wrongSize(object, size).message}`);
      const bytes = verified(object.read({ start: 0, end: size }), digest);
      await store.upload(key, bytes, { sizeBytes: size, signal });
    } finally {
      await object.close();
    }
  }
  onContent({ digest, sizeBytes: size, isSent });
}

/** @throws {LayoutError} at the end, where the bytes do not have the digest: then nothing is stored. */
async function* verified(chunks: AsyncIterable<Uint8Array>, digest: Digest): AsyncGenerator<Uint8Array> {
  const hasher = createHasher(algorithmOf(digest));
  for await (const chunk of chunks) {
    hasher.update(chunk);
    yield chunk;
  }
  if (formatDigest(algorithmOf(digest), hasher.digest("hex")) !== digest) {
    throw new LayoutError(`${digest}: ${wrongDigest}`);
  }
}
