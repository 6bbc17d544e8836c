import assert from "node:assert/strict";
import { test } from "node:test";
import { Bucket } from "../../../src/bucket/bucket.ts";
import { type RedirectMode, redirectBlobs } from "../../../src/bucket/redirect.ts";
import { type Digest, digestOf } from "../../../src/oci/digest.ts";
import { parseNamespace, parseRepository } from "../../../src/oci/reference.ts";
import type { Link } from "../../../src/store/content-records.ts";
import { blobKey } from "../../../src/store/layout.ts";
import { MemoryBucket } from "../../support/bucket.ts";

const repository = parseRepository("library/a");
const bytes = Buffer.from("content");
const digest = digestOf(bytes);
const link: Link = { mediaType: "application/octet-stream", sizeBytes: bytes.length, role: "blob" };

test("a client is sent where the blob was seen five seconds ago, and nowhere when it is gone or the bucket fails", async () => {
  const store = new MemoryBucket();
  const uses: Digest[] = [];
  let now = 0;
  const observer = { asked: () => undefined, failed: () => undefined, recovered: () => undefined };
  const locationIn = redirectBlobs({
    mode: "always" satisfies RedirectMode,
    bucket: new Bucket({ store, observer, monotonic: () => now }),
    namespace: parseNamespace("docker.io"),
    content: { link: async () => link, statBlob: async () => undefined },
    noteUse: (_id, used) => void uses.push(used),
    store: { presign: async (key, { expiresInSeconds }) => `signed ${key} for ${expiresInSeconds} s` },
  }).blobLocation;
  const locate = async (): Promise<string | undefined> => locationIn?.(repository, digest);
  await store.plant(blobKey(digest), bytes);
  assert.equal(await locate(), `signed ${blobKey(digest)} for 300 s`);
  now = 4_999;
  assert.equal(await locate(), `signed ${blobKey(digest)} for 300 s`);
  assert.deepEqual(store.asked, [`head ${blobKey(digest)}`]);
  now = 5_000;
  store.failure = new Error("SlowDown");
  assert.equal(await locate(), undefined);
  store.failure = undefined;
  now = 6_000;
  assert.equal(await locate(), `signed ${blobKey(digest)} for 300 s`);
  await store.delete(blobKey(digest));
  now = 11_000;
  assert.equal(await locate(), undefined);
  assert.deepEqual(uses, [digest, digest, digest], "what a client is sent for is used");
});
