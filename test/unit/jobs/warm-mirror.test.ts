import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { JobState } from "../../../src/jobs/job.ts";
import { Jobs } from "../../../src/jobs/jobs.ts";
import { warmSteps } from "../../../src/jobs/warm.ts";
import { parseImageReference } from "../../../src/oci/image-reference.ts";
import { parseNamespace, parseRepository, parseTag } from "../../../src/oci/reference.ts";
import { createBarrier } from "../../support/barrier.ts";
import { buildImage, type BuiltImage, type ImageOptions } from "../../support/image.ts";
import { createFakeMirror, type FakeMirror, readBlob } from "../registry/fake-mirror.ts";

const namespace = parseNamespace("docker.io");
const repository = parseRepository("library/test");

function addImage({ upstream }: FakeMirror, options?: ImageOptions): BuiltImage {
  const image = buildImage(options);
  for (const bytes of image.blobs.values()) upstream.addBlob(repository, bytes);
  for (const { manifest } of image.platforms) {
    upstream.addManifest(repository, undefined, JSON.parse(manifest.bytes.toString()) as object);
  }
  upstream.addManifest(repository, "1", JSON.parse(image.root.bytes.toString()) as object, image.root.mediaType);
  return image;
}

/** Warms `docker.io/library/test:1` to the end, also of what goes on behind it. */
async function warm(subject: FakeMirror, registry = subject.mirror): Promise<JobState> {
  const nobody = (): void => undefined;
  const images = [parseImageReference("docker.io/library/test:1")];
  const steps = warmSteps(
    { open: () => ({ namespace, repository, registry }) },
    { images, platforms: [], parallel: 4 },
  );
  const job = await new Jobs({ started: nobody, stepEnded: nobody, ended: nobody }).start(
    "warm",
    { dryRun: false },
    steps,
  ).ended;
  await subject.idle();
  return job;
}

function blobsAsked({ upstream }: FakeMirror): string[] {
  return upstream.asked.filter((question) => question.startsWith("blob")).map((each) => each.split(" ")[2] ?? "");
}

function countsOf(job: JobState): Readonly<Record<string, number>> {
  return job.steps.at(-1)?.counts ?? {};
}

describe("warming a mirror", () => {
  test("makes a pull that asks the upstream for nothing, after a restart too", async () => {
    await using subject = await createFakeMirror();
    const image = addImage(subject, { platforms: 2 });
    const job = await warm(subject);
    assert.equal(job.state, "succeeded");
    const asked = subject.upstream.asked.length;
    for (const mirror of [subject.mirror, subject.restart()]) {
      const tagged = await mirror.manifest(repository, parseTag("1"));
      assert.equal(tagged?.value.descriptor.digest, image.root.digest);
      for (const { manifest } of image.platforms) {
        assert.equal((await mirror.manifest(repository, manifest.digest))?.cache.hit, true);
      }
      for (const [digest, bytes] of image.blobs) {
        const blob = await mirror.openBlob(repository, digest);
        assert.ok(blob !== undefined);
        assert.deepEqual(await readBlob(blob.value), bytes);
      }
    }
    assert.equal(subject.upstream.asked.length, asked);
  });

  test("a second time fetches no blob, in a new process too", async () => {
    await using subject = await createFakeMirror();
    const image = addImage(subject);
    await warm(subject);
    assert.equal(blobsAsked(subject).length, image.blobs.size);
    for (const registry of [subject.mirror, subject.restart()]) {
      const counts = countsOf(await warm(subject, registry));
      assert.equal(counts["blobs already there"], image.blobs.size);
      assert.equal(counts["images already there"], 1);
    }
    assert.equal(blobsAsked(subject).length, image.blobs.size);
  });

  test("shares the transfers of a client that pulls meanwhile", async () => {
    await using subject = await createFakeMirror();
    const image = addImage(subject, { layers: 3 });
    const barrier = createBarrier();
    for (const bytes of image.blobs.values()) {
      subject.upstream.addBlob(repository, bytes, { pauses: [{ at: Math.min(100, bytes.length), barrier }] });
    }
    const [digest, bytes] = [...image.blobs][1] ?? [];
    assert.ok(digest !== undefined);
    const pulled = subject.mirror.openBlob(repository, digest);
    await barrier.reached;
    const warmed = warm(subject);
    await barrier.arrivals(image.blobs.size);
    const blob = await pulled;
    barrier.release();
    assert.ok(blob !== undefined);
    assert.deepEqual(await readBlob(blob.value), bytes);
    const counts = countsOf(await warmed);
    assert.deepEqual(blobsAsked(subject).toSorted(), [...image.blobs.keys()].toSorted());
    // What the client's transfer had brought before counts too.
    assert.equal(
      counts["bytes fetched"],
      [...image.blobs.values()].reduce((sum, { length }) => sum + length, 0),
    );
  });

  test("fails for a blob that is wrong, and gets it when it is right again", async () => {
    await using subject = await createFakeMirror();
    const image = addImage(subject);
    const [digest, bytes] = [...image.blobs][1] ?? [];
    assert.ok(digest !== undefined && bytes !== undefined);
    subject.upstream.addBlob(repository, Buffer.alloc(bytes.length), { digest });
    const failed = await warm(subject);
    assert.equal(failed.state, "failed");
    assert.match(failed.error ?? "", /library\/test:1: .*digest/);
    subject.upstream.addBlob(repository, bytes);
    const again = await warm(subject);
    assert.equal(again.state, "succeeded");
    assert.equal(countsOf(again)["blobs fetched"], 1);
  });
});
