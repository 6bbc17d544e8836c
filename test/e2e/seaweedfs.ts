import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { S3 } from "@aws-sdk/client-s3";
import type { S3Keys, S3Options } from "../../src/store/s3-options.ts";
import { freePort, install, type Program, start } from "./programs.ts";

/** A real S3 server, running. */
export interface S3Server extends AsyncDisposable {
  readonly endpoint: string;
  readonly program: Program;
  /** How a store is told of it, and of a bucket that is there. */
  readonly options: S3Options & { readonly credentials: S3Keys };
}

const keys = { accessKeyId: "access", secretAccessKey: "secret" };
const bucket = "cache";

/** Starts SeaweedFS below the folder, with an empty bucket. It is built where that was not done before. */
export async function startSeaweedfs(directory: string): Promise<S3Server> {
  const program = await install("seaweedfs");
  const data = join(directory, "seaweedfs");
  const file = join(directory, "seaweedfs.json");
  await mkdir(data);
  const actions = ["Admin", "Read", "Write", "List", "Tagging"];
  const credentials = [{ accessKey: keys.accessKeyId, secretKey: keys.secretAccessKey }];
  await writeFile(file, JSON.stringify({ identities: [{ name: "tests", credentials, actions }] }));
  const [master, volume, filer, s3] = await freePortPairs(4);
  const endpoint = `http://127.0.0.1:${s3}`;
  const running = await start("seaweedfs", {
    directory,
    command: [
      program,
      "server",
      `-dir=${data}`,
      "-ip=127.0.0.1",
      "-ip.bind=127.0.0.1",
      `-master.port=${master}`,
      `-volume.port=${volume}`,
      "-filer",
      `-filer.port=${filer}`,
      "-s3",
      `-s3.port=${s3}`,
      `-s3.config=${file}`,
      "-master.volumeSizeLimitMB=64",
      "-volume.max=50",
    ],
    environment: { HOME: directory },
    isReady: () => canBeWrittenTo(endpoint),
  });
  return {
    endpoint,
    program: running,
    options: { bucket, endpoint, credentials: keys },
    // It takes its time to end, for content that nobody wants any more.
    [Symbol.asyncDispose]: () => running.kill(),
  };
}

/** Makes the bucket, where it is not there, and tries it. */
async function canBeWrittenTo(endpoint: string): Promise<boolean> {
  const client = new S3({ endpoint, region: "us-east-1", credentials: keys, forcePathStyle: true, maxAttempts: 1 });
  try {
    await client.createBucket({ Bucket: bucket }).catch(() => {});
    await client.putObject({ Bucket: bucket, Key: "ready", Body: "ready" });
    await client.deleteObject({ Bucket: bucket, Key: "ready" });
    return true;
  } finally {
    client.destroy();
  }
}

/** Free ports, of which that 10,000 higher is free, too: each of the servers listens on both. */
async function freePortPairs(count: number): Promise<number[]> {
  const ports = new Set<number>();
  while (ports.size < count) {
    const port = await freePort();
    if (port < 55_000) ports.add(port);
  }
  return [...ports];
}
