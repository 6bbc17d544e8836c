/* Mirrors that keep the bucket small that they share: what they say of what is used and pinned, and what people see. */
import assert from "node:assert/strict";
import { test } from "node:test";
import "../support/network.ts";
import type { RetentionReport } from "../../src/bucket/retention.ts";
import { readPins } from "../../src/bucket/shared-pins.ts";
import { UsedDays } from "../../src/bucket/used-days.ts";
import type { BucketConfig } from "../../src/config/bucket-schema.ts";
import type { UsageReport } from "../../src/jobs/reports.ts";
import type { JobState } from "../../src/jobs/job.ts";
import { parseNamespace, parseRepository, parseTag } from "../../src/oci/reference.ts";
import { blobKey, tagKey } from "../../src/store/layout.ts";
import type { Key } from "../../src/store/object-store.ts";
import { MemoryBucket } from "../support/bucket.ts";
import { until } from "../support/event-loop.ts";
import { request, type WholeResponse } from "../support/http.ts";
import { type Mirror, type MirrorOptions, startMirror } from "../support/mirror.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";
import { type AddedImage, createUpstream, type ScriptedUpstream } from "../support/upstream.ts";

const minute = 60_000;
const id = { namespace: parseNamespace("docker.io"), repository: parseRepository("library/test") };

async function start(upstream: ScriptedUpstream, bucket: MemoryBucket, options: MirrorOptions = {}): Promise<Mirror> {
  return startMirror(upstream.host, { bucketStore: bucket, ...options });
}

async function pull(mirror: Mirror, image: AddedImage): Promise<void> {
  for (const path of ["manifests/1", ...image.blobs.map((digest) => `blobs/${digest}`)]) {
    assert.equal((await mirror.get(`/v2/library/test/${path}`)).status, 200);
  }
}

test("people can have the bucket looked through, and see what was found, also by another instance", async () => {
  await using upstream = await createUpstream();
  let serverNow = Date.now();
  const bucket = new MemoryBucket(() => serverNow);
  const image = upstream.addImage("library/test", "1");
  const options: MirrorOptions = {
    config: { adminListen: { kind: "tcp", host: "127.0.0.1", port: 0 } },
    // The bucket's server is another one: of its settings only the limits count.
    storage: { s3: { maxAgeMs: 30 * 24 * 60 * minute } as BucketConfig },
  };
  const headers = { "Content-Type": "application/json" };
  const ask = async (mirror: Mirror, path: string, body?: object): Promise<WholeResponse> => {
    const sent = body === undefined ? {} : { method: "POST", body: JSON.stringify(body), headers };
    return request(`${mirror.app.addresses[1]}/_admin/${path}`, sent);
  };
  const retain = async (mirror: Mirror, dryRun: boolean): Promise<Record<string, number>> => {
    const { status, body } = await ask(mirror, "jobs", { kind: "retain", dryRun });
    assert.equal(status, 202, body.toString());
    const { id: job } = JSON.parse(body.toString()) as { readonly id: string };
    const { body: lines } = await ask(mirror, `jobs/${job}/events`);
    const last = JSON.parse(lines.toString().trim().split("\n").at(-1) ?? "") as JobState;
    assert.equal(last.state, "succeeded", String(last.error));
    return { ...last.steps[0]?.counts };
  };
  await using mirror = await start(upstream, bucket, options);
  await pull(mirror, image);
  await mirror.app.idle();
  const objects = (await bucket.keys()).length;
  assert.equal((await retain(mirror, false))["removed next time"], 0);
  serverNow += 40 * 24 * 60 * minute;
  assert.equal((await retain(mirror, true))["removed next time"], objects);
  assert.equal((await retain(mirror, false))["removed next time"], objects);
  serverNow += 61 * minute;
  assert.equal((await retain(mirror, false)).removed, objects);
  assert.deepEqual(await bucket.keys(), []);
  await using other = await start(upstream, bucket, options);
  const reports = await Promise.all(
    [mirror, other].map(async (each) => {
      let found: RetentionReport | undefined;
      await until(async () => {
        const { body } = await ask(each, "usage");
        found = (JSON.parse(body.toString()) as UsageReport).bucket;
        return found !== undefined;
      });
      return found;
    }),
  );
  assert.equal(reports[0]?.removed, objects);
  assert.deepEqual(reports[1], reports[0]);
  const metrics = await request(`${other.app.addresses[1]}/metrics`);
  assert.match(metrics.body.toString(), /^entrepot_bucket_bytes 0$/m);
});

test("an instance tells the others what it has pinned, by one name as long as it has its folder", async () => {
  await using upstream = await createUpstream();
  await using folder = await createTemporaryDirectory();
  const bucket = new MemoryBucket();
  const names = new Set<Key>();
  for (const pins of [["docker.io/library/test:1"], ["docker.io/library/test:2", "quay.io/team/**"]]) {
    await using mirror = await start(upstream, bucket, { root: `${folder.path}/root`, storage: { pins } });
    await until(async () => (await readPins(bucket, Date.now())).some(({ pattern }) => pattern === pins[0]));
    for await (const { key } of bucket.list("pins" as Key)) names.add(key);
    await mirror.app.idle();
  }
  assert.equal(names.size, 1);
  assert.equal((await readPins(bucket, Date.now())).length, 2);
});

test("what clients are sent to the bucket for, and all of what they are only told of, counts as used", async () => {
  await using upstream = await createUpstream();
  const bucket = new MemoryBucket();
  const image = upstream.addImage("library/test", "1");
  const keys = [tagKey(id, parseTag("1")), blobKey(image.digest), ...image.blobs.map((digest) => blobKey(digest))];
  const [, layer = assert.fail()] = image.blobs;
  /** What is written down of what a mirror with an empty folder is asked for. */
  const usedBy = async (options: MirrorOptions, ask: (mirror: Mirror) => Promise<void>): Promise<Key[]> => {
    for await (const { key } of bucket.list("usage" as Key)) await bucket.delete(key);
    {
      await using mirror = await start(upstream, bucket, options);
      await ask(mirror);
      await mirror.app.idle();
    }
    const used = new UsedDays();
    await used.read(bucket, { today: 1e5, span: 1e5 });
    return keys.filter((key) => used.lastDay(key, -1) >= 0);
  };
  assert.deepEqual(await usedBy({}, (mirror) => pull(mirror, image)), keys);
  const sent = await usedBy({ redirect: "always" }, async (mirror) => {
    assert.equal((await mirror.get(`/v2/library/test/blobs/${layer}`)).status, 307);
  });
  assert.deepEqual(sent, [blobKey(layer)]);
  const told = await usedBy({}, async (mirror) => {
    assert.equal((await mirror.get("/v2/library/test/manifests/1", { method: "HEAD" })).status, 200);
  });
  assert.deepEqual(told, keys);
});
