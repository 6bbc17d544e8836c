import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type BucketAddress, openEarlierBucket } from "../../../src/jobs/adopt-bucket.ts";
import type { EarlierBucket } from "../../../src/jobs/adopt-bucket.ts";
import { pseudoRandomBytes } from "../../support/content.ts";
import { S3Refusal } from "../../support/fake-s3-bucket.ts";
import type { Key, OpenObject } from "../../../src/store/object-store.ts";
import { all, type S3Subject, s3Subject } from "../../support/s3-store.ts";

const manifest = "manifests/docker.io/library/a/1" as Key;
const blob = "blobs/sha256/ab/cd" as Key;
const denied = { refuse: new S3Refusal(403, "AccessDenied") } as const;
const broken = { refuse: new S3Refusal(503, "SlowDown") } as const;
const bytes = pseudoRandomBytes(700_000, "blob");

/** A bucket with a manifest and a blob, whose driver repeats nothing. */
async function openSubject(): Promise<S3Subject & { readonly source: EarlierBucket }> {
  const subject = await s3Subject({}, { retries: 0, prefix: undefined });
  subject.server.bucket.put(manifest, Buffer.from("{}"), {});
  subject.server.bucket.put(blob, bytes, {});
  const source = await openEarlierBucket(subject.store, placeOf(subject), undefined);
  return { ...subject, source };
}

function placeOf({ server }: S3Subject): BucketAddress {
  return { endpoint: server.endpoint, bucket: server.bucketName, prefix: undefined };
}

async function read(object: OpenObject | undefined): Promise<Buffer> {
  assert.ok(object !== undefined);
  try {
    const chunks: Buffer[] = [];
    for await (const chunk of object.read({ start: 0, end: object.sizeBytes })) chunks.push(Buffer.from(chunk));
    return Buffer.concat(chunks);
  } finally {
    await object.close();
  }
}

describe("the earlier system's bucket", () => {
  test("is listed and read", async () => {
    await using subject = await openSubject();
    const { source } = subject;
    const [found] = await all(source.list("manifests" as Key));
    assert.deepEqual([found?.key, found?.sizeBytes], [manifest, 2]);
    assert.ok((await read(await source.get(blob))).equals(bytes));
    assert.equal(await source.get("blobs/sha256/none" as Key), undefined);
    assert.equal(source.firstFailure, undefined);
    assert.deepEqual(
      new Set(subject.server.asked.map(({ operation }) => operation)),
      new Set(["ListObjectsV2", "GetObject"]),
    );
  });

  test("goes on where one object cannot be opened or read, and says why the first could not", async () => {
    await using subject = await openSubject();
    const { server, source } = subject;
    server.fail("GetObject", denied);
    await assert.rejects(source.get(blob), { name: "StoreError", code: "AccessDenied" });
    const object = await source.get(blob);
    server.fail("GetObject", broken);
    await assert.rejects(read(object), { name: "StoreError", code: "SlowDown" });
    assert.match(String(source.firstFailure?.message), /AccessDenied/, "not what came later");
    assert.ok((await read(await source.get(blob))).equals(bytes));
  });

  test("is lost where what could be read cannot be either: on opening, on reading, on listing", async () => {
    await using subject = await openSubject();
    const { server, source } = subject;
    const lost = { name: "BucketLost", message: /^the bucket cannot be read any more; another run goes on .*SlowDown/ };
    server.fail("GetObject", denied, broken);
    await assert.rejects(source.get(blob), lost);
    const object = await source.get(blob);
    server.fail("GetObject", denied, broken);
    await assert.rejects(read(object), lost);
    server.fail("ListObjectsV2", broken);
    await assert.rejects(all(source.list("blobs" as Key)), lost);
  });

  test("is not lost where what could be read is gone by now", async () => {
    await using subject = await openSubject();
    const { server, source } = subject;
    server.bucket.objects.delete(manifest);
    server.fail("GetObject", denied);
    await assert.rejects(source.get(blob), { name: "StoreError", code: "AccessDenied" });
  });

  test("ends what is under way when it is interrupted", async () => {
    await using subject = await openSubject();
    const { server, source } = subject;
    const { promise, resolve } = Promise.withResolvers<void>();
    server.fail("GetObject", { wait: promise });
    const opening = source.get(blob);
    await source.interrupt();
    await assert.rejects(opening, { name: "BucketLost" });
    resolve();
  });
});

