import { LRUCache } from "lru-cache";
import type { Digest } from "../oci/digest.ts";
import { isManifestMediaType } from "../oci/manifest.ts";
import { isDigestReference, type Namespace, type Reference, type Repository, type Tag } from "../oci/reference.ts";
import { settleOrAbort } from "../concurrency/settle-or-abort.ts";
import { type FreshnessPolicy, isFresh, mayServeStale } from "../registry/freshness.ts";
import { standsIn } from "../registry/stale.ts";
import type { Link, Page, TagRecord } from "../store/content-records.ts";
import { blobKey, linkKey, type PageKind, type RepositoryId, tagKey } from "../store/layout.ts";
import type { Key, OpenObject } from "../store/object-store.ts";
import {
  type Checked,
  type Resolved,
  type Upstream,
  type UpstreamBlob,
  type UpstreamBlobInfo,
  UpstreamError,
  type UpstreamManifest,
} from "../upstream/upstream.ts";
import type { Bucket } from "./bucket.ts";

/** How long nothing may come of a blob before it is had from the upstream, in milliseconds. */
const stallMs = 5_000;
/** How long a blob that broke off is had from the upstream first, and how many are remembered. */
const brokenMs = 60_000;
const maxBroken = 1_000;

/** What a bucket in front of an upstream works with. */
export interface BucketFirstOptions {
  readonly bucket: Bucket;
  readonly namespace: Namespace;
  /** What the folder knows that a repository contains; nothing where it cannot tell. */
  readonly link: (id: RepositoryId, digest: Digest) => Promise<Link | undefined>;
  readonly policy: FreshnessPolicy;
  /** As of `Clock`. */
  readonly now: () => number;
}

/**
 * The same upstream, whose questions the bucket answers where it can: what has a digest, and tags that somebody has
 * checked within their time. What is stale in the bucket, and listings, stand in for an upstream that fails.
 *
 * The mirror above hashes what it gets, stores it in its folder, and knows no difference. A bucket that breaks on the way,
 * or sends nothing for 5 s, is one more broken connection: the transfer goes on from where it stands, by the upstream, or
 * by the bucket again where that fails, or does not have the blob.
 */
export function askBucketFirst(
  upstream: Upstream,
  { bucket, namespace, link, policy, now }: BucketFirstOptions,
): Upstream {
  const idOf = (repository: Repository): RepositoryId => ({ namespace, repository });
  /** What could be opened a moment ago, and not be read to its end. */
  const broken = new LRUCache<Digest, true>({ max: maxBroken, ttl: brokenMs });

  /**
   * What the bucket has, or else the upstream. Where that fails it is looked in the bucket once more for what was only
   * remembered to be absent: another instance may have stored it within these seconds.
   */
  async function fromEither<T extends object>(
    keys: readonly Key[],
    look: () => Promise<T | undefined>,
    ask: () => Promise<T | undefined>,
  ): Promise<T | undefined> {
    const isRemembered = keys.some((key) => bucket.believesAbsent(key));
    const found = await look();
    if (found !== undefined) return found;
    try {
      return await ask();
    } catch (error) {
      if (!isRemembered || !standsIn(error)) throw error;
      for (const key of keys) bucket.doubtAbsence(key);
      const late = await look();
      if (late === undefined) throw error;
      return late;
    }
  }

  const keysOf = (id: RepositoryId, digest: Digest): readonly Key[] => [linkKey(id, digest), blobKey(digest)];

  /** What a tag stands for by the bucket's word, or the upstream's, or the bucket's old one where that fails. */
  async function byTag<T extends object>(
    id: RepositoryId,
    tag: Tag,
    stored: (record: TagRecord) => Promise<T | undefined>,
    ask: () => Promise<T | undefined>,
  ): Promise<T | undefined> {
    const isRemembered = bucket.believesAbsent(tagKey(id, tag));
    const record = await bucket.tag(id, tag);
    if (record !== undefined && isFresh(record.checkedAt, now(), policy)) {
      const found = await stored(record);
      if (found !== undefined) return found;
    }
    try {
      return await ask();
    } catch (error) {
      if (!standsIn(error)) throw error;
      if (isRemembered) bucket.doubtAbsence(tagKey(id, tag));
      const last = isRemembered ? await bucket.tag(id, tag) : record;
      const isUsable = last !== undefined && mayServeStale(last.checkedAt, now(), policy);
      const found = isUsable ? await stored(last) : undefined;
      if (found === undefined) throw error;
      return found;
    }
  }

  async function listing(
    repository: Repository,
    kind: PageKind,
    request: string,
    ask: () => Promise<Page | undefined>,
  ): Promise<Page | undefined> {
    try {
      return await ask();
    } catch (error) {
      const page = standsIn(error) ? await bucket.page(idOf(repository), kind, request) : undefined;
      if (page === undefined) throw error;
      return page;
    }
  }

  return {
    async resolve(repository: Repository, reference: Reference, by) {
      const id = idOf(repository);
      const ask = (): Promise<Resolved | undefined> => upstream.resolve(repository, reference, by);
      if (!isDigestReference(reference)) {
        // Its type is told to clients as it is.
        const told = async ({ digest, mediaType, size, checkedAt }: TagRecord): Promise<Resolved | undefined> =>
          isManifestMediaType(mediaType) ? { digest, mediaType, size, checkedAt } : undefined;
        return byTag(id, reference, told, ask);
      }
      const look = async (): Promise<Resolved | undefined> => {
        const found = await bucket.link(id, reference);
        const isManifest = found !== undefined && found.role !== "blob" && isManifestMediaType(found.mediaType);
        const isThere = isManifest && (await bucket.hasNow(reference, found.sizeBytes));
        return isThere ? { mediaType: found.mediaType, digest: reference, size: found.sizeBytes } : undefined;
      };
      return fromEither(keysOf(id, reference), look, ask);
    },
    async manifest(repository, reference, by) {
      const id = idOf(repository);
      if (isDigestReference(reference)) {
        const look = async (): Promise<(UpstreamManifest & Checked) | undefined> => {
          const found = await bucket.manifest(id, reference);
          return found && { ...found, origin: "bucket" };
        };
        return fromEither(keysOf(id, reference), look, () => upstream.manifest(repository, reference, by));
      }
      return byTag(
        id,
        reference,
        async ({ digest, checkedAt }) => {
          const manifest = await bucket.manifest(id, digest);
          return manifest && { ...manifest, checkedAt, origin: "bucket" as const };
        },
        () => upstream.manifest(repository, reference, by),
      );
    },
    async blob(repository, digest, from, by) {
      const id = idOf(repository);
      const ask = (): Promise<UpstreamBlob | undefined> => upstream.blob(repository, digest, from, by);
      const onBreak = (): void => void broken.set(digest, true);
      const find = async (): Promise<UpstreamBlob | undefined> =>
        openInBucket(bucket, id, digest, await link(id, digest), { ...from, onBreak }, by.signal);
      if (!broken.has(digest)) return fromEither(keysOf(id, digest), find, ask);
      try {
        return (await ask()) ?? (await find());
      } catch (error) {
        const found = standsIn(error) ? await find() : undefined;
        if (found === undefined) throw error;
        return found;
      }
    },
    async statBlob(repository, digest: Digest, by) {
      const id = idOf(repository);
      const look = async (): Promise<UpstreamBlobInfo | undefined> => {
        const sizeBytes = await bucket.sizeOf(id, digest, await link(id, digest));
        return sizeBytes === undefined ? undefined : { sizeBytes };
      };
      return fromEither(keysOf(id, digest), look, () => upstream.statBlob(repository, digest, by));
    },
    tags: (repository, query, by) => listing(repository, "tags", query, () => upstream.tags(repository, query, by)),
    referrers: (repository, subject, query, by) =>
      listing(repository, "referrers", `${subject}?${query}`, () => upstream.referrers(repository, subject, query, by)),
    close: () => upstream.close(),
  };
}

