/* While the upstream fails, an image is served only if all of it can be. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { digestOf } from "../../../src/oci/digest.ts";
import { parseNamespace, parseRepository, parseTag, type Repository } from "../../../src/oci/reference.ts";
import { blobKey } from "../../../src/store/layout.ts";
import { UpstreamError } from "../../../src/upstream/upstream.ts";
import { createFakeMirror, type FakeMirror, imageOf } from "./fake-mirror.ts";

const a = parseRepository("library/a");
const b = parseRepository("library/b");
const latest = parseTag("latest");
const layers = ["one", "two"].map((name) => Buffer.from(name));
const digests = layers.map((bytes) => digestOf(bytes));

/** An image of two layers, which both repositories have; of `pulled`, a client has had the manifest. */
async function setUp(subject: FakeMirror, pulled: Repository): ReturnType<FakeMirror["upstream"]["manifest"]> {
  const { upstream, mirror } = subject;
  const image = imageOf(
    "image",
    layers.map((bytes, index) => ({ digest: digests[index] ?? assert.fail(), size: bytes.length })),
  );
  for (const repository of [a, b]) {
    for (const bytes of layers) upstream.addBlob(repository, bytes);
    upstream.addManifest(repository, "latest", image);
  }
  const answer = await mirror.manifest(pulled, latest);
  await subject.idle();
  return answer?.value;
}

async function fail(subject: FakeMirror): Promise<void> {
  subject.upstream.failure = new UpstreamError("registry.example.com", "unreachable", "it is down");
  await assert.rejects(subject.mirror.manifest(a, parseTag("other")), { failure: "unreachable" });
}

/** Whether the image is served, by its tag and by its digest. */
async function isServed({ mirror }: FakeMirror, digest: ReturnType<typeof digestOf>): Promise<boolean[]> {
  const served = (asked: Promise<unknown>): Promise<boolean> =>
    asked.then(
      (answer) => answer !== undefined,
      () => false,
    );
  return [await served(mirror.manifest(a, latest)), await served(mirror.manifest(a, digest))];
}

test("an image is served as long as its blobs are stored, and not when one of them is gone", async () => {
  await using subject = await createFakeMirror();
  const manifest = (await setUp(subject, a)) ?? assert.fail();
  const { digest } = manifest.descriptor;
  for (const [index, blob] of digests.entries()) {
    await subject.mirror.storeBlob(a, blob);
    subject.now += 60_000;
    await fail(subject);
    const isWhole = index === digests.length - 1;
    assert.deepEqual(await isServed(subject, digest), [isWhole, isWhole], `with ${index + 1} blobs`);
    subject.upstream.failure = undefined;
    subject.now += 60_000;
    await subject.mirror.manifest(a, latest);
    await subject.idle();
  }
  await subject.store.delete(blobKey(digests[0] ?? assert.fail()));
  subject.now += 60_000;
  await fail(subject);
  assert.deepEqual(await isServed(subject, digest), [false, false]);
});

test("blobs that only another repository has had do not make a stranger's image whole", async () => {
  await using subject = await createFakeMirror({ trusted: false, namespace: parseNamespace("docker.io") });
  const manifest = (await setUp(subject, a)) ?? assert.fail();
  const { digest } = manifest.descriptor;
  for (const blob of digests) await subject.mirror.storeBlob(b, blob);
  await fail(subject);
  assert.deepEqual(await isServed(subject, digest), [false, false]);
  subject.upstream.failure = undefined;
  subject.now += 60_000;
  for (const blob of digests) await subject.mirror.storeBlob(a, blob);
  await fail(subject);
  assert.deepEqual(await isServed(subject, digest), [true, true]);
});
