import assert from "node:assert/strict";
import { test } from "node:test";
import { digestOf } from "../../../src/oci/digest.ts";
import { parseNamespace, parseRepository, parseTag } from "../../../src/oci/reference.ts";
import type { Answer } from "../../../src/registry/registry.ts";
import { UpstreamError } from "../../../src/upstream/upstream.ts";
import { createBarrier } from "../../support/barrier.ts";
import { turn, until } from "../../support/event-loop.ts";
import { mediaTypes } from "../../support/image.ts";
import { createFakeMirror, imageOf } from "./fake-mirror.ts";

const a = parseRepository("library/a");
const id = { namespace: parseNamespace("docker.io"), repository: a };
const latest = parseTag("latest");
const dockerType = "application/vnd.docker.distribution.manifest.v2+json";

/** Without blobs, so that it can be served whatever else is stored. */
const emptyIndex = { schemaVersion: 2, mediaType: mediaTypes.index, manifests: [] };

function down(): UpstreamError {
  return new UpstreamError("registry.example.com", "unreachable", "it is down");
}

test("a cold tag costs one GET; a fresh one nothing; a stale one that has not changed one HEAD", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  const manifest = upstream.addManifest(a, "latest", imageOf("1"));
  const cold = await mirror.manifest(a, latest);
  assert.deepEqual(cold?.value, manifest);
  assert.deepEqual(cold?.cache, {
    hit: false,
    forward: "uri-miss",
    forwardStatus: 200,
    stored: true,
    collapsed: false,
  });
  await subject.idle();
  const asked = [`manifest ${a} latest`];
  assert.deepEqual(upstream.asked, asked);
  subject.now += 59_999;
  assert.deepEqual(await mirror.manifest(a, latest), { value: manifest, cache: { hit: true } });
  assert.deepEqual(await mirror.resolve(a, latest), { value: manifest.descriptor, cache: { hit: true } });
  assert.deepEqual(upstream.asked, asked);
  subject.now += 1;
  const revalidated = await mirror.manifest(a, latest);
  assert.deepEqual(revalidated?.value, manifest);
  assert.equal(revalidated?.cache.forward, "stale");
  asked.push(`resolve ${a} latest`);
  assert.deepEqual(upstream.asked, asked);
  subject.now += 59_999;
  await subject.idle();
  assert.deepEqual((await mirror.manifest(a, latest))?.cache, { hit: true }, "it is fresh again from its check on");
  assert.deepEqual(upstream.asked, asked);
});

test("a tag that has changed costs a HEAD and a GET by digest", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  upstream.addManifest(a, "latest", imageOf("1"));
  await mirror.manifest(a, latest);
  await subject.idle();
  const next = upstream.addManifest(a, "latest", imageOf("2"));
  subject.now += 60_000;
  assert.deepEqual((await mirror.manifest(a, latest))?.value, next);
  await subject.idle();
  const { digest } = next.descriptor;
  assert.deepEqual(upstream.asked, [`manifest ${a} latest`, `resolve ${a} latest`, `manifest ${a} ${digest}`]);
  assert.deepEqual((await subject.restart().manifest(a, latest))?.cache, { hit: true });
});

test("what has a digest is asked for once and for ever, by GET, and by HEAD while it is not stored", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  const { descriptor } = upstream.addManifest(a, undefined, imageOf("1"));
  assert.deepEqual((await mirror.resolve(a, descriptor.digest))?.value, descriptor);
  assert.equal((await mirror.manifest(a, descriptor.digest))?.cache.forward, "uri-miss");
  await subject.idle();
  subject.now += 1e12;
  assert.deepEqual((await mirror.manifest(a, descriptor.digest))?.cache, { hit: true });
  assert.deepEqual((await mirror.resolve(a, descriptor.digest))?.cache, { hit: true });
  assert.deepEqual((await subject.restart().manifest(a, descriptor.digest))?.cache, { hit: true });
  assert.deepEqual(upstream.asked, [`resolve ${a} ${descriptor.digest}`, `manifest ${a} ${descriptor.digest}`]);
});

test("HEAD of a cold tag costs a HEAD, and the GET that follows goes by digest", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  const manifest = upstream.addManifest(a, "latest", imageOf("1"));
  const { descriptor } = manifest;
  assert.deepEqual((await mirror.resolve(a, latest))?.value, descriptor);
  assert.deepEqual((await mirror.resolve(a, latest))?.cache, { hit: true });
  assert.deepEqual((await mirror.manifest(a, latest))?.value, manifest);
  await subject.idle();
  assert.deepEqual(upstream.asked, [`resolve ${a} latest`, `manifest ${a} ${descriptor.digest}`]);
  assert.deepEqual((await mirror.manifest(a, latest))?.cache, { hit: true });
});

