import assert from "node:assert/strict";
import { describe } from "node:test";
import { type Algorithm, type Digest, digestOf } from "../../src/oci/digest.ts";
import { parseRepository, type Repository } from "../../src/oci/reference.ts";
import type { Answer, BlobContent, Registry, Warmable } from "../../src/registry/registry.ts";
import { StoreError } from "../../src/store/object-store.ts";
import { UpstreamError } from "../../src/upstream/upstream.ts";
import { OciError } from "../../src/oci/errors.ts";
import type { Barrier } from "../support/barrier.ts";
import { never, turn } from "../support/event-loop.ts";
import { mediaTypes } from "../support/image.ts";

/** A manifest as it is published: under its digest, and its tag where it has one. */
export interface PublishedManifest {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly bytes: Buffer;
  readonly tag?: string;
}

/** A blob as it is published. */
export interface PublishedBlob {
  readonly digest: Digest;
  readonly bytes: Buffer;
}

/** What is published in one repository. */
export interface Image {
  readonly manifests?: readonly PublishedManifest[];
  readonly blobs?: readonly PublishedBlob[];
}

/** A registry with nothing in it, for one test. At its end it finds that nothing was left open. */
export interface Subject extends AsyncDisposable {
  readonly registry: Registry;
  /** Makes content available, in whatever way. When it resolves, whoever asks is to be told of all of it. */
  publish(repository: Repository, image: Image): Promise<void>;
  /** Resolves when nothing goes on behind the answers that were given: what is to be stored is stored. */
  settle(): Promise<void>;
  /** From now on it cannot be told what is there and what is not. */
  fail(): void;
  /** Takes `fail` back. */
  mend(): void;
  /**
   * For a registry that has blobs sent to it only when they are asked for: `bytes` of each come, and the rest waits until
   * the barrier is released.
   */
  stallAfter?(bytes: number): Barrier;
}

/** What a registry can besides being pulled from, and what can happen to it. */
export interface Capabilities {
  /** It can be told to store a blob (`storeBlob`), and has it then without what lies behind it. */
  readonly warms: boolean;
  /** What lies behind it can send other bytes than those that it was asked for. */
  readonly isLiedTo: boolean;
  /** What lies behind it can be slow: it has `stallAfter`. */
  readonly stalls: boolean;
  /** It knows what it was told before, and need not ask anybody. */
  readonly remembers: boolean;
}

/** A mirror has something behind it. */
export const capabilitiesOfMirrors: Capabilities = { warms: true, isLiedTo: true, stalls: true, remembers: false };
/** What is hosted is here or nowhere. */
export const capabilitiesOfHosted: Capabilities = { warms: false, isLiedTo: false, stalls: false, remembers: false };

export type SetUp = () => Promise<Subject>;

export const a: Repository = parseRepository("library/a");
export const b: Repository = parseRepository("library/b");

/** A blob under its digest of `algorithm`. */
export function blobOf(bytes: Buffer, algorithm?: Algorithm): PublishedBlob {
  return { digest: digestOf(bytes, algorithm), bytes };
}

/** A manifest under its digest: of a document, or of these very bytes. */
export function manifestOf(document: object, { tag, mediaType, algorithm }: ManifestOptions = {}): PublishedManifest {
  const bytes = Buffer.isBuffer(document) ? document : Buffer.from(JSON.stringify(document));
  return {
    digest: digestOf(bytes, algorithm),
    mediaType: mediaType ?? mediaTypes.manifest,
    bytes,
    ...(tag !== undefined && { tag }),
  };
}

interface ManifestOptions {
  readonly tag?: string;
  readonly mediaType?: string;
  readonly algorithm?: Algorithm;
}

/** An image manifest's document: of a configuration of nothing and these layers. `seed` makes it another one. */
export function documentOf(seed: string, layers: readonly PublishedBlob[] = []): Record<string, unknown> {
  return {
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    config: { mediaType: mediaTypes.empty, digest: emptyBlob.digest, size: emptyBlob.bytes.length },
    layers: layers.map(({ digest, bytes }) => ({ mediaType: mediaTypes.layer, digest, size: bytes.length })),
    annotations: { seed },
  };
}

/** The configuration of `documentOf`. */
export const emptyBlob: PublishedBlob = blobOf(Buffer.from("{}"));

/** Checks something where it is asked for the first time, and again when all that came of that is done. */
export async function twice(subject: Subject, check: (when: string) => Promise<void>): Promise<void> {
  await check("at first");
  await subject.settle();
  await check("again");
}

/** An answer's value. What is told of the cache must not contradict itself. */
export function valueOf<T>(answer: Answer<T> | undefined, what = "it"): T {
  assert.ok(answer !== undefined, `${what} is absent`);
  const { hit, forward, stored, collapsed } = answer.cache;
  assert.equal(hit, forward === undefined, "either it is from the cache, or somebody was asked, for a reason");
  if (hit)
    assert.ok(stored !== true && collapsed !== true, "what was in the cache was not stored by this, nor waited for");
  return answer.value;
}

/** A blob's size as HEAD tells it. */
export async function sizeOf(
  { registry }: Subject,
  repository: Repository,
  digest: Digest,
): Promise<number | undefined> {
  return valueOf(await registry.statBlob(repository, digest), digest).sizeBytes;
}

/** Opens a blob. Whoever does closes it. */
export async function open({ registry }: Subject, repository: Repository, digest: Digest): Promise<BlobContent> {
  return valueOf(await registry.openBlob(repository, digest), digest);
}

/** Reads what a blob gives, and sees that no chunk changes before the next one is asked for. */
export async function collect(
  blob: BlobContent,
  span?: { readonly start: number; readonly end: number },
  signal: AbortSignal = never(),
): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of blob.read(span, signal)) {
    const copy = Buffer.from(chunk);
    await turn();
    assert.ok(copy.equals(chunk), "a chunk changed before the next one was asked for");
    chunks.push(copy);
  }
  return Buffer.concat(chunks);
}

/** Opens a blob, reads it to its end and closes it. */
export async function read(subject: Subject, repository: Repository, digest: Digest): Promise<Buffer> {
  const blob = await open(subject, repository, digest);
  try {
    const bytes = await collect(blob);
    assert.ok(blob.sizeBytes === undefined || blob.sizeBytes === bytes.length);
    return bytes;
  } finally {
    await blob.close();
  }
}

/** Sees that a question fails with an error that clients can be told of, and is not answered with "absent". */
export async function cannotTell(question: Promise<unknown>): Promise<void> {
  await assert.rejects(question, (error) => {
    assert.ok(
      error instanceof UpstreamError || error instanceof StoreError || error instanceof OciError,
      String(error),
    );
    return true;
  });
}

/** The tests of one registry as a group. */
export function describeRegistry(name: string, part: string, tests: () => void): void {
  describe(`registry: ${name}: ${part}`, tests);
}

/** How a registry that can do so is told to store a blob. */
export function storeBlobOf({ registry }: Subject): Warmable["storeBlob"] {
  assert.ok(registry.storeBlob !== undefined, "it cannot store what it is told to");
  return registry.storeBlob.bind(registry);
}
