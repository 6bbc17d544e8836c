/** Upstreams whose HEAD does not tell all of a manifest. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { digestOf } from "../../../src/oci/digest.ts";
import { parseRepository, parseTag } from "../../../src/oci/reference.ts";
import { createFakeMirror, imageOf } from "./fake-mirror.ts";

const a = parseRepository("library/a");
const latest = parseTag("latest");

test("where a HEAD tells the digest alone, an unchanged tag costs the HEAD, a moved one a GET by digest besides", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  upstream.resolving = "digest";
  const old = upstream.addManifest(a, "latest", imageOf("1"));
  await mirror.manifest(a, latest);
  const asked = [`manifest ${a} latest`];
  for (const ask of [() => mirror.manifest(a, latest), () => mirror.resolve(a, latest)]) {
    subject.now += 60_000;
    await subject.idle();
    assert.notEqual(await ask(), undefined);
    asked.push(`resolve ${a} latest`);
    assert.deepEqual(upstream.asked, asked);
  }
  await subject.idle();
  assert.deepEqual((await mirror.resolve(a, latest))?.value, old.descriptor);
  const next = upstream.addManifest(a, "latest", imageOf("2"));
  subject.now += 60_000;
  assert.deepEqual((await mirror.resolve(a, latest))?.value, next.descriptor, "which is fetched for its size");
  assert.deepEqual((await mirror.manifest(a, latest))?.value, next);
  await subject.idle();
  asked.push(`resolve ${a} latest`, `manifest ${a} ${next.descriptor.digest}`);
  const third = upstream.addManifest(a, "latest", imageOf("3"));
  subject.now += 60_000;
  assert.deepEqual((await mirror.manifest(a, latest))?.value, third);
  await subject.idle();
  asked.push(`resolve ${a} latest`, `manifest ${a} ${third.descriptor.digest}`);
  assert.deepEqual(upstream.asked, asked);
});

test("where a HEAD tells the digest alone, what is cold is fetched, once", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  upstream.resolving = "digest";
  const manifest = upstream.addManifest(a, "latest", imageOf("1"));
  const { descriptor } = manifest;
  assert.deepEqual((await mirror.resolve(a, latest))?.value, descriptor);
  assert.deepEqual((await mirror.manifest(a, latest))?.value, manifest);
  assert.deepEqual(upstream.asked, [`resolve ${a} latest`, `manifest ${a} ${descriptor.digest}`]);
  const other = upstream.addManifest(a, undefined, imageOf("2"));
  assert.deepEqual((await mirror.resolve(a, other.descriptor.digest))?.value, other.descriptor);
  assert.deepEqual((await mirror.manifest(a, other.descriptor.digest))?.cache, { hit: true });
  await subject.idle();
});

test("where a GET had to decide, what it brought is not fetched again, by tag, by digest, cold or stale", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  upstream.resolving = "get";
  const cold = upstream.addManifest(a, "latest", imageOf("1"));
  assert.deepEqual((await mirror.resolve(a, latest))?.value, cold.descriptor);
  assert.deepEqual((await mirror.manifest(a, latest))?.value, cold);
  await subject.idle();
  const next = upstream.addManifest(a, "latest", imageOf("2"));
  subject.now += 60_000;
  assert.deepEqual((await mirror.manifest(a, latest))?.value, next);
  await subject.idle();
  const other = upstream.addManifest(a, undefined, imageOf("3"));
  assert.deepEqual((await mirror.resolve(a, other.descriptor.digest))?.value, other.descriptor);
  assert.deepEqual((await mirror.manifest(a, other.descriptor.digest))?.value, other);
  await subject.idle();
  assert.deepEqual(upstream.asked, [
    `resolve ${a} latest`,
    `resolve ${a} latest`,
    `resolve ${a} ${other.descriptor.digest}`,
  ]);
  assert.deepEqual((await subject.restart().manifest(a, latest))?.cache, { hit: true });
});

test("a digest that a HEAD tells and nobody has leads to a GET of the tag", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  const resolve = upstream.resolve.bind(upstream);
  const wrong = digestOf(Buffer.from("wrong"));
  upstream.resolve = async (...question) => (await resolve(...question)) && { digest: wrong };
  const manifest = upstream.addManifest(a, "latest", imageOf("1"));
  assert.deepEqual((await mirror.resolve(a, latest))?.value, manifest.descriptor);
  await subject.idle();
  subject.now += 60_000;
  const next = upstream.addManifest(a, "latest", imageOf("2"));
  assert.deepEqual((await mirror.manifest(a, latest))?.value, next);
  await subject.idle();
});
