import assert from "node:assert/strict";
import { test } from "node:test";
import { type Digest, digestOf } from "../../../src/oci/digest.ts";
import { parseNamespace, parseRepository, parseTag } from "../../../src/oci/reference.ts";
import type { CacheStatus, PullRegistry } from "../../../src/registry/registry.ts";
import { UpstreamError } from "../../../src/upstream/upstream.ts";
import { createBarrier } from "../../support/barrier.ts";
import { pseudoRandomBytes } from "../../support/content.ts";
import { never, turn } from "../../support/event-loop.ts";
import { createFakeMirror, imageOf, readBlob } from "./fake-mirror.ts";

const a = parseRepository("library/a");
const b = parseRepository("library/b");
const bytes = pseudoRandomBytes(200_000, "blob");

/** What a client gets of a blob, and the cache status; `undefined` where there is none. */
async function pull(
  mirror: PullRegistry,
  repository: typeof a,
  digest: Digest,
): Promise<[Buffer, CacheStatus] | undefined> {
  const answer = await mirror.openBlob(repository, digest);
  return answer && [await readBlob(answer.value), answer.cache];
}

test("a cold blob is filled, a warm one read without the upstream, also after a restart", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  const digest = upstream.addBlob(a, bytes);
  const miss = { hit: false, forward: "uri-miss", stored: true, collapsed: false };
  assert.deepEqual(await pull(mirror, a, digest), [bytes, miss]);
  await subject.idle();
  assert.deepEqual(await pull(mirror, a, digest), [bytes, { hit: true }]);
  assert.deepEqual(await mirror.statBlob(a, digest), { value: { sizeBytes: bytes.length }, cache: { hit: true } });
  const next = subject.restart();
  assert.deepEqual(await pull(next, a, digest), [bytes, { hit: true }]);
  assert.deepEqual(upstream.asked, [`blob ${a} ${digest} 0`]);
  const opened = await next.openBlob(a, digest);
  assert.ok(opened !== undefined);
  assert.equal(opened.value.sizeBytes, bytes.length);
  const span = { start: 7, end: 150_000 };
  assert.ok((await readBlob(opened.value, span)).equals(bytes.subarray(7, 150_000)));
});

test("clients that come together share one transfer, and say so", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  const digest = upstream.addBlob(a, bytes);
  const answers = await Promise.all(Array.from({ length: 50 }, () => pull(mirror, a, digest)));
  assert.ok(answers.every((answer) => answer?.[0].equals(bytes)));
  assert.equal(answers.filter((answer) => answer?.[1].collapsed === true).length, 49);
  assert.deepEqual(upstream.asked, [`blob ${a} ${digest} 0`]);
});

test("a blob that nobody has is absent", async () => {
  await using subject = await createFakeMirror();
  const { mirror } = subject;
  const digest = digestOf(Buffer.from("none"));
  assert.equal(await mirror.openBlob(a, digest), undefined);
  assert.equal(await mirror.statBlob(a, digest), undefined);
});

test("HEAD of a cold blob that is listed, or large, asks once, for all who ask, and starts no transfer", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  const digest = upstream.addBlob(a, bytes);
  const image = upstream.addManifest(a, "latest", imageOf("1", [{ digest, size: bytes.length }]));
  await mirror.manifest(a, image.descriptor.digest);
  upstream.asked.length = 0;
  const barrier = createBarrier();
  upstream.hold = barrier;
  const first = mirror.statBlob(a, digest);
  await barrier.reached;
  const others = Array.from({ length: 9 }, () => mirror.statBlob(a, digest));
  await turn();
  barrier.release();
  const answers = await Promise.all([first, ...others]);
  assert.ok(answers.every((answer) => answer?.value.sizeBytes === bytes.length));
  assert.equal(answers.filter((answer) => answer?.cache.collapsed === true).length, 9);
  assert.deepEqual(upstream.asked, [`stat ${a} ${digest}`]);
  const large = upstream.addBlob(a, Buffer.from("large"), { sizeBytes: 5_000_000 });
  assert.equal((await mirror.statBlob(a, large))?.value.sizeBytes, 5_000_000);
  assert.deepEqual(upstream.asked.slice(1), [`stat ${a} ${large}`]);
});

test("HEAD of a small blob that nobody lists fetches it: it may be a manifest", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  for (const [seed, script] of Object.entries({ said: {}, unsaid: { sizeBytes: undefined } })) {
    const small = Buffer.from(`small ${seed}`);
    const digest = upstream.addBlob(a, small, script);
    await Promise.all([mirror.statBlob(a, digest), mirror.statBlob(a, digest)]);
    await subject.idle();
    assert.equal((await mirror.statBlob(a, digest))?.value.sizeBytes, small.length);
    assert.deepEqual(upstream.asked.splice(0), [`stat ${a} ${digest}`, `blob ${a} ${digest} 0`]);
  }
});

test("HEAD of a blob that is being filled is answered from the fill", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  const barrier = createBarrier();
  const digest = upstream.addBlob(a, bytes, { pauses: [{ at: 65_536, barrier }] });
  const pulling = pull(mirror, a, digest);
  await barrier.reached;
  const cache = { hit: false, forward: "uri-miss", collapsed: true };
  assert.deepEqual(await mirror.statBlob(a, digest), { value: { sizeBytes: bytes.length }, cache });
  assert.equal(await mirror.statBlob(b, digest), undefined, "but only through the repository that it is of");
  barrier.release();
  await pulling;
  assert.deepEqual(upstream.asked, [`blob ${a} ${digest} 0`, `stat ${b} ${digest}`]);
});

