/* Replicas whose bucket, clocks, secrets or peers are not as they should be: what clients get is right, and soon. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, describe, test } from "node:test";
import { setTimeout as rest } from "node:timers/promises";
import "../support/network.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { SharedSecret } from "../../src/replicas/shared-secret.ts";
import type { Key } from "../../src/store/object-store.ts";
import { createBarrier } from "../support/barrier.ts";
import { MemoryBucket } from "../support/bucket.ts";
import { bucketConfig } from "../support/bucket-config.ts";
import { pseudoRandomBytes } from "../support/content.ts";
import { turn, until } from "../support/event-loop.ts";
import { type S3Profile, S3Refusal } from "../support/fake-s3-bucket.ts";
import { FakeS3, type S3Fault } from "../support/fake-s3.ts";
import { FakePeer } from "../support/fake-peer.ts";
import { open } from "../support/http.ts";
import { addPlainImage } from "../support/plain-image.ts";
import { type Mirror, type MirrorOptions, startMirror } from "../support/mirror.ts";
import { createUpstream, type ScriptedUpstream } from "../support/upstream.ts";

const repository = "library/test";
const mib = 1024 * 1024;
const secret = "an-example-of-a-secret-that-replicas-share";

async function startReplica(
  upstream: ScriptedUpstream,
  s3: FakeS3,
  { config, ...options }: MirrorOptions = {},
  ownSecret = secret,
): Promise<Mirror> {
  return startMirror(upstream.host, {
    // Real time, whatever the time of day is said to be.
    monotonic: () => performance.now(),
    ...options,
    storage: { type: "s3", s3: bucketConfig(s3, { retries: 1 }), ...options.storage },
    config: {
      ...config,
      replicas: {
        listen: { kind: "tcp", host: "127.0.0.1", port: 0 },
        advertise: undefined,
        secret: ownSecret,
        secretFile: undefined,
        previousSecret: undefined,
      },
    },
  });
}

interface Image {
  readonly manifest: string;
  readonly blob: string;
  readonly digest: Digest;
  readonly layer: Buffer;
}

let images = 0;

/** An image that nobody has asked for yet, with one layer. */
function addImage(upstream: ScriptedUpstream, layerBytes: number): Image {
  const tag = String(images++);
  const layer = pseudoRandomBytes(layerBytes, `layer ${tag}`);
  addPlainImage(upstream, tag, layer);
  const digest = digestOf(layer);
  const path = `/v2/${repository}`;
  return { manifest: `${path}/manifests/${tag}`, blob: `${path}/blobs/${digest}`, digest, layer };
}

/** All ask for an image at once, for its blob while it is on its way; how often the upstream was asked for the blob. */
async function pullEverywhere(upstream: ScriptedUpstream, replicas: readonly Mirror[], image: Image): Promise<number> {
  for (const { status } of await Promise.all(replicas.map((replica) => replica.get(image.manifest)))) {
    assert.equal(status, 200);
  }
  const held = createBarrier();
  upstream.when(
    { method: "GET", path: image.digest, times: 1 },
    { stallAfterBytes: image.layer.length / 2, stallAt: held },
  );
  const pulls = replicas.map((replica) => replica.get(image.blob));
  await upstream.arrived({ path: image.digest });
  held.release();
  for (const { status, body } of await Promise.all(pulls)) {
    assert.equal(status, 200);
    assert.ok(body.equals(image.layer));
  }
  return upstream.count({ method: "GET", path: image.digest });
}

