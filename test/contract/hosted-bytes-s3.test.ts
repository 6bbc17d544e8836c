import assert from "node:assert/strict";
import { BucketBytes } from "../../src/hosted/bucket-bytes.ts";
import { HashPool } from "../../src/store/hashing.ts";
import { hostedPrefix } from "../../src/store/hosted-layout.ts";
import { S3Store } from "../../src/store/s3.ts";
import { FakeS3 } from "../support/fake-s3.ts";
import { type S3Profile, S3Refusal } from "../support/fake-s3-bucket.ts";
import { all } from "../support/s3-store.ts";
import { type BytesSetup, hostedBytesSuite } from "./hosted-bytes.ts";

/** Its parts are small, so that all that is not, is written in parts. */
function s3Setup(profile: Partial<S3Profile> = {}): BytesSetup {
  return async () => {
    const server = await FakeS3.start(profile);
    const store = await S3Store.open(server.options({ partSizeBytes: 256 * 1024, maxSockets: 4 }));
    const hashes = new HashPool(1);
    return {
      driver: () => new BucketBytes({ store, hashes }),
      keys: async () => (await all(store.list(hostedPrefix))).map(({ key }) => key),
      fill() {
        const refusal = { refuse: new S3Refusal(403, "QuotaExceeded") };
        server.trouble = (operation) => (operation === "PutObject" || operation === "UploadPart" ? refusal : undefined);
        return { [Symbol.dispose]: () => server.forgive() };
      },
      async [Symbol.asyncDispose]() {
        await hashes.close();
        await store.close();
        await server[Symbol.asyncDispose]();
        assert.equal(server.bucket.uploads.size, 0);
        assert.equal(server.bucket.objects.size, 0);
      },
    };
  };
}

hostedBytesSuite("a bucket of S3", s3Setup());
hostedBytesSuite(
  "a bucket of a strict server",
  s3Setup({ pageSize: 3, equalParts: true, refusesChecksums: true, conflicts: true }),
);
