import assert from "node:assert/strict";
import { test } from "node:test";
import { type Digest, digestOf } from "../../../src/oci/digest.ts";
import { parseNamespace, parseRepository, parseTag } from "../../../src/oci/reference.ts";
import type { PullRegistry } from "../../../src/registry/registry.ts";
import type { Key } from "../../../src/store/object-store.ts";
import { UpstreamError } from "../../../src/upstream/upstream.ts";
import { type Barrier, createBarrier } from "../../support/barrier.ts";
import { pseudoRandomBytes } from "../../support/content.ts";
import { mediaTypes } from "../../support/image.ts";
import { createFakeMirror, type FakeMirror, imageOf, readBlob } from "./fake-mirror.ts";

const a = parseRepository("library/a");
const b = parseRepository("library/b");
const latest = parseTag("latest");
const layers = [pseudoRandomBytes(100_000, "layer 0"), pseudoRandomBytes(50_000, "layer 1")];
const listed = layers.map((bytes) => ({ digest: digestOf(bytes), size: bytes.length }));
const document = { ...imageOf("1", listed), config: { ...listed[0], mediaType: mediaTypes.config } };

/** Has writes of these keys wait, as on a slow disk, until it is released, or the test ends. */
function slow(subject: FakeMirror, concerns: (key: Key) => boolean): Barrier & Disposable {
  const barrier = createBarrier();
  const put = subject.store.put.bind(subject.store);
  subject.store.put = async (key, source, options) => {
    if (concerns(key)) await barrier.wait();
    return put(key, source, options);
  };
  return { ...barrier, [Symbol.dispose]: () => barrier.release() };
}

function isLayer(key: Key): boolean {
  return layers.some((bytes) => key.endsWith(digestOf(bytes).slice(9)));
}

/** The upstream is gone, and the mirror knows it. */
async function goAway({ mirror, upstream }: Pick<FakeMirror, "mirror" | "upstream">, repository = a): Promise<void> {
  upstream.failure = new UpstreamError("registry.example.com", "unreachable", "it is gone");
  await assert.rejects(mirror.manifest(repository, parseTag("cold")), upstream.failure);
  upstream.asked.length = 0;
}

async function pullLayers(mirror: PullRegistry, repository: typeof a): Promise<void> {
  for (const bytes of layers) {
    const answer = await mirror.openBlob(repository, digestOf(bytes));
    assert.ok(answer !== undefined);
    assert.ok((await readBlob(answer.value)).equals(bytes));
  }
}

/** All of an image is served, by GET and HEAD, and the upstream is not asked. */
async function expectImage(
  { mirror, upstream }: Pick<FakeMirror, "mirror" | "upstream">,
  repository: typeof a,
  digest: Digest,
): Promise<void> {
  for (const reference of [latest, digest]) {
    assert.equal((await mirror.manifest(repository, reference))?.value.descriptor.digest, digest);
    assert.equal((await mirror.resolve(repository, reference))?.value.digest, digest);
  }
  for (const bytes of layers) {
    assert.equal((await mirror.statBlob(repository, digestOf(bytes)))?.value.sizeBytes, bytes.length);
  }
  await pullLayers(mirror, repository);
  assert.deepEqual(upstream.asked, []);
}

test("an image whose blobs are verified and not yet stored is complete", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  for (const bytes of layers) upstream.addBlob(a, bytes);
  const { digest } = upstream.addManifest(a, "latest", document).descriptor;
  using disk = slow(subject, isLayer);
  await mirror.manifest(a, latest);
  await pullLayers(mirror, a);
  await disk.arrivals(layers.length);
  await goAway(subject);
  await expectImage(subject, a, digest);
  disk.release();
  await subject.idle();
  await expectImage(subject, a, digest);
});

test("for another repository, also of another namespace, that is known to contain them, too", async () => {
  await using subject = await createFakeMirror();
  const foreign = subject.another("ghcr.io");
  subject.upstream.addManifest(b, "latest", document);
  foreign.upstream.addManifest(a, "latest", document);
  const { digest } = subject.upstream.addManifest(a, "latest", document).descriptor;
  await subject.mirror.manifest(b, latest);
  await foreign.mirror.manifest(a, latest);
  await subject.idle();
  using disk = slow(subject, isLayer);
  for (const bytes of layers) subject.upstream.addBlob(a, bytes);
  await pullLayers(subject.mirror, a);
  await disk.arrivals(layers.length);
  await goAway(subject, b);
  await goAway(foreign);
  await expectImage(subject, b, digest);
  await expectImage(foreign, a, digest);
});

test("an image whose links are not yet written is complete, as its blobs are stored for others", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  for (const bytes of layers) upstream.addBlob(a, bytes);
  await pullLayers(mirror, a);
  await subject.idle();
  const { digest } = upstream.addManifest(b, "latest", document).descriptor;
  using disk = slow(subject, (key) => key.includes("/_links/"));
  await mirror.manifest(b, latest);
  await disk.reached;
  await goAway(subject, b);
  await expectImage(subject, b, digest);
});

test("a link that is removed is gone, though a manifest lists it", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream, content } = subject;
  for (const bytes of layers) upstream.addBlob(a, bytes);
  upstream.addManifest(a, "latest", document);
  await mirror.manifest(a, latest);
  await pullLayers(mirror, a);
  await subject.idle();
  const digest = digestOf(layers[0] ?? Buffer.alloc(0));
  await content.removeLink({ namespace: parseNamespace("docker.io"), repository: a }, digest);
  await goAway(subject);
  await assert.rejects(mirror.openBlob(a, digest), upstream.failure);
});

test("an image whose blobs are still coming is not complete", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  const network = createBarrier();
  for (const bytes of layers) upstream.addBlob(a, bytes, { pauses: [{ at: bytes.length, barrier: network }] });
  upstream.addManifest(a, "latest", document);
  await mirror.manifest(a, latest);
  await subject.idle();
  const pulled = pullLayers(mirror, a);
  await network.reached;
  await goAway(subject);
  await assert.rejects(mirror.manifest(a, latest), upstream.failure);
  network.release();
  upstream.failure = undefined;
  await pulled;
});

test("a listing that is not yet stored is there", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  upstream.setPage(`tags ${a} `, { tags: ["1"] });
  using disk = slow(subject, (key) => key.includes("/_pages/"));
  await mirror.tags(a, "");
  await disk.reached;
  await goAway(subject);
  const answer = await mirror.tags(a, "");
  assert.deepEqual(answer?.value.document, { tags: ["1"] });
  assert.equal(answer?.cache.staleReason, "unreachable");
});
