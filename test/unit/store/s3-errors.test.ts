import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { describe, test } from "node:test";
import { inspect, promisify } from "node:util";
import type { Key } from "../../../src/store/object-store.ts";
import { storeErrorOf, S3Failure } from "../../../src/store/s3-failure.ts";
import { S3Store } from "../../../src/store/s3.ts";
import { S3Refusal } from "../../support/fake-s3-bucket.ts";
import { readAll, s3Subject } from "../../support/s3-store.ts";

const key = "blobs/sha256/00/01" as Key;

describe("an error of S3 says what to do", () => {
  for (const [code, status, advice] of [
    ["AccessDenied", 403, /allow s3:GetObject.* on cache\/\*, and s3:ListBucket on cache,/],
    ["NoSuchBucket", 404, /create the bucket, or correct its name, region and endpoint/],
    ["InvalidAccessKeyId", 403, /correct the access key/],
    ["SignatureDoesNotMatch", 403, /correct the access key and the secret key; a proxy/],
    ["PermanentRedirect", 301, /another region, or at another endpoint/],
    ["AuthorizationHeaderMalformed", 400, /another region/],
    ["ExpiredToken", 400, /temporary credentials have ended/],
    ["NotImplemented", 501, /set checksums to when_required/],
    ["InvalidRequest", 400, /set checksums to when_required/],
    ["SlowDown", 503, /fewer requests/],
    ["InvalidStorageClass", 400, /correct storage_class/],
  ] as const) {
    test(code, async () => {
      await using subject = await s3Subject({}, { retries: 0 });
      const { server, store } = subject;
      // The client asks once more where the credentials have ended.
      server.fail("PutObject", { refuse: new S3Refusal(status, code) }, { refuse: new S3Refusal(status, code) });
      await assert.rejects(store.put(key, Buffer.from("x")), { name: "StoreError", code, message: advice });
    });
  }

  test("the region that the bucket is in", async () => {
    await using subject = await s3Subject();
    const headers = { "x-amz-bucket-region": "eu-west-1" };
    subject.server.fail("GetObject", { refuse: new S3Refusal(301, "PermanentRedirect", headers) });
    await assert.rejects(subject.store.get(key), { message: /in the region eu-west-1: set that one/ });
  });

  for (const [code, advice] of [
    ["ENOTFOUND", /correct the endpoint; .*force_path_style/],
    ["SELF_SIGNED_CERT_IN_CHAIN", /ca_file/],
    ["ERR_TLS_CERT_ALTNAME_INVALID", /name the server in the endpoint as its certificate does$/],
    ["UNABLE_TO_VERIFY_LEAF_SIGNATURE", /ca_file/],
    ["ECONNREFUSED", /nobody listens/],
    ["ETIMEDOUT", /nothing answers there: look at the endpoint, and at what keeps this machine from reaching it/],
    ["TimeoutError", /nothing answers there/],
    ["EPROTO", /no TLS is spoken there: begin the endpoint with http:\/\//],
  ] as const) {
    test(code, () => {
      const failure = new S3Failure(Object.assign(new Error("it failed"), { code }));
      const place = { bucket: "cache", endpoint: "https://s3.example.com", region: undefined };
      const error = storeErrorOf("could not read blobs/a", place, failure);
      assert.equal(error.code, code);
      assert.match(error.message, advice);
      assert.match(error.message, /^could not read blobs\/a, bucket cache at https:\/\/s3\.example\.com: it failed \(/);
    });
  }
});

test("a name that nobody has is that of a region, where there is no endpoint", () => {
  const failure = new S3Failure(Object.assign(new Error("it failed"), { code: "ENOTFOUND" }));
  const error = storeErrorOf("could not read a", { bucket: "cache", endpoint: undefined, region: "europe" }, failure);
  assert.match(error.message, /correct the region, europe: .*such as eu-central-1/);
});

test("an error holds neither keys nor signatures nor queries, also where all of it is printed", async () => {
  await using subject = await s3Subject({}, { retries: 0 });
  const { server, store } = subject;
  const message = new S3Refusal(403, "SignatureDoesNotMatch");
  message.message = "see https://s3.example.com/a?X-Amz-Signature=feed&amp;X-Amz-Credential=access";
  server.fail("PutObject", { refuse: message });
  const error: unknown = await store.put(key, Buffer.from("x")).catch((thrown: unknown) => thrown);
  const printed = inspect(error, { depth: 20, showHidden: true });
  assert.match(printed, /SignatureDoesNotMatch/);
  assert.doesNotMatch(printed, /feed|a secret that is nowhere else|AWS4-HMAC|Credential=/);
});

describe("clocks", () => {
  test("that differ are made up for", async () => {
    await using subject = await s3Subject();
    const { server, store } = subject;
    server.clockOffsetMs = -3_600_000;
    await store.put(key, Buffer.from("written"));
    assert.equal((await readAll(store, key))?.toString(), "written");
  });

  test("that cannot be made up for are named", async () => {
    await using subject = await s3Subject({}, { retries: 0 });
    const { server, store } = subject;
    server.fail("PutObject", { refuse: new S3Refusal(403, "RequestTimeTooSkewed") });
    const refused = { code: "RequestTimeTooSkewed", message: /clock of this machine, or that of the server, is wrong/ };
    await assert.rejects(store.put(key, Buffer.from("x")), refused);
  });
});

test("a store that is closed ends what is under way", async () => {
  await using subject = await s3Subject();
  const { server, store } = subject;
  const { promise, resolve } = Promise.withResolvers<void>();
  server.fail("HeadObject", { wait: promise });
  const waiting = assert.rejects(store.head(key), { name: "StoreError" });
  await store.close();
  await waiting;
  resolve();
});

test("the client library is not loaded before a store is opened", async () => {
  const source = new URL("../../../src/store/s3.ts", import.meta.url).href;
  const script = `
    import { createRequire } from "node:module";
    await import("${source}");
    console.log(Object.keys(createRequire("${source}").cache).join("\\n"));
  `;
  const { stdout } = await promisify(execFile)(process.execPath, ["--input-type=module", "--eval", script]);
  assert.doesNotMatch(stdout, /aws-sdk|smithy/);
});

test("nothing is sent when a store is opened", async () => {
  await using subject = await s3Subject();
  const store = await S3Store.open(subject.server.options());
  await store.close();
  assert.deepEqual(subject.server.asked, []);
});
