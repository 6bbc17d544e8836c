import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type Key, PreconditionFailed, StoreError, type Version } from "../../../src/store/object-store.ts";
import { S3Refusal } from "../../support/fake-s3-bucket.ts";
import { Lease } from "../../../src/store/lease.ts";
import { readAll, s3Subject } from "../../support/s3-store.ts";

const key = "state/lease" as Key;
const name = "some/prefix/state/lease";
const slowDown = new S3Refusal(503, "SlowDown");
const undecided = new S3Refusal(409, "ConditionalRequestConflict");

describe("a write whose answer is lost", () => {
  test("is repeated by the client, and with a condition is not refused for its own success", async () => {
    await using subject = await s3Subject();
    const { server, store } = subject;
    server.fail("PutObject", { loseAnswer: true });
    const first = await store.put(key, Buffer.from("mine"), { if: "absent" });
    assert.equal(server.count("PutObject"), 2);
    assert.equal((await store.head(key))?.version, first);
    server.fail("PutObject", { loseAnswer: true });
    const second = await store.put(key, Buffer.from("renewed"), { if: first });
    assert.equal((await store.head(key))?.version, second);
    assert.equal((await readAll(store, key))?.toString(), "renewed");
  });

  test("is refused where another one has won meanwhile, also of the same bytes", async () => {
    await using subject = await s3Subject();
    const { server, store } = subject;
    server.fail(
      "PutObject",
      { refuse: slowDown },
      { before: () => void server.bucket.put(name, Buffer.from("the same"), {}) },
    );
    await assert.rejects(store.put(key, Buffer.from("the same"), { if: "absent" }), PreconditionFailed);
    assert.equal(server.count("HeadObject"), 1);
  });

  test("without a condition is found by a look at the key, when the client has given up", async () => {
    await using subject = await s3Subject({}, { retries: 1 });
    const { server, store } = subject;
    server.fail("PutObject", { loseAnswer: true }, { loseAnswer: true });
    const version = await store.put(key, Buffer.from("done"));
    assert.equal(version, (await store.head(key))?.version);
  });

  test("fails where the key holds what another one wrote", async () => {
    await using subject = await s3Subject({}, { retries: 0 });
    const { server, store } = subject;
    await store.put(key, Buffer.from("before"));
    server.fail("PutObject", { resetAfterBytes: 1 });
    await assert.rejects(store.put(key, Buffer.from("not done")), { name: "StoreError", code: "ECONNRESET" });
    assert.equal((await readAll(store, key))?.toString(), "before");
  });

  test("of a delete with a condition is not taken for another one's", async () => {
    await using subject = await s3Subject();
    const { server, store } = subject;
    const version = await store.put(key, Buffer.from("mine"));
    server.fail("DeleteObject", { loseAnswer: true });
    await store.delete(key, { if: version });
    assert.equal(server.count("DeleteObject"), 2);
    await assert.rejects(store.delete(key, { if: version }), PreconditionFailed);
    const other = await store.put(key, Buffer.from("another one's"));
    server.fail("DeleteObject", { refuse: slowDown });
    await assert.rejects(store.delete(key, { if: version }), PreconditionFailed);
    assert.equal((await store.head(key))?.version, other);
  });
});

describe("a write that S3 cannot decide on", () => {
  test("is repeated until it is decided", async () => {
    await using subject = await s3Subject();
    const { server, store } = subject;
    server.fail("PutObject", { refuse: undecided }, { refuse: undecided }, { refuse: undecided });
    await store.put(key, Buffer.from("mine"), { if: "absent" });
    assert.equal((await readAll(store, key))?.toString(), "mine");
    server.fail("PutObject", { refuse: undecided });
    await assert.rejects(store.put(key, Buffer.from("late"), { if: "absent" }), PreconditionFailed);
  });

  test("fails in the end, and is not told to have lost", async () => {
    await using subject = await s3Subject();
    const { server, store } = subject;
    server.fail("PutObject", ...Array.from({ length: 20 }, () => ({ refuse: undecided })));
    await assert.rejects(store.put(key, Buffer.from("mine"), { if: "absent" }), {
      name: "StoreError",
      code: "ConditionalRequestConflict",
    });
    assert.equal(server.count("PutObject"), 8);
  });
});