describe("servers of S3", () => {
  let upstream: ScriptedUpstream;
  before(async () => {
    upstream = await createUpstream();
  });
  after(() => upstream[Symbol.asyncDispose]());

  for (const { what, profile, most } of [
    { what: "that does all right", profile: {}, most: 1 },
    { what: "that cannot decide between two that write at once", profile: { conflicts: true }, most: 1 },
    { what: "that lets two win", profile: { looksEarly: true }, most: 3 },
    { what: "that ignores conditions", profile: { ignoresConditions: true }, most: 3 },
  ] satisfies { what: string; profile: Partial<S3Profile>; most: number }[]) {
    test(`with one ${what}, everybody gets right bytes`, async () => {
      await using s3 = await FakeS3.start(profile);
      await using first = await startReplica(upstream, s3);
      await using second = await startReplica(upstream, s3);
      await using third = await startReplica(upstream, s3);
      const asked = await pullEverywhere(upstream, [first, second, third], addImage(upstream, mib));
      assert.ok(asked <= most, `it was asked ${asked} times`);
    });
  }

  test("a lease whose answer was lost is the one's that wrote it", async () => {
    await using s3 = await FakeS3.start();
    await using first = await startReplica(upstream, s3);
    await using second = await startReplica(upstream, s3);
    const image = addImage(upstream, mib);
    for (const replica of [first, second]) await replica.get(image.manifest);
    let lost = 0;
    s3.trouble = (operation, _headers, key): S3Fault | undefined =>
      operation === "PutObject" && key.startsWith("leases/") && lost++ === 0 ? { loseAnswer: true } : undefined;
    assert.equal(await pullEverywhere(upstream, [first, second], image), 1);
    assert.ok(lost > 0);
  });

  test("a bucket that takes 900 ms for each request, or fails, costs about a second once, and no error", async () => {
    await using s3 = await FakeS3.start();
    await using first = await startReplica(upstream, s3);
    await using second = await startReplica(upstream, s3);
    for (const fault of [
      (): S3Fault => ({ wait: rest(900) }),
      (): S3Fault => ({ refuse: new S3Refusal(503, "SlowDown") }),
      (): S3Fault => ({ refuse: new S3Refusal(403, "AccessDenied") }),
    ]) {
      const image = addImage(upstream, 1_000);
      for (const replica of [first, second]) assert.equal((await replica.get(image.manifest)).status, 200);
      s3.trouble = (_operation, _headers, key) => (key.startsWith("leases/") ? fault() : undefined);
      const started = performance.now();
      for (const { status, body } of await Promise.all([first, second].map((replica) => replica.get(image.blob)))) {
        assert.equal(status, 200);
        assert.ok(body.equals(image.layer));
      }
      assert.ok(performance.now() - started < 2_500, `it took ${performance.now() - started} ms`);
      s3.trouble = undefined;
    }
  });
});

