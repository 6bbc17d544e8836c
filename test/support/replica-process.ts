import type { S3Keys } from "../../src/store/s3-options.ts";
import { type MirrorProcess, startProcess } from "./process.ts";

/** What a replica is started with. */
export interface ReplicaOptions {
  /** Its folder; the configuration is written beside it. */
  readonly root: string;
  readonly upstream: string;
  readonly s3: { readonly bucketName: string; readonly endpoint: string; readonly keys: readonly S3Keys[] };
  /** More keys of the upstream's entry, of the storage, and of the configuration. */
  readonly settings?: Readonly<Record<string, unknown>>;
  readonly storage?: Readonly<Record<string, unknown>>;
  readonly config?: Readonly<Record<string, unknown>>;
}

/** The program as one of several replicas on a bucket, in a process of its own; it listens. */
export interface ReplicaProcess extends AsyncDisposable {
  readonly process: MirrorProcess;
  readonly url: string;
}

/** Starts a replica, and waits until it listens. */
export async function startReplicaProcess({
  root,
  upstream,
  s3,
  settings = {},
  storage = {},
  config = {},
}: ReplicaOptions): Promise<ReplicaProcess> {
  const [keys] = s3.keys;
  const bucket = {
    bucket: s3.bucketName,
    endpoint: s3.endpoint,
    access_key: keys?.accessKeyId,
    secret_key: keys?.secretAccessKey,
  };
  const process = await startProcess({
    root,
    upstream,
    settings,
    config: {
      storage: { type: "s3", root, s3: bucket, ...storage },
      replicas: { listen: "127.0.0.1:0", secret: "an-example-of-a-secret-that-replicas-share" },
      ...config,
    },
  });
  return { process, url: await process.listening, [Symbol.asyncDispose]: () => process[Symbol.asyncDispose]() };
}