test("HEAD of a stale tag renews it where it has not changed", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  const manifest = upstream.addManifest(a, "latest", imageOf("1"));
  await mirror.manifest(a, latest);
  subject.now += 60_000;
  assert.deepEqual((await mirror.resolve(a, latest))?.value, manifest.descriptor);
  await subject.idle();
  assert.deepEqual((await mirror.manifest(a, latest))?.cache, { hit: true });
  assert.deepEqual(upstream.asked, [`manifest ${a} latest`, `resolve ${a} latest`]);
});

test("what the upstream does not have, or has no more, is absent", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  assert.equal(await mirror.manifest(a, latest), undefined);
  assert.equal(await mirror.resolve(a, latest), undefined);
  assert.equal(await mirror.manifest(a, digestOf(Buffer.from("none"))), undefined);
  upstream.addManifest(a, "latest", imageOf("1"));
  assert.notEqual(await mirror.manifest(a, latest), undefined, "absence is not kept");
  subject.now += 60_000;
  upstream.removeTag(a, "latest");
  assert.equal(await mirror.manifest(a, latest), undefined);
  assert.equal(await mirror.resolve(a, latest), undefined);
});

test("a hundred clients of one tag cost one question, cold or stale, GET or HEAD", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  upstream.addManifest(a, "latest", imageOf("1"));
  const expected: string[] = [];
  const rows: [question: string, ask: () => Promise<Answer<unknown> | undefined>][] = [
    ["manifest", () => mirror.manifest(a, latest)],
    ["resolve", () => mirror.manifest(a, latest)],
    ["resolve", () => mirror.resolve(a, latest)],
  ];
  for (const [question, ask] of rows) {
    subject.now += 60_000;
    const barrier = createBarrier();
    upstream.hold = barrier;
    const clients = Array.from({ length: 100 }, () => ask());
    await barrier.reached;
    barrier.release();
    const answers = await Promise.all(clients);
    expected.push(`${question} ${a} latest`);
    assert.deepEqual(upstream.asked, expected);
    assert.equal(answers.filter((answer) => answer?.cache.collapsed === true).length, 99);
    await subject.idle();
  }
});

test("an upstream that fails is hidden by the stale tag, which says so; it is then spared for a while", async () => {
  for (const failure of ["unreachable", "timeout", "status", "rate-limited", "token", "invalid"] as const) {
    await using subject = await createFakeMirror();
    const { mirror, upstream } = subject;
    const manifest = upstream.addManifest(a, "latest", emptyIndex, mediaTypes.index);
    await mirror.manifest(a, latest);
    await subject.idle();
    subject.now += 60_000;
    upstream.failure = new UpstreamError("registry.example.com", failure, "it failed", { status: 503 });
    const cache = { hit: false, forward: "stale", forwardStatus: 503, staleReason: failure };
    assert.deepEqual(await mirror.manifest(a, latest), { value: manifest, cache });
    assert.deepEqual(await mirror.resolve(a, latest), { value: manifest.descriptor, cache });
    // A token that one repository cannot get says nothing about the host.
    const questions = failure === "invalid" || failure === "token" ? 2 : 1;
    assert.equal(upstream.asked.length, 1 + questions, failure);
    assert.equal(subject.failures.length, questions, failure);
    upstream.failure = undefined;
    subject.now += 60_000;
    assert.equal((await mirror.manifest(a, latest))?.cache.staleReason, undefined);
    await subject.idle();
    assert.deepEqual((await mirror.manifest(a, latest))?.cache, { hit: true });
  }
});

test("a stale tag is served after a restart too, but not past its time, and not for what is refused", async () => {
  await using subject = await createFakeMirror({
    policy: { ttlMs: 0, staleWhileRevalidateMs: 0, staleIfErrorMs: 1_000, keepDeleted: false },
  });
  const { upstream } = subject;
  const manifest = upstream.addManifest(a, "latest", emptyIndex, mediaTypes.index);
  await subject.mirror.manifest(a, latest);
  await subject.idle();
  const error = down();
  upstream.failure = error;
  subject.now += 1_000;
  const next = subject.restart();
  assert.deepEqual((await next.manifest(a, latest))?.value, manifest);
  subject.now += 1;
  await assert.rejects(next.manifest(a, latest), error);
  await assert.rejects(next.resolve(a, latest), error);
  await assert.rejects(next.manifest(a, parseTag("other")), error);
  subject.now -= 1;
  const refused = new UpstreamError("registry.example.com", "refused", "a private address");
  upstream.failure = refused;
  await assert.rejects(subject.restart().manifest(a, latest), refused);
});

