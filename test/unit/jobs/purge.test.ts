import assert from "node:assert/strict";
import { test } from "node:test";
import type { JobState } from "../../../src/jobs/job.ts";
import { Jobs } from "../../../src/jobs/jobs.ts";
import { previewPurge, purgeSteps, type PurgedBucket, type PurgeTools, reportPurge } from "../../../src/jobs/purge.ts";
import { type Digest, digestOf } from "../../../src/oci/digest.ts";
import { OciError } from "../../../src/oci/errors.ts";
import { parseTag } from "../../../src/oci/reference.ts";
import { LedgerNotReady, type PurgePlan, type PurgeTarget } from "../../../src/ledger/ledger.ts";
import type { Key } from "../../../src/store/object-store.ts";
import { alpine } from "../../support/administration.ts";

const target: PurgeTarget = { kind: "repository", id: alpine };
const nothing: PurgePlan = { tags: [], links: [], pages: [], contents: [], freesBytes: 0 };

function named(number: number): Digest {
  return digestOf(Buffer.from([number]));
}

/** A part of a target: two links, and the content of the first. */
function part(number: number, more: boolean): PurgePlan {
  const [first, second] = [named(2 * number), named(2 * number + 1)];
  const links = [first, second].map((digest) => ({ id: alpine, digest }));
  return { ...nothing, links, contents: [first], freesBytes: 10, more };
}

interface RunOptions {
  readonly isKnown?: boolean;
  readonly movedTags?: readonly string[];
  readonly bucket?: PurgedBucket;
}

/** Purges by these plans, one after the other; the job when it has ended, and what was removed. */
async function run(
  plans: readonly PurgePlan[],
  { isKnown = true, movedTags = [], bucket }: RunOptions = {},
): Promise<{ readonly job: JobState; readonly failure: Error | undefined; readonly removed: Digest[] }> {
  const removed: Digest[] = [];
  const left = plans.values();
  const tools: PurgeTools = {
    bucket,
    ledger: {
      totals: isKnown ? { bytes: 0, namespaces: new Map() } : undefined,
      purgePlan: async () => left.next().value ?? assert.fail("it goes on"),
    },
    content: {
      removeTag: async (_id, tag) => !movedTags.includes(tag),
      removeLink: async (_id, digest) => void removed.push(digest),
      pages: { remove: async () => undefined },
      removeBlob: async () => true,
    },
  };
  const nobody = (): void => undefined;
  const jobs = new Jobs({ started: nobody, stepEnded: nobody, ended: nobody });
  const running = jobs.start("purge", { dryRun: false }, purgeSteps(tools, target));
  return { job: await running.ended, failure: running.failure, removed };
}

test("a large target goes in parts, each planned when the one before is gone, until nothing more is said to be left", async () => {
  const { job, removed } = await run([part(0, true), part(1, true), nothing]);
  assert.equal(job.state, "succeeded");
  assert.deepEqual(removed, [0, 1, 2, 3].map(named));
  assert.deepEqual(reportPurge("all", job), {
    target: "all",
    dryRun: false,
    tags: 0,
    links: 4,
    pages: 0,
    contents: 2,
    contentsInUse: 0,
    freesBytes: 20,
    incomplete: false,
  });
  const [step] = job.steps;
  assert.deepEqual([step?.done, step?.total], [6, 6]);
});

test("a tag that stands for something else since it was planned stays, and is not counted", async () => {
  const tags = ["one", "other"].map((tag) => ({ id: alpine, tag: parseTag(tag), digest: named(0) }));
  const { job } = await run([{ ...nothing, tags }], { movedTags: ["other"] });
  assert.equal(reportPurge("all", job).tags, 1);
  assert.equal(job.steps[0]?.done, 2);
});

test("a target of which nothing is cached fails the job", async () => {
  const { job, failure } = await run([nothing]);
  assert.equal(job.state, "failed");
  assert.ok(failure instanceof OciError);
  assert.equal(failure.code, "NOT_FOUND");
});

test("before it is known what is stored nothing is planned", async () => {
  const { job, failure } = await run([], { isKnown: false });
  assert.equal(job.state, "failed");
  assert.ok(failure instanceof LedgerNotReady);
});

/** A bucket that has these objects, or fails at what it is asked. */
function bucketOf(keys: readonly string[], failsAt?: "find" | "remove"): PurgedBucket & { readonly removed: string[] } {
  const removed: string[] = [];
  return {
    removed,
    async *find() {
      if (failsAt === "find") throw new Error("SlowDown");
      yield* keys as readonly Key[];
    },
    remove: async (key) => {
      if (failsAt === "remove") throw new Error("SlowDown");
      removed.push(key);
    },
  };
}

test("what the bucket has of it goes too, also where the folder has nothing, and is counted", async () => {
  for (const plan of [part(0, false), nothing]) {
    const bucket = bucketOf(["a", "b", "c"]);
    const { job } = await run([plan], { bucket });
    assert.equal(job.state, "succeeded");
    assert.equal(reportPurge("all", job).bucketObjects, 3);
    assert.deepEqual(bucket.removed.toSorted(), ["a", "b", "c"]);
  }
  const { failure } = await run([nothing], { bucket: bucketOf([]) });
  assert.ok(failure instanceof OciError);
  assert.equal(failure.code, "NOT_FOUND");
});

test("a bucket that fails fails the job, after the folder's part", async () => {
  for (const failsAt of ["find", "remove"] as const) {
    const { job, failure, removed } = await run([part(0, false)], { bucket: bucketOf(["a"], failsAt) });
    assert.equal(job.state, "failed");
    assert.match(failure?.message ?? "", /the bucket fails, and may still have docker.io\/library\/alpine: SlowDown/);
    assert.equal(removed.length, 2);
  }
});

test("a dry run counts what the bucket has, and says so where that fails", async () => {
  const preview = async (plan: PurgePlan, bucket: PurgedBucket): ReturnType<typeof previewPurge> =>
    previewPurge(
      {
        ledger: { totals: { bytes: 0, namespaces: new Map() }, purgePlan: async () => plan },
        get content() {
          return assert.fail("a dry run removes nothing");
        },
        bucket,
      },
      target,
    );
  const bucket = bucketOf(["a", "b"]);
  assert.equal((await preview(part(0, false), bucket)).bucketObjects, 2);
  assert.equal((await preview(nothing, bucket)).bucketObjects, 2);
  assert.deepEqual(bucket.removed, []);
  const failing = bucketOf([], "find");
  assert.equal((await preview(part(0, false), failing)).incomplete, true);
  await assert.rejects(preview(nothing, failing), /the bucket fails/);
  await assert.rejects(preview(nothing, bucketOf([])), /nothing of/);
});