/** How a blob is read that the bucket has. */
interface Reading {
  readonly offset: number;
  /** What it has to have. */
  readonly sizeBytes?: number;
  /** Told that it could not be read to its end. */
  readonly onBreak?: () => void;
}

/** A blob of a repository from an offset on, as the bucket has it. */
export async function openInBucket(
  bucket: Bucket,
  id: RepositoryId,
  digest: Digest,
  link: Link | undefined,
  reading: Reading,
  signal: AbortSignal,
): Promise<UpstreamBlob | undefined> {
  const object = await bucket.open(id, digest, link);
  if (object === undefined) return undefined;
  if (object.sizeBytes === (reading.sizeBytes ?? object.sizeBytes)) {
    return blobOf(object, reading, id.namespace, signal);
  }
  await object.close();
  return undefined;
}

/** An object of the bucket as a blob on its way. */
function blobOf(
  object: OpenObject,
  { offset, onBreak }: Reading,
  namespace: Namespace,
  signal: AbortSignal,
): UpstreamBlob {
  let isClosed = false;
  const close = async (): Promise<void> => {
    if (isClosed) return;
    isClosed = true;
    await object.close();
  };
  async function* read(): AsyncGenerator<Buffer> {
    const chunks = object.read({ start: offset, end: object.sizeBytes })[Symbol.asyncIterator]();
    const stalled = new AbortController();
    const over = AbortSignal.any([signal, stalled.signal]);
    try {
      for (;;) {
        const timer = setTimeout(() => stalled.abort(new Error(`no byte came for ${stallMs} ms`)), stallMs);
        const { value, done } = await settleOrAbort(chunks.next(), over).finally(() => clearTimeout(timer));
        if (done === true) return;
        yield Buffer.from(value.buffer, value.byteOffset, value.length);
      }
    } catch (error) {
      if (signal.aborted) throw error;
      onBreak?.();
      throw new UpstreamError(namespace, "unreachable", "the bucket broke off", { cause: error });
    } finally {
      const closed = Promise.resolve(chunks.return?.()).then(close, close);
      // After an abort a chunk may still be on its way, and is not waited for.
      if (!over.aborted) await closed;
    }
  }
  return { sizeBytes: object.sizeBytes, origin: "bucket", body: read(), cancel: () => void close() };
}
