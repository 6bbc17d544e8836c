/* Instances on one bucket that act as one: what one of them fetches, the others have from it while it does. */
import assert from "node:assert/strict";
import { test } from "node:test";
import "../support/network.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { parseNamespace, parseRepository, parseTag } from "../../src/oci/reference.ts";
import { tagKey } from "../../src/store/layout.ts";
import { createBarrier } from "../support/barrier.ts";
import { adminListen, adminOf } from "../support/cache-admin.ts";
import { until } from "../support/event-loop.ts";
import { MemoryBucket } from "../support/bucket.ts";
import { pseudoRandomBytes } from "../support/content.ts";
import { request } from "../support/http.ts";
import { addPlainImage } from "../support/plain-image.ts";
import { type Mirror, type MirrorOptions, startMirror } from "../support/mirror.ts";
import { createUpstream, type ScriptedUpstream } from "../support/upstream.ts";

const repository = "library/test";
const id = { namespace: parseNamespace("docker.io"), repository: parseRepository(repository) };
const mib = 1024 * 1024;
const secret = "an example of a secret that replicas share";

async function startReplica(
  upstream: ScriptedUpstream,
  bucket: MemoryBucket,
  options: MirrorOptions = {},
): Promise<Mirror> {
  return startMirror(upstream.host, {
    bucketStore: bucket,
    ...options,
    config: {
      adminListen,
      ...options.config,
      replicas: {
        listen: { kind: "tcp", host: "127.0.0.1", port: 0 },
        advertise: undefined,
        secret,
        secretFile: undefined,
        previousSecret: undefined,
      },
    },
  });
}

/** An image whose one layer has these bytes. */
function addImage(upstream: ScriptedUpstream, tag: string, layer: Buffer): Digest {
  addPlainImage(upstream, tag, layer);
  return digestOf(layer);
}

const blobs = { method: "GET", path: /\/blobs\/sha256:/ };

test("a cold blob that all replicas are asked for is fetched once, and all have its bytes while it comes", async () => {
  await using upstream = await createUpstream();
  const bucket = new MemoryBucket();
  const layer = pseudoRandomBytes(3 * mib, "layer");
  const digest = addImage(upstream, "1", layer);
  await using first = await startReplica(upstream, bucket);
  await using second = await startReplica(upstream, bucket);
  await using third = await startReplica(upstream, bucket);
  const replicas = [first, second, third];
  for (const replica of replicas) await replica.get(`/v2/${repository}/manifests/1`);
  const half = createBarrier();
  upstream.when({ ...blobs, path: digest }, { stallAfterBytes: mib, stallAt: half });
  const pulls = replicas.flatMap((replica) => [1, 2, 3].map(() => replica.get(`/v2/${repository}/blobs/${digest}`)));
  await upstream.arrived({ path: digest });
  half.release();
  for (const { status, body } of await Promise.all(pulls)) {
    assert.equal(status, 200);
    assert.ok(body.equals(layer));
  }
  assert.equal(upstream.count({ ...blobs, path: digest }), 1);
  for (const replica of replicas) await replica.app.idle();
  assert.equal(bucket.open, 0);
});

test("what is purged at one replica is gone at all, and fetched anew; pins reach all", async () => {
  await using upstream = await createUpstream();
  const bucket = new MemoryBucket();
  const layer = pseudoRandomBytes(10_000, "layer");
  const digest = addImage(upstream, "1", layer);
  await using first = await startReplica(upstream, bucket);
  await using second = await startReplica(upstream, bucket);
  const paths = [`/v2/${repository}/manifests/1`, `/v2/${repository}/blobs/${digest}`];
  for (const replica of [first, second]) {
    for (const path of paths) assert.equal((await replica.get(path)).status, 200);
    await replica.app.idle();
  }
  const moved = addImage(upstream, "1", pseudoRandomBytes(10_000, "another layer"));
  await adminOf(first).pin(`docker.io/${repository}:2`);
  await adminOf(first).purge(`docker.io/${repository}:1`);
  // It is told at its next look.
  await until(async () => (await adminOf(second).usage()).bytes === 0);
  const { body } = await second.get(`/v2/${repository}/manifests/1`);
  assert.ok(body.toString().includes(moved));
  const seen = JSON.parse((await request(`${first.app.addresses[1]}/_admin/replicas`)).body.toString()) as {
    readonly replicas: readonly { readonly address: string }[];
  };
  assert.deepEqual(
    seen.replicas.map(({ address }) => address),
    [first, second].map(({ app }) => app.addresses[2]),
  );
  const pins = await request(`${second.app.addresses[1]}/_admin/pins`);
  assert.ok(pins.body.toString().includes(`docker.io/${repository}:2`));
});

test("a tag that all are asked for costs one question, cold and when its time is over", async () => {
  let now = Date.UTC(2026, 0, 1);
  const minute = 60_000;
  await using upstream = await createUpstream();
  const bucket = new MemoryBucket();
  addImage(upstream, "1", pseudoRandomBytes(10_000, "layer"));
  // Who is there goes by the other clock.
  const options = {
    now: () => now,
    monotonic: () => performance.now(),
    upstream: { manifestInvalidationMs: 10 * minute },
  };
  await using first = await startReplica(upstream, bucket, options);
  await using second = await startReplica(upstream, bucket, options);
  await using third = await startReplica(upstream, bucket, options);
  const replicas = [first, second, third];
  const manifests = { path: /\/manifests\// };
  const ask = async (): Promise<void> => {
    const held = createBarrier();
    upstream.when({ ...manifests, times: 1 }, { pauseAt: held });
    const answers = replicas.map((replica) => replica.get(`/v2/${repository}/manifests/1`));
    await held.reached;
    held.release();
    for (const { status } of await Promise.all(answers)) assert.equal(status, 200);
    for (const replica of replicas) await replica.app.idle();
  };
  await ask();
  assert.equal(upstream.count(manifests), 1);
  now += 11 * minute;
  await ask();
  assert.equal(upstream.count({ ...manifests, method: "HEAD" }), 1);
  assert.equal(upstream.count(manifests), 2);
});

test("a client that learns at one instance what a tag stands for, and fetches it at another, has it known at both", async () => {
  await using upstream = await createUpstream();
  const bucket = new MemoryBucket();
  addImage(upstream, "1", pseudoRandomBytes(10_000, "layer"));
  await using first = await startReplica(upstream, bucket);
  await using second = await startReplica(upstream, bucket);
  const { headers } = await first.get(`/v2/${repository}/manifests/1`, { method: "HEAD" });
  const digest = String(headers["docker-content-digest"]);
  assert.equal((await second.get(`/v2/${repository}/manifests/${digest}`)).status, 200);
  const isKnown = (): Promise<boolean> => bucket.keys().then((keys) => keys.includes(tagKey(id, parseTag("1"))));
  await until(isKnown);
  const asked = upstream.requests.length;
  await upstream.down();
  for (const replica of [first, second]) assert.equal((await replica.get(`/v2/${repository}/manifests/1`)).status, 200);
  assert.equal(upstream.requests.length, asked);
});