describe("what a write carries", () => {
  test("no checksums at an endpoint of one's own, none of S3's at AWS's wish", async () => {
    await using subject = await s3Subject({ refusesChecksums: true });
    const { server, store } = subject;
    await store.put(key, Buffer.alloc(100_000, 1));
    const sent = server.asked[0]?.headers ?? {};
    assert.deepEqual(
      Object.keys(sent).filter((header) => /checksum|trailer|content-encoding|md5|expect/.test(header)),
      [],
    );
    assert.match(String(sent["x-amz-content-sha256"]), /^[0-9a-f]{64}$/);
  });

  test("checksums where they are wanted; a refusal of them is final, and says what to set", async () => {
    await using subject = await s3Subject({ refusesChecksums: true }, { checksums: "when_supported" });
    const { server, store } = subject;
    await assert.rejects(store.put(key, Buffer.from("refused")), (error: unknown) => {
      assert.ok(error instanceof StoreError);
      assert.equal(error.code, "NotImplemented");
      assert.match(error.message, /set checksums to when_required/);
      return true;
    });
    assert.equal(server.count("PutObject"), 1);
    assert.ok(server.asked[0]?.headers["x-amz-checksum-crc32"] !== undefined);
  });

  test("the encryption and the storage class", async () => {
    const options = { serverSideEncryption: "aws:kms", kmsKeyId: "key-1", storageClass: "STANDARD_IA" } as const;
    await using subject = await s3Subject({}, options);
    await subject.store.put(key, Buffer.from("encrypted"));
    assert.deepEqual(subject.server.bucket.objects.get(name)?.settings, {
      "x-amz-server-side-encryption": "aws:kms",
      "x-amz-server-side-encryption-aws-kms-key-id": "key-1",
      "x-amz-storage-class": "STANDARD_IA",
    });
  });

  test("its signature covers no header that a proxy may change", async () => {
    await using subject = await s3Subject();
    const { server, store } = subject;
    await store.put(key, Buffer.from("signed"));
    await readAll(store, key);
    for await (const found of store.list("state" as Key)) assert.equal(found.key, key);
    await store.delete(key);
    for (const { headers } of server.asked) {
      const [, signed = ""] = /SignedHeaders=([^,]*)/.exec(String(headers["authorization"])) ?? [];
      assert.ok(signed.split(";").includes("host"));
      assert.doesNotMatch(signed, /(^|;)(accept-encoding|user-agent|connection|expect|via)(;|$)/);
    }
  });
});

test("objects are deleted one by one, as several servers refuse to delete batches", async () => {
  await using subject = await s3Subject();
  const { server, store } = subject;
  for (const part of ["a", "b", "c"]) await store.put(`blobs/${part}` as Key, Buffer.from(part));
  for (const part of ["a", "b", "c"]) await store.delete(`blobs/${part}` as Key);
  assert.equal(server.count("DeleteObject"), 3);
  assert.equal(server.count("other"), 0);
  assert.equal(server.bucket.objects.size, 0);
});

test("a throttled server is asked again, a few times; then the error says that it was throttled", async () => {
  await using subject = await s3Subject({}, { retries: 2 });
  const { server, store } = subject;
  server.fail("PutObject", { refuse: slowDown });
  await store.put(key, Buffer.from("taken at last"));
  server.fail("PutObject", { refuse: slowDown }, { refuse: slowDown }, { refuse: slowDown });
  await assert.rejects(store.put(key, Buffer.from("refused")), { name: "StoreError", code: "SlowDown" });
  assert.equal(server.count("PutObject"), 5);
});

test("where several writers win at once, a win is looked at once that is known", async () => {
  await using subject = await s3Subject({ looksEarly: true });
  const { server, store } = subject;
  const [first] = (await store.probe()).lacks;
  assert.match(first ?? "", /more than one wins/);
  // Whoever's object is gone when it looks has not won.
  server.fail("HeadObject", { before: () => void server.bucket.put(name, Buffer.from("another one's"), {}) });
  await assert.rejects(store.put(key, Buffer.from("mine"), { if: "absent" }), PreconditionFailed);
  const version = (await store.head(key))?.version as Version;
  await store.put(key, Buffer.from("mine now"), { if: version });
  assert.equal((await readAll(store, key))?.toString(), "mine now");
});

test("where conditions are refused, what has to be there is looked at before, and who has won afterwards", async () => {
  await using subject = await s3Subject({ refusesConditions: true });
  const { server, store } = subject;
  const version = await store.put(key, Buffer.from("first"), { if: "absent" });
  await assert.rejects(store.put(key, Buffer.from("second"), { if: "absent" }), PreconditionFailed);
  server.fail(
    "HeadObject",
    { before: () => undefined },
    { before: () => void server.bucket.put(name, Buffer.from("another one's"), {}) },
  );
  await assert.rejects(store.put(key, Buffer.from("mine"), { if: version }), PreconditionFailed);
  await assert.rejects(store.put(key, Buffer.from("mine"), { if: version }), PreconditionFailed);
  const now = (await store.head(key))?.version as Version;
  await store.put(key, Buffer.from("mine now"), { if: now });
  assert.equal((await readAll(store, key))?.toString(), "mine now");
  const lease = new Lease({ store, key: "retention/lease" as Key, ttlMs: 1_000, monotonic: () => 0 });
  assert.equal(await lease.acquire(), true);
  assert.equal(await lease.acquire(), true);
});
