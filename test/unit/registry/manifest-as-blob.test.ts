import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { digestOf } from "../../../src/oci/digest.ts";
import { maxManifestBytes } from "../../../src/oci/manifest.ts";
import { parseRepository, parseTag } from "../../../src/oci/reference.ts";
import type { PullRegistry, Warmable } from "../../../src/registry/registry.ts";
import { UpstreamError } from "../../../src/upstream/upstream.ts";
import { createBarrier } from "../../support/barrier.ts";
import { mediaTypes } from "../../support/image.ts";
import { createFakeMirror, type FakeMirror, imageOf, readBlob } from "./fake-mirror.ts";

const a = parseRepository("library/a");
const b = parseRepository("library/b");
const latest = parseTag("latest");
const layer = Buffer.from("layer");
const listed = { digest: digestOf(layer), size: layer.length };
const entry = { ...listed, mediaType: mediaTypes.manifest };

const documents: Readonly<Record<string, { readonly document: object; readonly mediaType: string }>> = {
  "an image": { document: imageOf("1", [listed]), mediaType: mediaTypes.manifest },
  "an index": { document: { schemaVersion: 2, manifests: [entry] }, mediaType: mediaTypes.index },
  "a large one": {
    document: imageOf("x".repeat(2_000_000), [listed]),
    mediaType: mediaTypes.manifest,
  },
};

function bytesOf(document: object): Buffer {
  return Buffer.from(JSON.stringify(document));
}

/** Nothing that is asked for as a blob gives out this digest. */
async function expectNoBlob(mirror: PullRegistry & Warmable, repository: typeof a, bytes: Buffer): Promise<void> {
  const digest = digestOf(bytes);
  assert.equal(await mirror.statBlob(repository, digest), undefined);
  assert.equal(await mirror.openBlob(repository, digest), undefined);
  assert.equal(await mirror.storeBlob(repository, digest), undefined);
}

async function expectBlob(mirror: PullRegistry & Warmable, repository: typeof a, bytes: Buffer): Promise<void> {
  const digest = digestOf(bytes);
  assert.equal((await mirror.statBlob(repository, digest))?.value.sizeBytes, bytes.length);
  const answer = await mirror.openBlob(repository, digest);
  assert.ok(answer !== undefined, "there is no such blob");
  assert.ok((await readBlob(answer.value)).equals(bytes));
}

function goAway({ upstream }: Pick<FakeMirror, "upstream">): UpstreamError {
  const error = new UpstreamError("registry.example.com", "unreachable", "it is gone");
  upstream.failure = error;
  return error;
}