describe("opening it", () => {
  test("tries other manifests where the first cannot be read", async () => {
    await using subject = await openSubject();
    const { server, store } = subject;
    server.bucket.put("manifests/docker.io/library/a/2", Buffer.from("{}"), {});
    server.fail("GetObject", denied);
    const source = await openEarlierBucket(store, placeOf(subject), undefined);
    assert.equal(source.firstFailure, undefined);
  });

  test("fails where nothing can be listed, or none can be read, after a hundred", async () => {
    await using subject = await openSubject();
    const { server, store } = subject;
    server.fail("ListObjectsV2", denied);
    await assert.rejects(openEarlierBucket(store, placeOf(subject), undefined), { name: "StoreError" });
    for (let index = 0; index < 200; index++) {
      server.bucket.put(`manifests/docker.io/library/a/${index}`, Buffer.from("{}"), {});
    }
    const before = server.count("GetObject");
    server.fail("GetObject", ...Array.from({ length: 200 }, () => denied));
    await assert.rejects(openEarlierBucket(store, placeOf(subject), undefined), { code: "AccessDenied" });
    assert.equal(server.count("GetObject") - before, 100);
  });

  test("refuses what is none, and says what it is", async () => {
    const cases = [
      [[], /^s3:\/\/cache at http.* cannot be adopted: .* keys that begin with manifests\/, and there are none$/],
      [["blobs/sha256/ab/cd"], /there are none$/],
      [["repositories/docker.io/library/a/_tags/1"], /it is a storage of entrepot already \(repositories\/docker/],
      [["docker/registry/v2/blobs"], /it is a storage of the distribution registry \(docker\/registry/],
    ] as const;
    for (const [keys, message] of cases) {
      await using subject = await s3Subject({}, { prefix: undefined });
      for (const key of keys) subject.server.bucket.put(key, Buffer.from("x"), {});
      const opened = openEarlierBucket(subject.store, placeOf(subject), undefined);
      await assert.rejects(opened, { name: "NotAdoptable", message }, keys.join());
    }
  });

  test("refuses a place where the storage keeps its own, without a request", async () => {
    await using subject = await openSubject();
    const { server, store } = subject;
    const { endpoint, bucket } = placeOf(subject);
    const open = (from: string, to: string, changes: Partial<BucketAddress> = {}): Promise<unknown> => {
      const at = (prefix: string): BucketAddress => ({ endpoint, bucket, prefix: prefix === "" ? undefined : prefix });
      return openEarlierBucket(store, at(from), { ...at(to), ...changes });
    };
    const before = server.asked.length;
    for (const [from, to] of [
      ["", ""],
      ["a", "a"],
      ["", "manifests"],
      ["", "blobs/mine"],
      ["a", "a/manifests/b"],
      ["blobs", ""],
      ["a/repositories/b", "a"],
    ] as const) {
      await assert.rejects(
        open(from, to),
        {
          name: "NotAdoptable",
          message:
            /cannot be adopted: the storage keeps its own in s3:\/\/cache.*; what is adopted is copied, so set `prefix`/,
        },
        `${from} into ${to}`,
      );
    }
    assert.equal(server.asked.length, before);
    for (const [from, to] of [
      ["", "a"],
      ["a", ""],
      ["a", "b"],
      ["a", "ab"],
      ["a", "a/b"],
      ["blobs-old", ""],
    ] as const) {
      await open(from, to);
    }
    await open("", "", { bucket: "another" });
    await open("", "", { endpoint: undefined });
  });
});