test("an upstream that is slow is not waited for where something stale can be served", async () => {
  await using subject = await createFakeMirror({ staleWaitMs: 1 });
  const { mirror, upstream } = subject;
  const first = upstream.addManifest(a, "latest", emptyIndex, mediaTypes.index);
  await mirror.manifest(a, latest);
  const next = upstream.addManifest(a, "latest", imageOf("2"));
  const barrier = createBarrier();
  upstream.hold = barrier;
  subject.now += 60_000;
  const answer = await mirror.manifest(a, latest);
  assert.deepEqual(answer, { value: first, cache: { hit: false, forward: "stale", staleReason: "timeout" } });
  barrier.release();
  await until(async () => (await subject.content.tag(id, latest))?.digest === next.descriptor.digest);
  assert.deepEqual(await mirror.manifest(a, latest), { value: next, cache: { hit: true } }, "the question went on");
});

test("one pull waits for an upstream that is slow; while it is spared the others do not", async (context) => {
  await using subject = await createFakeMirror({ staleWaitMs: 3_000 });
  const { mirror, upstream } = subject;
  upstream.addManifest(a, "latest", emptyIndex, mediaTypes.index);
  await mirror.manifest(a, latest);
  await subject.idle();
  subject.now += 60_000;
  const barrier = createBarrier();
  upstream.hold = barrier;
  context.mock.timers.enable({ apis: ["setTimeout"] });
  let answered = 0;
  const pull = (): Promise<unknown> => mirror.manifest(a, latest).then(() => answered++);
  const first = pull();
  await barrier.reached;
  await turn(5);
  assert.equal(answered, 0);
  context.mock.timers.tick(3_000);
  await first;
  const second = pull();
  await turn(5);
  assert.equal(answered, 2, "the second one waits, too");
  barrier.release();
  await second;
});

test("where the stale image is not complete, a slow upstream is waited for", async () => {
  await using subject = await createFakeMirror({ staleWaitMs: 1 });
  const { mirror, upstream } = subject;
  upstream.addManifest(a, "latest", imageOf("1"));
  await mirror.manifest(a, latest);
  const next = upstream.addManifest(a, "latest", imageOf("2"));
  const barrier = createBarrier();
  upstream.hold = barrier;
  subject.now += 60_000;
  const answer = mirror.manifest(a, latest);
  await barrier.reached;
  // Longer than a client would be made to wait, were there something to give it.
  await turn(200);
  barrier.release();
  assert.deepEqual((await answer)?.value, next);
});

test("a digest keeps the media type that it came with first, for GET, HEAD and after a restart", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  const { digest } = upstream.addManifest(a, "latest", imageOf("1")).descriptor;
  await mirror.manifest(a, latest);
  await subject.idle();
  upstream.addManifest(a, "latest", imageOf("1"), dockerType);
  upstream.addManifest(a, "other", imageOf("1"), dockerType);
  const next = subject.restart();
  assert.equal((await next.manifest(a, parseTag("other")))?.value.descriptor.mediaType, mediaTypes.manifest);
  subject.now += 60_000;
  assert.equal((await next.resolve(a, latest))?.value.mediaType, mediaTypes.manifest);
  assert.equal((await next.manifest(a, latest))?.value.descriptor.mediaType, mediaTypes.manifest);
  await subject.idle();
  const again = subject.restart();
  assert.equal((await again.manifest(a, digest))?.value.descriptor.mediaType, mediaTypes.manifest);
});

test("what a manifest lists, its repository contains; a stranger's manifest proves nothing", async () => {
  const layer = { digest: digestOf(Buffer.from("layer")), size: 5 };
  for (const trusted of [true, false]) {
    await using subject = await createFakeMirror({ trusted });
    subject.upstream.addManifest(a, "latest", imageOf("1", [layer]));
    await subject.mirror.manifest(a, latest);
    await subject.idle();
    const link = await subject.content.link(id, layer.digest);
    assert.equal(link !== undefined, trusted);
  }
});

test("an ambiguous manifest is served by digest and tag; it proves nothing, and cannot stand in for its upstream", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  const layer = { digest: digestOf(Buffer.from("layer")), size: 5 };
  const text = JSON.stringify(imageOf("1", [layer]));
  const manifest = upstream.addManifest(a, "latest", Buffer.from(`{"Layers":[],${text.slice(1)}`));
  const { digest } = manifest.descriptor;
  assert.deepEqual((await mirror.manifest(a, latest))?.value, manifest);
  await subject.idle();
  assert.deepEqual((await subject.restart().manifest(a, digest))?.value, manifest);
  assert.equal(await subject.content.link(id, layer.digest), undefined);
  subject.now += 60_000;
  const error = down();
  upstream.failure = error;
  await assert.rejects(mirror.manifest(a, latest), error);
});
