import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { digestOf } from "../../../src/oci/digest.ts";
import { parseNamespace, parseRepository, parseTag } from "../../../src/oci/reference.ts";
import { blobKey, quarantineKey } from "../../../src/store/layout.ts";
import type { PullRegistry, Warmable } from "../../../src/registry/registry.ts";
import { StoreError } from "../../../src/store/object-store.ts";
import { UpstreamError, type UpstreamFailure } from "../../../src/upstream/upstream.ts";
import { pseudoRandomBytes } from "../../support/content.ts";
import { createFakeMirror, type FakeMirror, imageOf, readBlob } from "./fake-mirror.ts";

const a = parseRepository("library/a");
const b = parseRepository("library/b");
const latest = parseTag("latest");
const bytes = pseudoRandomBytes(100_000, "blob");
const digest = digestOf(bytes);
const image = imageOf("1", [{ digest, size: bytes.length }]);

const damages: Readonly<Record<string, Buffer>> = {
  "a byte shorter than": bytes.subarray(0, -1),
  "a byte longer than": Buffer.concat([bytes, Buffer.from("x")]),
  "empty, not": Buffer.alloc(0),
};

async function pull(mirror: PullRegistry & Warmable, repository: typeof a): Promise<Buffer | undefined> {
  const answer = await mirror.openBlob(repository, digest);
  return answer && readBlob(answer.value);
}

/** A mirror that has an image in its cache, whose only blob was damaged since. */
async function createDamaged(damaged: Buffer): Promise<FakeMirror & { readonly reopened: PullRegistry & Warmable }> {
  const subject = await createFakeMirror();
  subject.upstream.addBlob(a, bytes);
  subject.upstream.addManifest(a, "latest", image);
  await subject.mirror.manifest(a, latest);
  await pull(subject.mirror, a);
  await subject.idle();
  await subject.store.put(blobKey(digest), damaged);
  subject.upstream.asked.length = 0;
  return Object.assign(subject, { reopened: subject.restart() });
}

function fail({ upstream }: FakeMirror, failure: UpstreamFailure): UpstreamError {
  const error = new UpstreamError("registry.example.com", failure, "it fails");
  upstream.failure = error;
  return error;
}

for (const [what, damaged] of Object.entries(damages)) {
  describe(`a stored blob that is ${what} what its link tells`, () => {
    test("is fetched anew, by whatever way it is asked for", async () => {
      const ways: readonly ((mirror: PullRegistry & Warmable) => Promise<void>)[] = [
        async (mirror) => assert.ok((await pull(mirror, a))?.equals(bytes)),
        async (mirror) => assert.equal((await mirror.storeBlob(a, digest))?.cache.stored, true),
        async (mirror) => {
          const answer = await mirror.openBlob(a, digest);
          assert.ok(answer !== undefined);
          const span = { start: 10, end: 20 };
          assert.ok((await readBlob(answer.value, span)).equals(bytes.subarray(10, 20)));
        },
      ];
      for (const way of ways) {
        await using subject = await createDamaged(damaged);
        await way(subject.reopened);
        await subject.idle();
        assert.deepEqual(subject.upstream.asked, [`blob ${a} ${digest} 0`]);
        assert.deepEqual((await subject.reopened.statBlob(a, digest))?.cache, { hit: true });
        assert.ok((await pull(subject.mirror, a))?.equals(bytes));
      }
    });

    test("has the upstream's size", async () => {
      await using subject = await createDamaged(damaged);
      const { value, cache } = (await subject.reopened.statBlob(a, digest)) ?? {};
      assert.equal(value?.sizeBytes, bytes.length);
      assert.equal(cache?.hit, false);
    });

    test("is absent while the upstream fails, and so is its image; it is put aside", async () => {
      await using subject = await createDamaged(damaged);
      const error = fail(subject, "unreachable");
      await assert.rejects(subject.reopened.openBlob(a, digest), error);
      await assert.rejects(subject.reopened.statBlob(a, digest), error);
      await assert.rejects(subject.reopened.manifest(a, parseTag("cold")), error);
      await assert.rejects(subject.reopened.manifest(a, latest), error);
      await subject.idle();
      assert.equal(await subject.store.head(blobKey(digest)), undefined);
      assert.equal((await subject.store.head(quarantineKey(digest)))?.sizeBytes, damaged.length);
    });

    test("is the storage's failure where the upstream is never asked", async () => {
      await using subject = await createDamaged(damaged);
      fail(subject, "offline");
      await assert.rejects(subject.reopened.openBlob(a, digest), StoreError);
      await subject.idle();
    });
  });
}

test("a link that is wrong costs a transfer, and takes nothing from who has the blob", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream, content, store } = subject;
  for (const repository of [a, b]) upstream.addBlob(repository, bytes);
  await pull(mirror, a);
  await subject.idle();
  const id = { namespace: parseNamespace("docker.io"), repository: b };
  await content.addLink(id, digest, { mediaType: "a/b", sizeBytes: 1 });
  const error = fail(subject, "unreachable");
  for (let times = 0; times < 2; times++) {
    await assert.rejects(mirror.openBlob(b, digest), error);
    await subject.idle();
    assert.ok((await pull(mirror, a))?.equals(bytes));
  }
  assert.equal(await store.head(quarantineKey(digest)), undefined);
  upstream.failure = undefined;
  assert.ok((await pull(mirror, b))?.equals(bytes));
  await subject.idle();
  assert.equal((await content.link(id, digest))?.sizeBytes, bytes.length);
  assert.deepEqual((await mirror.statBlob(b, digest))?.cache, { hit: true });
});