for (const [what, { document, mediaType }] of Object.entries(documents)) {
  // An upstream that gives out manifests as blobs: some do.
  describe(`the manifest of ${what} is no blob`, () => {
    const bytes = bytesOf(document);
    const digest = digestOf(bytes);

    test("of a repository that has it as a manifest, with or without the upstream", async () => {
      await using subject = await createFakeMirror();
      const { mirror, upstream } = subject;
      upstream.addManifest(a, "latest", document, mediaType);
      upstream.addBlob(a, bytes);
      await mirror.manifest(a, latest);
      await expectNoBlob(mirror, a, bytes);
      await subject.idle();
      await expectNoBlob(mirror, a, bytes);
      goAway(subject);
      for (const each of [mirror, subject.restart()]) await expectNoBlob(each, a, bytes);
      assert.deepEqual(upstream.asked, [`manifest ${a} latest`]);
    });

    test("of a repository that has it not, or another's upstream says that it has", async () => {
      await using subject = await createFakeMirror();
      const { mirror, upstream } = subject;
      upstream.addManifest(a, "latest", document, mediaType);
      for (const repository of [a, b]) upstream.addBlob(repository, bytes);
      // Nothing is stored: its bytes tell.
      await expectNoBlob(mirror, b, bytes);
      await subject.idle();
      await mirror.manifest(a, latest);
      await subject.idle();
      await expectNoBlob(mirror, b, bytes);
      const stranger = subject.another("ghcr.io", { trusted: false });
      stranger.upstream.addBlob(a, bytes);
      await expectNoBlob(stranger.mirror, a, bytes);
      await subject.idle();
      const error = goAway(subject);
      await assert.rejects(mirror.openBlob(b, digest), error);
      await assert.rejects(mirror.statBlob(b, digest), error);
    });

    test("of a repository whose upstream does not tell the size", async () => {
      await using subject = await createFakeMirror();
      subject.upstream.addBlob(a, bytes, { sizeBytes: undefined, chunkBytes: 7_000 });
      await expectNoBlob(subject.mirror, a, bytes);
    });

    test("unless another one lists it: then it is both, at once and for ever", async () => {
      const artifact = imageOf("artifact", [{ digest, size: bytes.length }]);
      for (const first of ["the manifest", "the artifact", "the blob"]) {
        for (const trusted of [true, false]) {
          await using subject = await createFakeMirror({ trusted });
          const { mirror, upstream } = subject;
          const manifest = upstream.addManifest(a, "latest", document, mediaType);
          const parent = upstream.addManifest(a, "artifact", artifact);
          upstream.addBlob(a, bytes);
          if (first === "the manifest") await mirror.manifest(a, latest);
          assert.deepEqual((await mirror.manifest(a, parseTag("artifact")))?.value, parent);
          if (first === "the blob") await expectBlob(mirror, a, bytes);
          assert.deepEqual((await mirror.manifest(a, latest))?.value, manifest);
          await expectBlob(mirror, a, bytes);
          await subject.idle();
          const next = subject.restart();
          assert.deepEqual((await next.manifest(a, parseTag("artifact")))?.value, parent);
          await expectBlob(next, a, bytes);
          assert.deepEqual((await next.manifest(a, digest))?.value, manifest);
          await subject.idle();
        }
      }
    });
  });
}

test("an image that is not complete is given out by no door while its upstream fails", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  const { digest } = upstream.addManifest(a, "latest", imageOf("1", [listed])).descriptor;
  await mirror.manifest(a, latest);
  await subject.idle();
  const error = goAway(subject);
  await assert.rejects(mirror.openBlob(a, listed.digest), error);
  await assert.rejects(mirror.manifest(a, digest), error);
  await assert.rejects(mirror.resolve(a, digest), error);
  await expectNoBlob(mirror, a, bytesOf(imageOf("1", [listed])));
});

test("a blob that reads as a manifest is none until its registry says so", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  const bytes = bytesOf(imageOf("1"));
  upstream.addBlob(a, bytes);
  upstream.addManifest(a, "artifact", imageOf("2", [{ digest: digestOf(bytes), size: bytes.length }]));
  await mirror.manifest(a, parseTag("artifact"));
  await expectBlob(mirror, a, bytes);
  await subject.idle();
  for (const each of [mirror, subject.restart()]) {
    assert.equal(await each.manifest(a, digestOf(bytes)), undefined);
    assert.equal(await each.resolve(a, digestOf(bytes)), undefined);
  }
});

test("what is JSON and no manifest, or begins like one, is a blob, to the last byte", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  const blobs = [
    Buffer.from('{"architecture":"amd64","os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":[]}}'),
    Buffer.from('  {"schemaVersion":2,"manifests":'),
    Buffer.from("{}"),
    Buffer.from(" \n"),
    Buffer.alloc(0),
    Buffer.concat([
      Buffer.from('{"schemaVersion":2,"layers":[],"x":"'),
      Buffer.alloc(maxManifestBytes),
      Buffer.from('"}'),
    ]),
  ];
  for (const bytes of blobs) upstream.addBlob(a, bytes);
  for (const bytes of blobs) await expectBlob(mirror, a, bytes);
});

test("the headers of what begins as no manifest does are there with its first bytes", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  const network = createBarrier();
  const bytes = Buffer.alloc(100_000, "x");
  upstream.addBlob(a, bytes, { pauses: [{ at: 65_536, barrier: network }] });
  const answer = await mirror.openBlob(a, digestOf(bytes));
  assert.ok(answer !== undefined);
  network.release();
  assert.ok((await readBlob(answer.value)).equals(bytes));
});
