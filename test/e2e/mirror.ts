import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { request } from "../support/http.ts";
import { freePort, type Program, start } from "./programs.ts";
import { type S3Server, startSeaweedfs } from "./seaweedfs.ts";

/** The program under test, running. */
export interface Mirror extends AsyncDisposable {
  /** `127.0.0.1:<port>`. */
  readonly host: string;
  /** The running process; another one after `restart`. */
  readonly program: Program;
  /** Ends it and starts it again, on the same port and the same folder. */
  restart(): Promise<void>;
}

const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

/** Whether the mirror has a bucket behind its folder: `ENTREPOT_TEST_BUCKET=seaweedfs`. */
const hasBucket = process.env["ENTREPOT_TEST_BUCKET"] === "seaweedfs";

/**
 * Starts the mirror, as a user does. With a bucket, a restart loses the folder.
 *
 * @param upstreams the host that stands for each namespace; they are asked without TLS.
 */
export async function startMirror(directory: string, upstreams: Readonly<Record<string, string>>): Promise<Mirror> {
  const host = `127.0.0.1:${await freePort()}`;
  const file = join(directory, "mirror.yaml");
  const root = join(directory, "mirror");
  const server = hasBucket ? await startSeaweedfs(directory) : undefined;
  const configuration = {
    listen: host,
    storage: server === undefined ? { type: "filesystem", root } : { type: "s3", root, s3: bucketOf(server) },
    upstreams: Object.entries(upstreams).map(([namespace, upstream]) => ({
      namespace,
      host: upstream,
      tls: false,
      manifest_invalidation_time: "1h",
    })),
    log: { level: "debug" },
  };
  await writeFile(file, JSON.stringify(configuration));

  const startProgram = (): Promise<Program> =>
    start("mirror", {
      directory,
      command: [process.execPath, process.env["ENTREPOT_MAIN"] ?? main, "--config", file],
      isReady: async () => (await request(`http://${host}/readyz`)).status === 200,
    });
  let program = await startProgram();
  return {
    host,
    get program() {
      return program;
    },
    async restart() {
      await program.stop();
      if (server !== undefined) await rm(root, { recursive: true });
      program = await startProgram();
    },
    async [Symbol.asyncDispose]() {
      await program.stop();
      await server?.[Symbol.asyncDispose]();
    },
  };
}

function bucketOf({ options: { bucket, endpoint, credentials } }: S3Server): Record<string, unknown> {
  return {
    bucket,
    endpoint,
    access_key: credentials.accessKeyId,
    secret_key: credentials.secretAccessKey,
  };
}