test("what one repository has cached, another gets only when the upstream says that it has it", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  const digest = upstream.addBlob(a, bytes);
  await pull(mirror, a, digest);
  await subject.idle();
  assert.equal(await mirror.openBlob(b, digest), undefined);
  assert.equal(await mirror.statBlob(b, digest), undefined);
  upstream.addBlob(b, bytes);
  assert.deepEqual(await pull(mirror, b, digest), [bytes, { hit: true }]);
  await subject.idle();
  assert.deepEqual(await pull(subject.restart(), b, digest), [bytes, { hit: true }], "which is remembered");
  assert.deepEqual(upstream.asked, [
    `blob ${a} ${digest} 0`,
    `stat ${b} ${digest}`,
    `stat ${b} ${digest}`,
    `stat ${b} ${digest}`,
  ]);
});

test("a repository of another namespace gets nothing of it", async () => {
  await using subject = await createFakeMirror();
  const digest = subject.upstream.addBlob(a, bytes);
  await pull(subject.mirror, a, digest);
  await subject.idle();
  const other = subject.another("ghcr.io");
  assert.equal(await other.mirror.openBlob(a, digest), undefined);
  assert.equal(await other.mirror.statBlob(a, digest), undefined);
});

test("a stranger's word is no proof: it has to send the bytes", async () => {
  await using subject = await createFakeMirror();
  const digest = subject.upstream.addBlob(a, bytes);
  await pull(subject.mirror, a, digest);
  await subject.idle();
  const stranger = subject.another("evil.example.com", { trusted: false });
  // It claims to have the private blob, and lists it in a manifest, but knows none of its bytes.
  stranger.upstream.addBlob(a, Buffer.alloc(bytes.length), { digest });
  stranger.upstream.addManifest(a, "latest", imageOf("1", [{ digest, size: bytes.length }]));
  await stranger.mirror.manifest(a, parseTag("latest"));
  assert.equal((await stranger.mirror.statBlob(a, digest))?.value.sizeBytes, bytes.length, "its own claim, as its own");
  await subject.idle();
  const answer = await stranger.mirror.openBlob(a, digest);
  assert.ok(answer !== undefined);
  const got: Buffer[] = [];
  await assert.rejects(async () => {
    for await (const chunk of answer.value.read(undefined, never())) got.push(Buffer.from(chunk));
  }, UpstreamError);
  await answer.value.close();
  assert.ok(
    Buffer.concat(got).every((byte) => byte === 0),
    "nothing of the stored blob",
  );
  await subject.idle();
  const questions = stranger.upstream.asked.map((question) => question.split(" ")[0]);
  assert.deepEqual(questions, ["manifest", "stat", "blob"], "nothing was asked that would not count");
  const stored = await pull(subject.mirror, a, digest);
  assert.deepEqual(stored, [bytes, { hit: true }], "which is as it was");
  const honest = subject.another("honest.example.com", { trusted: false });
  honest.upstream.addBlob(a, bytes);
  assert.ok((await pull(honest.mirror, a, digest))?.[0].equals(bytes));
  await subject.idle();
  assert.deepEqual((await pull(honest.mirror, a, digest))?.[1], { hit: true });
});

test("a blob that a manifest lists needs no question, and is shared with another repository's fill", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  const barrier = createBarrier();
  const digest = upstream.addBlob(a, bytes, { pauses: [{ at: 65_536, barrier }] });
  const other = parseRepository("library/listed");
  upstream.addManifest(other, "latest", imageOf("1", [{ digest, size: bytes.length }]));
  await mirror.manifest(other, parseTag("latest"));
  await subject.idle();
  const first = pull(mirror, a, digest);
  await barrier.reached;
  const shared = await mirror.openBlob(other, digest);
  assert.equal(shared?.cache.collapsed, true);
  barrier.release();
  assert.ok((await readBlob(shared.value)).equals(bytes));
  assert.ok((await first)?.[0].equals(bytes));
  assert.deepEqual(upstream.asked.slice(1), [`blob ${a} ${digest} 0`]);
});

test("an upstream that fails is an error for what is cold, and nothing for what is warm", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  const digest = upstream.addBlob(a, bytes);
  await pull(mirror, a, digest);
  await subject.idle();
  const error = new UpstreamError("registry.example.com", "timeout", "it is slow");
  upstream.failure = error;
  assert.deepEqual((await pull(mirror, a, digest))?.[1], { hit: true });
  await assert.rejects(mirror.openBlob(b, digest), error);
  await assert.rejects(mirror.openBlob(a, digestOf(Buffer.from("cold"))), error);
  await assert.rejects(mirror.statBlob(a, digestOf(Buffer.from("cold"))), error);
});

test("a link to what is not stored is no hit", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream, content } = subject;
  const digest = upstream.addBlob(a, bytes);
  const id = { namespace: parseNamespace("docker.io"), repository: a };
  await content.addLink(id, digest, { mediaType: "a/b", sizeBytes: 1 });
  assert.equal((await mirror.statBlob(a, digest))?.value.sizeBytes, bytes.length, "a link's size is a claim");
  assert.ok((await pull(mirror, a, digest))?.[0].equals(bytes));
  await subject.idle();
  assert.deepEqual(await content.link(id, digest), { mediaType: "a/b", sizeBytes: bytes.length });
});
