import assert from "node:assert/strict";
import { test } from "node:test";
import type { Digest } from "../../../src/oci/digest.ts";
import { parseRepository } from "../../../src/oci/reference.ts";
import { blobKey } from "../../../src/store/layout.ts";
import type { PullRegistry } from "../../../src/registry/registry.ts";
import type { ObjectStore, Span } from "../../../src/store/object-store.ts";
import { pseudoRandomBytes } from "../../support/content.ts";
import { never } from "../../support/event-loop.ts";
import { createFakeMirror, type FakeMirror } from "./fake-mirror.ts";

const repository = parseRepository("library/a");
const bytes = pseudoRandomBytes(200_000, "checked");
const heldBackBytes = 16 * 1024;

/** A mirror that checks, whose store holds the blob; what it reads of the store is noted in `reads`. */
async function setUp(): Promise<{ subject: FakeMirror; digest: Digest; reads: Span[] }> {
  const subject = await createFakeMirror({ checkDigest: true });
  const digest = subject.upstream.addBlob(repository, bytes);
  await pull(subject.mirror, digest);
  await subject.idle();
  return { subject, digest, reads: noteReads(subject.store, digest) };
}

function noteReads(store: ObjectStore, digest: Digest): Span[] {
  const reads: Span[] = [];
  const get = store.get.bind(store);
  store.get = async (key) => {
    const object = await get(key);
    if (object === undefined || key !== blobKey(digest)) return object;
    const read = (span: Span): AsyncIterable<Uint8Array> => {
      reads.push(span);
      return object.read(span);
    };
    return { ...object, read };
  };
  return reads;
}

async function damage(store: ObjectStore, digest: Digest): Promise<void> {
  const damaged = Buffer.from(bytes);
  damaged[100] = (damaged[100] ?? 0) ^ 1;
  await store.put(blobKey(digest), damaged);
}

/** What a client gets, and why no more. */
async function pull(mirror: PullRegistry, digest: Digest, span?: Span): Promise<{ got: Buffer; error: unknown }> {
  const answer = await mirror.openBlob(repository, digest);
  assert.ok(answer !== undefined);
  const chunks: Buffer[] = [];
  let error: unknown;
  try {
    for await (const chunk of answer.value.read(span, never())) chunks.push(Buffer.from(chunk));
  } catch (reason) {
    error = reason;
  }
  await answer.value.close();
  return { got: Buffer.concat(chunks), error };
}

test("a whole blob is read once, and checked each time that it is served", async () => {
  const { subject, digest, reads } = await setUp();
  await using _ = subject;
  const whole = { start: 0, end: bytes.length };
  for (const span of [undefined, whole]) {
    const { got, error } = await pull(subject.mirror, digest, span);
    assert.equal(error, undefined);
    assert.ok(got.equals(bytes));
  }
  assert.deepEqual(reads, [whole, whole]);
  await damage(subject.store, digest);
  const { got, error } = await pull(subject.mirror, digest);
  assert.match(String(error), /damaged/);
  assert.equal(got.length, bytes.length - heldBackBytes);
  assert.equal(reads.length, 3);
  assert.equal(await subject.content.statBlob(digest), undefined, "it is not where it was");
  const next = await pull(subject.mirror, digest);
  assert.ok(next.got.equals(bytes));
  assert.equal(next.error, undefined);
  assert.equal(subject.upstream.asked.length, 2);
});

test("for a range the whole is read once in an hour", async () => {
  const { subject, digest, reads } = await setUp();
  await using _ = subject;
  const span = { start: 50_000, end: 150_000 };
  const isWhole = ({ start, end }: Span): boolean => start === 0 && end === bytes.length;
  await Promise.all([pull(subject.mirror, digest, span), pull(subject.mirror, digest, span)]);
  for (const again of [span, { start: 0, end: 5 }, { start: 199_000, end: 200_000 }]) {
    const { got, error } = await pull(subject.mirror, digest, again);
    assert.equal(error, undefined);
    assert.ok(got.equals(bytes.subarray(again.start, again.end)));
  }
  assert.equal(reads.length, 6);
  assert.equal(reads.filter(isWhole).length, 1);
  subject.now += 3_600_000;
  await pull(subject.mirror, digest, span);
  assert.equal(reads.filter(isWhole).length, 2);
});

test("a whole blob that was right stands for its ranges too", async () => {
  const { subject, digest, reads } = await setUp();
  await using _ = subject;
  const span = { start: 50_000, end: 150_000 };
  await pull(subject.mirror, digest);
  await pull(subject.mirror, digest, span);
  assert.deepEqual(reads, [{ start: 0, end: bytes.length }, span]);
});

test("a range of a damaged blob is never complete", async () => {
  const { subject, digest } = await setUp();
  await using _ = subject;
  await damage(subject.store, digest);
  // The damage is not in the range.
  const { got, error } = await pull(subject.mirror, digest, { start: 50_000, end: 150_000 });
  assert.match(String(error), /damaged/);
  assert.equal(got.length, 100_000 - heldBackBytes);
  assert.equal(await subject.content.statBlob(digest), undefined);
});

test("a damaged blob that cannot be put aside is fetched anew all the same", async () => {
  const { subject, digest } = await setUp();
  await using _ = subject;
  await damage(subject.store, digest);
  const { store, content } = subject;
  const refuse = async (): Promise<never> => {
    throw new Error("a read-only file system");
  };
  content.quarantineBlob = refuse;
  const first = await pull(subject.mirror, digest);
  assert.match(String(first.error), /damaged/);
  assert.notEqual(await store.head(blobKey(digest)), undefined);
  const second = await pull(subject.mirror, digest);
  assert.equal(second.error, undefined);
  assert.ok(second.got.equals(bytes));
  await subject.idle();
  const third = await pull(subject.mirror, digest);
  assert.ok(third.got.equals(bytes));
  assert.equal(subject.upstream.asked.length, 2, "it was stored in its place");
});

test("a client that leaves early leaves no hash behind, and damages nothing", async () => {
  const { subject, digest } = await setUp();
  await using _ = subject;
  const answer = await subject.mirror.openBlob(repository, digest);
  assert.ok(answer !== undefined);
  for await (const _chunk of answer.value.read(undefined, never())) break;
  await answer.value.close();
  assert.notEqual(await subject.content.statBlob(digest), undefined);
  assert.deepEqual((await subject.mirror.openBlob(repository, digest))?.cache, { hit: true });
});
