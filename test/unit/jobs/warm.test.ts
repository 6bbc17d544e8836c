import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { JobState, StepState } from "../../../src/jobs/job.ts";
import { Jobs } from "../../../src/jobs/jobs.ts";
import type { WarmPlace } from "../../../src/jobs/warm-image.ts";
import { type WarmOptions, warmSteps } from "../../../src/jobs/warm.ts";
import { OciError } from "../../../src/oci/errors.ts";
import { parseImageReference } from "../../../src/oci/image-reference.ts";
import { parsePlatform } from "../../../src/oci/platform.ts";
import { createBarrier } from "../../support/barrier.ts";
import { mediaTypes } from "../../support/image.ts";
import { createFakePlace, type FakePlace } from "./warm-registry.ts";

interface Wishes {
  readonly platforms?: readonly string[];
  readonly parallel?: number;
}

/** Starts to warm images of this repository, whatever registry and repository they name. */
function start(
  place: WarmPlace,
  images: readonly string[],
  wishes: Wishes = {},
): { jobs: Jobs; ended: Promise<JobState>; id: string } {
  const nobody = (): void => undefined;
  const jobs = new Jobs({ started: nobody, stepEnded: nobody, ended: nobody });
  const options: WarmOptions = {
    images: images.map(parseImageReference),
    platforms: (wishes.platforms ?? []).map(parsePlatform),
    parallel: wishes.parallel ?? 4,
  };
  const { ended, id } = jobs.start("warm", { dryRun: false }, warmSteps({ open: () => place }, options));
  return { jobs, ended, id };
}

async function warm(place: WarmPlace, images: readonly string[], wishes?: Wishes): Promise<JobState> {
  return start(place, images, wishes).ended;
}

function step(job: JobState | undefined, name: string): StepState {
  const found = job?.steps.find((each) => each.name === name);
  assert.ok(found !== undefined, `no step ${name} in ${job?.steps.map((each) => each.name).join()}`);
  return found;
}

function blobsAsked(place: FakePlace): string[] {
  return place.upstream.asked.filter((question) => question.startsWith("blob")).map((each) => each.split(" ")[2] ?? "");
}

