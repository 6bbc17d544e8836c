import type { BucketConfig } from "../../src/config/bucket-schema.ts";
import type { FakeS3 } from "./fake-s3.ts";

/** The settings of a bucket on a fake server, with the smallest parts. */
export function bucketConfig(s3: FakeS3, changes: Partial<BucketConfig> = {}): BucketConfig {
  const [keys] = s3.keys;
  return {
    bucket: s3.bucketName,
    endpoint: s3.endpoint,
    region: undefined,
    prefix: undefined,
    forcePathStyle: undefined,
    accessKey: keys?.accessKeyId,
    secretKey: keys?.secretAccessKey,
    sessionToken: keys?.sessionToken,
    caFile: undefined,
    insecureSkipVerify: false,
    serverSideEncryption: undefined,
    kmsKeyId: undefined,
    storageClass: undefined,
    maxAgeMs: Infinity,
    maxBytes: undefined,
    redirect: "never",
    publicEndpoint: undefined,
    partSizeBytes: 5 * 1024 * 1024,
    checksums: undefined,
    maxSockets: 8,
    connectTimeoutMs: 3_000,
    requestTimeoutMs: 20_000,
    retries: 3,
    ...changes,
  };
}
