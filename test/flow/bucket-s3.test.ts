/* A mirror that is configured with a bucket of S3: the whole way, from its settings to a server that speaks S3. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import "../support/network.ts";
import type { BucketConfig } from "../../src/config/bucket-schema.ts";
import { pseudoRandomBytes } from "../support/content.ts";
import { until } from "../support/event-loop.ts";
import { bucketConfig } from "../support/bucket-config.ts";
import { S3Refusal } from "../support/fake-s3-bucket.ts";
import { FakeS3 } from "../support/fake-s3.ts";
import { type Mirror, type MirrorOptions, startMirror } from "../support/mirror.ts";
import { addPlainImage, type PlainImage, pullPlainImage } from "../support/plain-image.ts";
import { createUpstream, type ScriptedUpstream } from "../support/upstream.ts";

const mib = 1024 * 1024;

/** An image in the upstream with a layer of several parts, and a small one. */
function addImage(upstream: ScriptedUpstream): PlainImage {
  return addPlainImage(upstream, "1", pseudoRandomBytes(9 * mib, "large"), pseudoRandomBytes(1_000, "small"));
}

/** A mirror with its folder empty, and the bucket behind it. */
async function start(
  host: string,
  s3: FakeS3,
  changes: Partial<BucketConfig> = {},
  options: MirrorOptions = {},
): Promise<Mirror> {
  const bucket = bucketConfig(s3, { prefix: "team/cache", ...changes });
  return startMirror(host, { ...options, storage: { type: "s3", s3: bucket } });
}

/** A mirror whose bucket has been tried already, so that what is asked from now on is what is asked for clients. */
async function startTried(...args: Parameters<typeof start>): Promise<Mirror> {
  const mirror = await start(...args);
  await until(() => mirror.log().some(({ msg }) => msg === "the bucket can be used"));
  args[1].asked.length = 0;
  return mirror;
}

/** What the server was asked for since it was asked here last: how often each operation, with what kind of key. */
function takeRequests(s3: FakeS3): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { operation, key } of s3.asked.splice(0)) {
    const [, kind = ""] = /^team\/cache\/(?:repositories\/.*\/_)?(\w+)/.exec(key) ?? [];
    counts[`${operation} ${kind}`] = (counts[`${operation} ${kind}`] ?? 0) + 1;
  }
  return counts;
}