describe("warming", () => {
  test("brings an image of several platforms into the cache, each blob once, and tells how many bytes", async () => {
    const place = createFakePlace();
    const image = place.addImage("1", { platforms: 2 });
    const job = await warm(place, ["test:1"]);
    assert.equal(job.state, "succeeded");
    assert.deepEqual(place.stored, new Set(image.blobs.keys()));
    assert.deepEqual(blobsAsked(place).toSorted(), [...image.blobs.keys()].toSorted());
    const bytes = [...image.blobs.values()].reduce((sum, { length }) => sum + length, 0);
    const pull = step(job, "docker.io/library/test:1");
    assert.deepEqual([pull.done, pull.total, pull.unit], [bytes, bytes, "bytes"]);
    assert.deepEqual(pull.counts, { manifests: 3, "blobs fetched": image.blobs.size, "bytes fetched": bytes });
    assert.deepEqual(step(job, "summary").counts, {
      manifests: 3,
      "blobs fetched": image.blobs.size,
      "bytes fetched": bytes,
      "images pulled": 1,
      "images failed": 0,
    });
  });

  test("of some platforms leaves the others alone", async () => {
    const place = createFakePlace();
    const image = place.addImage("1", { platforms: 3 });
    const [, arm64] = image.platforms;
    assert.ok(arm64 !== undefined);
    await warm(place, ["test:1"], { platforms: ["linux/arm64"] });
    assert.deepEqual(place.stored, new Set([arm64.config, ...arm64.layers]));
    assert.deepEqual(
      place.upstream.asked.filter((question) => question.startsWith("manifest")),
      ["manifest library/test 1", `manifest library/test ${arm64.manifest.digest}`],
    );
  });

  test("takes an image of one platform as it is", async () => {
    const place = createFakePlace();
    const image = place.addImage("1");
    const job = await warm(place, ["test:1"], { platforms: ["linux/s390x"] });
    assert.equal(job.state, "succeeded");
    assert.deepEqual(place.stored, new Set(image.blobs.keys()));
  });

  test("fetches nothing for a manifest that can be read in two ways, and says so", async () => {
    const place = createFakePlace();
    const { bytes, mediaType } = place.addImage("1").root;
    place.upstream.addManifest(
      "library/test",
      "1",
      Buffer.from(`{"Layers":[],${bytes.toString().slice(1)}`),
      mediaType,
    );
    const job = await warm(place, ["test:1"]);
    assert.equal(step(job, "summary").counts["images failed"], 1);
    assert.match(JSON.stringify(job.steps), /can be read in more than one way/);
    assert.deepEqual(blobsAsked(place), []);
  });

  test("goes on where it was: what is stored is not asked for, and counts as done", async () => {
    const place = createFakePlace();
    const image = place.addImage("1");
    const [first = "sha256:" as never] = image.blobs.keys();
    place.stored.add(first);
    const half = await warm(place, ["test:1"]);
    assert.ok(!blobsAsked(place).includes(first));
    const pull = step(half, "docker.io/library/test:1");
    assert.equal(pull.done, pull.total);
    assert.equal(pull.counts["blobs already there"], 1);
    assert.equal(step(half, "summary").counts["images pulled"], 1);
    place.upstream.asked.length = 0;
    const whole = await warm(place, ["test:1"]);
    assert.deepEqual(blobsAsked(place), []);
    assert.equal(step(whole, "summary").counts["images already there"], 1);
    assert.equal(step(whole, "summary").counts["images pulled"], undefined);
  });

  test("pulls an image once that is named twice", async () => {
    const place = createFakePlace();
    place.addImage("1");
    const job = await warm(place, ["test:1", "index.docker.io/library/test:1", "docker.io/library/test:1"]);
    assert.deepEqual(
      job.steps.map(({ name }) => name),
      ["docker.io/library/test:1", "summary"],
    );
  });

  test("asks for as many things at a time as it may, over all images together", async () => {
    const place = createFakePlace();
    const sizes = [5, 2, 1, 3].map((layers, tag) => place.addImage(`${tag}`, { layers }).blobs.size);
    place.hold = createBarrier();
    const { ended, jobs, id } = start(place, ["test:0", "test:1", "test:2", "test:3"], { parallel: 3 });
    await place.hold.arrivals(3);
    assert.deepEqual(
      jobs.get(id)?.steps.map(({ state }) => state),
      ["running", "running", "running", "waiting", "waiting"],
    );
    place.hold.release();
    assert.equal((await ended).state, "succeeded");
    assert.equal(place.mostAtOnce, 3);
    assert.equal(
      place.stored.size,
      sizes.reduce((sum, size) => sum + size, 0),
    );
  });

  test("tells of bytes while a blob is on its way", async () => {
    const place = createFakePlace();
    const image = place.addImage("1", { layers: 1 });
    place.hold = createBarrier();
    const { ended, jobs, id } = start(place, ["test:1"]);
    await place.hold.arrivals(2);
    const halves = [...image.blobs.values()].reduce((sum, { length }) => sum + Math.floor(length / 2), 0);
    assert.equal(step(jobs.get(id), "docker.io/library/test:1").done, halves);
    place.hold.release();
    await ended;
  });
});