describe("replicas", () => {
  let upstream: ScriptedUpstream;
  let s3: FakeS3;
  before(async () => {
    upstream = await createUpstream();
    s3 = await FakeS3.start();
  });
  after(async () => {
    await upstream[Symbol.asyncDispose]();
    await s3[Symbol.asyncDispose]();
  });

  for (const seconds of [90, -90]) {
    test(`one whose clock is ${seconds} s away from the others' does as they do`, async () => {
      await using first = await startReplica(upstream, s3, { now: () => Date.now() + seconds * 1_000 });
      await using second = await startReplica(upstream, s3);
      const image = addImage(upstream, mib);
      assert.equal(await pullEverywhere(upstream, [first, second], image), 1);
      const again = addImage(upstream, mib);
      assert.equal(await pullEverywhere(upstream, [second, first], again), 1);
      assert.ok(upstream.count({ path: image.manifest }) <= 1);
    });
  }

  test("one with another secret is nobody: each fetches for itself, and neither gets anything from the other", async () => {
    const other = "another-secret-than-the-one-that-replicas-share";
    await using first = await startReplica(upstream, s3);
    await using second = await startReplica(upstream, s3, {}, other);
    const image = addImage(upstream, mib);
    for (const replica of [first, second]) await replica.get(image.manifest);
    for (const replica of [first, second]) {
      const { status, body } = await replica.get(image.blob);
      assert.equal(status, 200);
      assert.ok(body.equals(image.layer));
    }
    const lines = JSON.stringify([first.log(), second.log()]);
    for (const each of [secret, other]) assert.ok(!lines.includes(each), "a secret is in the log");
    for (const { bytes } of s3.bucket.objects.values()) {
      for (const each of [secret, other]) assert.ok(!bytes.includes(each), "a secret is in the bucket");
    }
  });

  test("the holder stops in the middle: the others go on, also where nothing is tried again", async () => {
    const options = { upstream: { retries: 0 }, config: { shutdownTimeoutMs: 50 } };
    await using first = await startReplica(upstream, s3, options);
    await using second = await startReplica(upstream, s3, options);
    const image = addImage(upstream, 4 * mib);
    for (const replica of [first, second]) await replica.get(image.manifest);
    const never = createBarrier();
    upstream.when({ path: image.digest, method: "GET", times: 1 }, { stallAfterBytes: 2 * mib, stallAt: never });
    using own = await open(`${first.url}${image.blob}`);
    await own.next();
    const following = second.get(image.blob, { headers: { range: "bytes=1000-" } });
    await until(() => second.log().length >= 0 && upstream.count({ path: image.digest, method: "GET" }) === 1);
    await turn(5);
    await first.close();
    const { status, body, headers } = await following;
    never.release();
    assert.equal(status, 206);
    assert.equal(headers["content-range"], `bytes 1000-${4 * mib - 1}/${4 * mib}`);
    assert.ok(body.equals(image.layer.subarray(1_000)));
    assert.ok(upstream.count({ path: image.digest, method: "GET" }) <= 2);
  });

  test("what another replica sends is said so, and is copied to the bucket by that one alone", async () => {
    await using first = await startReplica(upstream, s3);
    await using second = await startReplica(upstream, s3);
    const image = addImage(upstream, mib);
    for (const replica of [first, second]) await replica.get(image.manifest);
    const held = createBarrier();
    upstream.when({ path: image.digest, times: 1 }, { stallAfterBytes: 1_000, stallAt: held });
    using own = await open(`${first.url}${image.blob}`);
    using others = await open(`${second.url}${image.blob}`);
    held.release();
    assert.match(String(own.headers["cache-status"]), /fwd=uri-miss(?!.*detail)/);
    assert.match(String(others.headers["cache-status"]), /fwd=uri-miss.*detail=replica/);
    for (const response of [own, others]) {
      for (let chunk = await response.next(); chunk !== undefined;) chunk = await response.next();
    }
    for (const replica of [first, second]) await replica.app.idle();
    const writes = s3.asked.filter(
      ({ operation, key }) => operation === "PutObject" && key.endsWith(image.digest.slice(9)),
    );
    assert.equal(writes.filter(({ key }) => key.startsWith("blobs/")).length, 1);
  });

  test("what is prefetched or warmed is fetched once, too; and at the end nobody holds anything", async () => {
    const options = { upstream: { prefetch: "platform" as const } };
    const replicas = [await startReplica(upstream, s3, options), await startReplica(upstream, s3, options)];
    const image = addImage(upstream, mib);
    const held = createBarrier();
    upstream.when({ path: image.digest, times: 1 }, { stallAfterBytes: 1_000, stallAt: held });
    await Promise.all(replicas.map((replica) => replica.get(image.manifest)));
    await upstream.arrived({ path: image.digest });
    held.release();
    for (const replica of replicas) await replica.app.idle();
    assert.equal(upstream.count({ method: "GET", path: image.digest }), 1);
    for (const replica of replicas) assert.ok((await replica.get(image.blob)).body.equals(image.layer));
    assert.equal(upstream.count({ method: "GET", path: image.digest }), 1);
    for (const replica of replicas) await replica.close();
    const left = [...s3.bucket.objects.keys()].filter((key) => /^leases\/|^replicas\/members\//.test(key));
    assert.deepEqual(left, []);
  });

  test("one that sends other bytes than it should completes no answer, and is asked no more", async () => {
    const bucket = new MemoryBucket();
    const shared = new SharedSecret([secret]);
    await using peer = await FakePeer.start("peer", shared);
    const tells = { fetching: [], budgets: {}, failing: [] };
    const text = JSON.stringify({ address: peer.address, form: 1, tells, beat: 1 });
    const record = { text, signature: shared.sign("replica", peer.id, text) };
    await bucket.plant("replicas/members/peer" as Key, Buffer.from(JSON.stringify(record)));
    const image = addImage(upstream, mib);
    const lease = createHash("sha256").update(`blob docker.io/${repository}@${image.digest}`).digest("hex");
    await bucket.plant(`leases/${lease}` as Key, Buffer.from(JSON.stringify({ holder: peer.id })));
    peer.on.blob = (call) => {
      call.begin(image.layer.length);
      call.response.end(Buffer.alloc(image.layer.length));
    };
    await using mirror = await startReplica(upstream, s3, { bucketStore: bucket });
    await mirror.get(image.manifest);
    await assert.rejects(mirror.get(image.blob));
    await until(() => mirror.log().some(({ msg }) => String(msg).startsWith("a replica does not answer as it should")));
    const asked = peer.asked.length;
    assert.ok((await mirror.get(image.blob)).body.equals(image.layer));
    assert.equal(peer.asked.length, asked);
    assert.equal(upstream.count({ method: "GET", path: image.digest }), 1);
  });

  test("a repository that has no right to a blob gets it from nobody", async () => {
    await using first = await startReplica(upstream, s3);
    await using second = await startReplica(upstream, s3);
    const image = addImage(upstream, mib);
    for (const replica of [first, second]) await replica.get(image.manifest);
    const held = createBarrier();
    upstream.when({ path: image.digest, times: 1 }, { stallAfterBytes: 1_000, stallAt: held });
    using own = await open(`${first.url}${image.blob}`);
    await own.next();
    const other = image.blob.replace(repository, "library/other");
    for (const replica of [first, second]) assert.equal((await replica.get(other)).status, 404);
    held.release();
  });
});
