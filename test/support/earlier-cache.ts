import { mkdir, utimes, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { earlierBlobs } from "../../src/jobs/adopt-layout.ts";
import { type Digest, digestOf, hexOf } from "../../src/oci/digest.ts";
import type { ForeignReader } from "../../src/store/foreign-folder.ts";
import { type DatedObject, type Key, type OpenObject, StoreError, type Version } from "../../src/store/object-store.ts";
import type { FakeS3 } from "./fake-s3.ts";
import type { BuiltImage } from "./image.ts";

/** What mcronce/oci-registry has written: bytes, and when, by key. */
export type EarlierCache = Map<string, { bytes: Buffer; writtenAt: number }>;

/** A manifest as it kept it: its bytes are numbers in JSON. */
export function envelopeOf(bytes: Uint8Array, mediaType: string, digest: string | null = digestOf(bytes)): Buffer {
  return Buffer.from(JSON.stringify({ manifest: [...bytes], media_type: mediaType, digest }));
}

export function earlierBlobKey(digest: Digest): string {
  const hex = hexOf(digest);
  return `${earlierBlobs}/sha256/${hex.slice(0, 2)}/${hex.slice(2)}`;
}

/** An image as it is cached when somebody has pulled it by a tag: the tag's manifest, those of platforms, all blobs. */
export function addEarlierImage(
  cache: EarlierCache,
  image: BuiltImage,
  name: string,
  tag: string,
  writtenAt: number,
): void {
  const { root, platforms, blobs } = image;
  cache.set(`manifests/${name}/${tag}`, { bytes: envelopeOf(root.bytes, root.mediaType), writtenAt });
  for (const { manifest } of platforms) {
    const key = `manifests/${name}/${manifest.digest}`;
    // What was asked for by its digest came without the header that tells it.
    cache.set(key, { bytes: envelopeOf(manifest.bytes, manifest.mediaType, null), writtenAt });
  }
  for (const [digest, bytes] of blobs) cache.set(earlierBlobKey(digest), { bytes, writtenAt });
}

/** Writes it as a folder. */
export async function writeEarlierFolder(root: string, cache: EarlierCache): Promise<void> {
  for (const [key, { bytes, writtenAt }] of cache) {
    const path = join(root, key);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, bytes);
    await utimes(path, writtenAt / 1000, writtenAt / 1000);
  }
}

/** Puts it into a bucket, at its root as the earlier system does, or below a prefix. */
export function putEarlierBucket({ bucket }: FakeS3, cache: EarlierCache, prefix = ""): void {
  for (const [key, { bytes, writtenAt }] of cache) {
    const name = prefix === "" ? key : `${prefix}/${key}`;
    bucket.put(name, bytes, {});
    const object = bucket.objects.get(name);
    if (object !== undefined) bucket.objects.set(name, { ...object, writtenAt });
  }
}

/** It in memory, as a bucket would have it. */
export interface MemoryReader extends ForeignReader {
  /** The keys that were opened. */
  readonly opened: string[];
  /** Keys that cannot be opened, and those that cannot be read to their end. */
  readonly locked: Set<string>;
  readonly broken: Set<string>;
  /** Told of each chunk that is about to be read. */
  onRead: (key: string) => void;
}

/** Reads an earlier cache as it is at each moment. */
export function readEarlier(cache: EarlierCache): MemoryReader {
  const versionOf = (key: string): Version => `${key} ${cache.get(key)?.writtenAt}` as Version;
  const reader: MemoryReader = {
    opened: [],
    locked: new Set(),
    broken: new Set(),
    onRead: () => undefined,
    async *list(prefix): AsyncGenerator<DatedObject> {
      for (const key of [...cache.keys()].toSorted()) {
        const object = cache.get(key);
        if (object === undefined || !key.startsWith(`${prefix}/`)) continue;
        const { bytes, writtenAt } = object;
        yield { key: key as Key, sizeBytes: bytes.length, version: versionOf(key), writtenAt };
      }
    },
    async get(key): Promise<OpenObject | undefined> {
      reader.opened.push(key);
      if (reader.locked.has(key)) throw new StoreError(`${key} could not be opened`, undefined);
      const bytes = cache.get(key)?.bytes;
      if (bytes === undefined) return undefined;
      return {
        sizeBytes: bytes.length,
        version: versionOf(key),
        async *read({ start, end }) {
          for (let from = start; from < end; from += 1_000) {
            reader.onRead(key);
            if (reader.broken.has(key) && from > start) throw new StoreError("the file could not be read", undefined);
            yield bytes.subarray(from, Math.min(end, from + 1_000));
          }
        },
        close: async () => undefined,
      };
    },
  };
  return reader;
}