describe("warming that fails", () => {
  test("for one image goes on with the others, and fails at the end with its name and reason", async () => {
    const place = createFakePlace();
    const image = place.addImage("2");
    const job = await warm(place, ["test:1", "test:2"]);
    assert.equal(job.state, "failed");
    assert.deepEqual(place.stored, new Set(image.blobs.keys()));
    const failed = step(job, "docker.io/library/test:1");
    assert.deepEqual([failed.state, failed.error], ["failed", "docker.io has no manifest 1 in library/test"]);
    assert.equal(step(job, "docker.io/library/test:2").state, "done");
    const { counts, state } = step(job, "summary");
    assert.deepEqual([state, counts["images failed"], counts["images pulled"]], ["done", 1, 1]);
    assert.equal(job.error, "docker.io/library/test:1: docker.io has no manifest 1 in library/test");
  });

  test("for a registry that is not mirrored says so, and goes on", async () => {
    const place = createFakePlace();
    place.addImage("1");
    const open = ({ namespace }: { readonly namespace: string }): WarmPlace => {
      if (namespace === "private.example.com") throw new OciError("NAME_UNKNOWN", "not mirrored here");
      return place;
    };
    const images = ["private.example.com/a@sha256:" + "a".repeat(64), "test:1"].map(parseImageReference);
    const steps = warmSteps({ open }, { images, platforms: [], parallel: 1 });
    const nobody = (): void => undefined;
    const job = await new Jobs({ started: nobody, stepEnded: nobody, ended: nobody }).start(
      "warm",
      { dryRun: false },
      steps,
    ).ended;
    assert.match(job.error ?? "", /^private\.example\.com\/a@sha256:a+: not mirrored here$/);
    assert.equal(step(job, "summary").counts["images pulled"], 1);
  });

  test("for one blob fetches the others all the same", async () => {
    const place = createFakePlace();
    const image = place.addImage("1", { layers: 4 });
    const [, second = "sha256:" as never] = image.blobs.keys();
    place.broken.set(second, new Error("the connection broke"));
    const job = await warm(place, ["test:1"], { parallel: 1 });
    assert.equal(job.error, "docker.io/library/test:1: the connection broke");
    assert.deepEqual(place.stored, new Set(image.blobs.keys()).difference(new Set([second])));
  });

  test("for a blob that the registry does not have says which", async () => {
    const place = createFakePlace();
    const digest = `sha256:${"c".repeat(64)}`;
    const document = { schemaVersion: 2, config: { mediaType: mediaTypes.config, digest, size: 3 }, layers: [] };
    place.upstream.addManifest("library/test", "1", document);
    const job = await warm(place, ["test:1"]);
    assert.match(job.error ?? "", new RegExp(`docker.io has no blob ${digest} in library/test$`));
  });

  test("says which platforms an image does not have", async () => {
    const place = createFakePlace();
    place.addImage("1", { platforms: 2 });
    const job = await warm(place, ["test:1"], { platforms: ["linux/s390x", "linux/arm/v7"] });
    assert.match(job.error ?? "", /library\/test:1: no image for linux\/s390x, linux\/arm\/v7$/);
    assert.equal(place.stored.size, 0);
  });

  test("is content with the manifests of an index that are there", async () => {
    const place = createFakePlace();
    const image = place.addImage("1", { platforms: 2 });
    const [amd64, arm64] = image.platforms;
    place.upstream.removeTag("library/test", amd64?.manifest.digest ?? "");
    const job = await warm(place, ["test:1"]);
    assert.equal(job.state, "succeeded");
    assert.equal(step(job, "docker.io/library/test:1").counts["manifests missing"], 1);
    assert.deepEqual(place.stored, new Set([arm64?.config, ...(arm64?.layers ?? [])]));
    place.upstream.removeTag("library/test", arm64?.manifest.digest ?? "");
    assert.match(
      (await warm(place, ["test:1"])).error ?? "",
      /library\/test:1: its index lists no image that is there$/,
    );
  });

  for (const [parallel, begun] of [
    [2, 2],
    [20, 10],
  ] as const) {
    test(`by being cancelled while ${begun} of 10 blobs are on their way stops at once`, async () => {
      const place = createFakePlace();
      place.addImage("1", { layers: 6 });
      place.addImage("2");
      place.hold = createBarrier();
      const { ended, jobs, id } = start(place, ["test:1", "test:2"], { parallel });
      await place.hold.arrivals(begun);
      jobs.cancel(id);
      const job = await ended;
      assert.equal(job.state, "cancelled");
      assert.deepEqual(
        job.steps.map(({ state }) => state),
        ["cancelled", "cancelled", "skipped"],
      );
      place.hold.release();
      assert.equal(blobsAsked(place).length, begun);
    });
  }
});
