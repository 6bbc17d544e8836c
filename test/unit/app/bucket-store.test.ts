import assert from "node:assert/strict";
import { test } from "node:test";
import { openBucketStore } from "../../../src/app/bucket-store.ts";
import type { BucketConfig } from "../../../src/config/bucket-schema.ts";
import { environment } from "../../support/environment.ts";

const config: BucketConfig = {
  bucket: "example-cache",
  endpoint: undefined,
  region: undefined,
  prefix: "",
  forcePathStyle: undefined,
  accessKey: "key",
  secretKey: "secret",
  sessionToken: undefined,
  caFile: undefined,
  insecureSkipVerify: false,
  serverSideEncryption: undefined,
  kmsKeyId: undefined,
  storageClass: undefined,
  maxAgeMs: Infinity,
  maxBytes: undefined,
  redirect: "never",
  publicEndpoint: undefined,
  partSizeBytes: 8 * 1024 * 1024,
  checksums: undefined,
  maxSockets: 50,
  connectTimeoutMs: 3_000,
  requestTimeoutMs: 20_000,
  retries: 3,
};
/** Nothing of this machine's. */
const unset = {
  AWS_PROFILE: undefined,
  AWS_DEFAULT_REGION: undefined,
  AWS_CONFIG_FILE: "/nowhere/config",
  AWS_SHARED_CREDENTIALS_FILE: "/nowhere/credentials",
};

test("a region that is missing, or is none, is an error of the configuration that says where to set it", async () => {
  for (const region of [undefined, "EU (Frankfurt)"]) {
    using _environment = environment({ ...unset, AWS_REGION: region });
    await assert.rejects(openBucketStore(config), {
      name: "ConfigError",
      message: /storage\.s3\.region: .*set it to that of the bucket, such as eu-central-1, here or as AWS_REGION/,
    });
  }
});

test("AWS's settings have the region, and an endpoint of one's own needs none", async () => {
  {
    using _environment = environment({ ...unset, AWS_REGION: "eu-central-1" });
    await (await openBucketStore(config)).close();
  }
  using _environment = environment({ ...unset, AWS_REGION: undefined });
  await (await openBucketStore({ ...config, endpoint: "http://127.0.0.1:9000" })).close();
});
