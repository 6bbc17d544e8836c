import { readFile } from "node:fs/promises";
import type { BucketConfig } from "../config/bucket-schema.ts";
import { ConfigError } from "../config/config-error.ts";
import { explainReading } from "../config/named-files.ts";
import { errorOf } from "../store/object-store.ts";
import type { S3Store } from "../store/s3.ts";
import type { S3Keys } from "../store/s3-options.ts";

/** What is needed of the settings of a bucket to open it. */
export type BucketStoreConfig = Omit<BucketConfig, "maxAgeMs" | "maxBytes" | "redirect">;

/**
 * Opens a bucket. AWS's library is loaded for it, and only for it. Nothing is sent.
 *
 * @param key Where the configuration has its settings, for messages.
 * @throws {ConfigError} its certificates cannot be read, or its region is not known.
 */
export async function openBucketStore(config: BucketStoreConfig, key = "storage.s3"): Promise<S3Store> {
  const { caFile } = config;
  const caPem = caFile && (await readCertificates(caFile, key));
  const { S3Store: Store } = await import("../store/s3.ts");
  const opening = Store.open({
    bucket: config.bucket,
    endpoint: config.endpoint,
    region: config.region,
    prefix: config.prefix,
    forcePathStyle: config.forcePathStyle,
    credentials: keysOf(config),
    caPem,
    insecureSkipVerify: config.insecureSkipVerify,
    serverSideEncryption: config.serverSideEncryption,
    kmsKeyId: config.kmsKeyId,
    storageClass: config.storageClass,
    partSizeBytes: config.partSizeBytes,
    checksums: config.checksums,
    maxSockets: config.maxSockets,
    connectTimeoutMs: config.connectTimeoutMs,
    requestTimeoutMs: config.requestTimeoutMs,
    retries: config.retries,
    publicEndpoint: config.publicEndpoint,
  });
  return opening.catch((error: unknown) => explainRegion(error, key));
}

function explainRegion(error: unknown, key: string): never {
  if (!(error instanceof Error && error.name === "UnknownRegion")) throw error;
  const why = errorOf(error.cause).message;
  throw new ConfigError([
    `${key}.region: ${why}: set it to that of the bucket, such as eu-central-1, here or as AWS_REGION`,
  ]);
}

/** The keys that are configured; without them the library asks AWS's default chain. */
function keysOf({ accessKey, secretKey, sessionToken }: BucketStoreConfig): S3Keys | undefined {
  if (accessKey === undefined || secretKey === undefined) return undefined;
  const token = sessionToken === undefined ? {} : { sessionToken };
  return { accessKeyId: accessKey, secretAccessKey: secretKey, ...token };
}

async function readCertificates(path: string, key: string): Promise<string> {
  try {
    return await readFile(path, "latin1");
  } catch (error) {
    throw new ConfigError([`${key}.ca_file: ${path} cannot be used: ${explainReading(error)}`]);
  }
}