/** Everything of a probe or an upload that goes on is below these. */
function leftovers(s3: FakeS3): string[] {
  return [...s3.bucket.objects.keys()].filter((key) => !/^team\/cache\/(?:blobs|repositories|usage)\//.test(key));
}

test("what one instance has pulled another serves, its folder empty and the upstream stopped", async () => {
  await using s3 = await FakeS3.start();
  await using upstream = await createUpstream();
  const image = addImage(upstream);
  {
    await using first = await startTried(upstream.host, s3);
    await pullPlainImage(first, image);
    await first.app.idle();
  }
  assert.deepEqual(leftovers(s3), []);
  await upstream.down();
  await using second = await startTried(upstream.host, s3);
  await pullPlainImage(second, image);
  await second.app.idle();
  s3.asked.length = 0;
  await pullPlainImage(second, image);
  await second.app.idle();
  assert.deepEqual(takeRequests(s3), {}, "a warm pull asks nothing of the bucket");
});

test("what a pull costs in requests is what docs/s3.md says", async () => {
  await using s3 = await FakeS3.start();
  await using upstream = await createUpstream();
  const image = addImage(upstream);
  const [config, large, small] = image.blobs;
  const costs = async (mirror: Mirror, path: string): Promise<Record<string, number>> => {
    await mirror.get(`/v2/library/test/${path}`);
    await mirror.app.idle();
    return takeRequests(s3);
  };
  {
    await using cold = await startTried(upstream.host, s3);
    assert.deepEqual(await costs(cold, "manifests/1"), {
      "GetObject tags": 1,
      "HeadObject blobs": 1,
      "PutObject blobs": 1,
      "PutObject links": 4,
      "PutObject tags": 1,
    });
    const miss = { "GetObject blobs": 1 };
    assert.deepEqual(await costs(cold, `blobs/${small?.digest}`), { ...miss, "PutObject blobs": 1 });
    assert.deepEqual(await costs(cold, `blobs/${config?.digest}`), { ...miss, "PutObject blobs": 1 });
    assert.deepEqual(await costs(cold, `blobs/${large?.digest}`), {
      ...miss,
      "CreateMultipartUpload blobs": 1,
      "PutObject uploads": 1,
      "UploadPart blobs": 2,
      "CompleteMultipartUpload blobs": 1,
      "DeleteObject uploads": 1,
    });
  }
  await using other = await startTried(upstream.host, s3);
  assert.deepEqual(await costs(other, "manifests/1"), {
    "GetObject tags": 1,
    "GetObject links": 4,
    "GetObject blobs": 1,
  });
  assert.deepEqual(await costs(other, `blobs/${small?.digest}`), { "GetObject blobs": 1 });
  assert.deepEqual(await costs(other, `blobs/${large?.digest}`), { "GetObject blobs": 2 });
});

test("a check of a tag costs a look whether another instance has checked it, and telling of it", async () => {
  await using s3 = await FakeS3.start();
  await using upstream = await createUpstream();
  addImage(upstream);
  let now = Date.now();
  const check = async (mirror: Mirror): Promise<Record<string, number>> => {
    s3.asked.length = 0;
    await mirror.get("/v2/library/test/manifests/1");
    await mirror.app.idle();
    return takeRequests(s3);
  };
  await using first = await startTried(upstream.host, s3, {}, { now: () => now });
  await using second = await startTried(upstream.host, s3, {}, { now: () => now });
  await check(first);
  await check(second);
  assert.deepEqual(await check(first), {});
  now += 11 * 60_000;
  assert.deepEqual(await check(first), { "GetObject tags": 1, "PutObject tags": 1 });
  assert.deepEqual(await check(second), { "GetObject tags": 1 });
  assert.deepEqual(await check(second), {});
});

test("a bucket that cannot be reached at the start is a warning, and missed by nobody", async () => {
  await using s3 = await FakeS3.start();
  await using upstream = await createUpstream();
  const image = addImage(upstream);
  await s3.down();
  await using mirror = await start(upstream.host, s3, { retries: 0 });
  const { level, err } = await mirror.logged({
    msg: "the bucket cannot be used now: it is tried again, and the folder does until then",
  });
  assert.equal(level, 40);
  assert.match((err as Error).message, /bucket cache at http:\/\/127\.0\.0\.1:\d+: .*ECONNREFUSED/);
  assert.equal((await mirror.get("/readyz")).status, 200);
  await pullPlainImage(mirror, image);
  // What is stored is copied then, and nobody waits for that.
  await until(async () => {
    const { ready, bucket } = JSON.parse((await mirror.get("/readyz?verbose")).body.toString()) as {
      readonly ready: boolean;
      readonly bucket: { readonly state: string; readonly waitingObjects: number };
    };
    assert.deepEqual([ready, bucket.state], [true, "failing"]);
    return bucket.waitingObjects > 0;
  });
});

describe("a bucket that is set up wrongly is a warning at the start that says what to do", () => {
  const skewed = { refuse: new S3Refusal(403, "RequestTimeTooSkewed") };
  const cases: [name: string, changes: Partial<BucketConfig>, prepare: (s3: FakeS3) => void, advice: RegExp][] = [
    ["it does not exist", { bucket: "elsewhere" }, () => undefined, /NoSuchBucket.*; create the bucket, or correct/],
    [
      "wrong secret",
      { secretKey: "wrong" },
      () => undefined,
      /SignatureDoesNotMatch.*; correct the access key and the/,
    ],
    ["unknown key", { accessKey: "nobody" }, () => undefined, /InvalidAccessKeyId.*; correct the access key and the/],
    [
      "wrong clock",
      {},
      (s3) => s3.fail("PutObject", skewed, skewed),
      /RequestTimeTooSkewed.*; the clock of this machine/,
    ],
  ];
  for (const [name, changes, prepare, advice] of cases) {
    test(name, async () => {
      await using s3 = await FakeS3.start();
      await using upstream = await createUpstream();
      prepare(s3);
      await using mirror = await start(upstream.host, s3, { retries: 0, ...changes });
      const { level, err } = await mirror.logged({
        msg: "the bucket cannot be used now: it is tried again, and the folder does until then",
      });
      assert.equal(level, 40);
      assert.match((err as Error).message, advice);
      assert.equal((await mirror.get("/readyz")).status, 200);
    });
  }
});

test("the state of a bucket that answers is told, and nothing of one where there is none", async () => {
  await using s3 = await FakeS3.start();
  await using upstream = await createUpstream();
  const stateOf = async (mirror: Mirror): Promise<unknown> => {
    const { body } = await mirror.get("/readyz?verbose");
    return (JSON.parse(body.toString()) as { readonly bucket?: unknown }).bucket;
  };
  await using mirror = await startTried(upstream.host, s3);
  assert.deepEqual(await stateOf(mirror), { state: "working", waitingObjects: 0, behind: false });
  const { bucket, endpoint, prefix } = await mirror.logged({ msg: "a bucket is behind the folder" });
  assert.deepEqual([bucket, endpoint, prefix], ["cache", s3.endpoint, "team/cache"]);
  await using plain = await startMirror(upstream.host);
  assert.equal(await stateOf(plain), undefined);
});

test("what the server lacks is named at the start", async () => {
  await using s3 = await FakeS3.start({ looksEarly: true, refusesParts: true });
  await using upstream = await createUpstream();
  await using mirror = await start(upstream.host, s3);
  const { level, lacks } = await mirror.logged({ msg: "the bucket can be used, but its server lacks something" });
  assert.equal(level, 40);
  assert.deepEqual(lacks, ["conditional writes are not safe: more than one wins", "uploads in parts are refused"]);
});

describe("keys are in no line of the log", () => {
  const keys = { accessKeyId: "AKIDHUNTER1", secretAccessKey: "hunter2hunter2", sessionToken: "hunter3token" };
  const cases: [name: string, known: FakeS3["keys"], works: boolean][] = [
    ["that work", [keys], true],
    ["that are unknown", [{ accessKeyId: "other", secretAccessKey: "other" }], false],
    ["that have ended", [{ ...keys, sessionToken: "another" }], false],
  ];
  for (const [name, known, works] of cases) {
    test(name, async () => {
      await using s3 = await FakeS3.start();
      await using upstream = await createUpstream();
      s3.keys = known;
      const image = addImage(upstream);
      const { accessKeyId: accessKey, secretAccessKey: secretKey, sessionToken } = keys;
      await using mirror = await start(upstream.host, s3, { accessKey, secretKey, sessionToken });
      await pullPlainImage(mirror, image);
      await mirror.app.idle();
      await mirror.close();
      assert.equal([...s3.bucket.objects.keys()].filter((key) => key.includes("/blobs/")).length, works ? 4 : 0);
      assert.doesNotMatch(JSON.stringify(mirror.log()), /hunter/i);
    });
  }
});

test("clients are sent to the bucket by URLs that anybody may read, for five minutes", async () => {
  await using s3 = await FakeS3.start();
  await using upstream = await createUpstream();
  const image = addImage(upstream);
  await using mirror = await startTried(upstream.host, s3, { redirect: "always" });
  await pullPlainImage(mirror, image);
  await mirror.app.idle();
  const [, large] = image.blobs;
  const { status, headers } = await mirror.get(`/v2/library/test/blobs/${large?.digest}`);
  assert.equal(status, 307);
  const location = new URL(headers["location"] ?? assert.fail("no location"));
  assert.equal(location.origin, s3.endpoint);
  assert.equal(location.searchParams.get("X-Amz-Expires"), "300");
  const response = await fetch(location);
  assert.equal(response.status, 200);
  assert.ok(Buffer.from(await response.arrayBuffer()).equals(large?.bytes ?? Buffer.alloc(0)));
});

test("and by the public name of its server, where it has one", async () => {
  await using s3 = await FakeS3.start();
  await using upstream = await createUpstream();
  const image = addImage(upstream);
  const publicEndpoint = "https://public.example.com";
  await using mirror = await startTried(upstream.host, s3, { redirect: "always", publicEndpoint });
  await pullPlainImage(mirror, image);
  await mirror.app.idle();
  const { status, headers } = await mirror.get(`/v2/library/test/blobs/${image.blobs[1]?.digest}`);
  assert.equal(status, 307);
  assert.match(String(headers["location"]), /^https:\/\/public\.example\.com\/cache\/team\/cache\/blobs\/sha256\//);
});

test("with the bucket alone, upstreams that are never asked serve what it has, and nothing else", async () => {
  await using s3 = await FakeS3.start();
  await using upstream = await createUpstream();
  const image = addImage(upstream);
  {
    await using first = await startTried(upstream.host, s3);
    await pullPlainImage(first, image);
    await first.app.idle();
  }
  await using second = await startTried(upstream.host, s3, {}, { upstream: { offline: true } });
  const requests = upstream.requests.length;
  await pullPlainImage(second, image);
  assert.equal((await second.get("/v2/library/other/manifests/1")).status, 404);
  assert.equal(upstream.requests.length, requests);
});
