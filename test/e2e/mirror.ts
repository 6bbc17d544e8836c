import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { setTimeout as delay } from "node:timers/promises";
import { FakeS3 } from "../support/fake-s3.ts";
import { request } from "../support/http.ts";
import { freePort, type Program, start } from "./programs.ts";
import { startRoundRobin } from "./round-robin.ts";
import { type S3Server, startSeaweedfs } from "./seaweedfs.ts";

/** The program under test, running: one process, or two replicas behind one port. */
export interface Mirror extends AsyncDisposable {
  /** `127.0.0.1:<port>`. */
  readonly host: string;
  /** The running process that was started last. */
  readonly program: Program;
  /** Ends it and starts it again, on the same port and the same folder; of two replicas one is killed, and stays away. */
  restart(): Promise<void>;
}

const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

/** Whether a real S3 server is behind the mirror: `ENTREPOT_TEST_BUCKET=seaweedfs`. */
export const hasServer = process.env["ENTREPOT_TEST_BUCKET"] === "seaweedfs";
/** Whether the mirror is two replicas: `ENTREPOT_TEST_REPLICAS=2`; behind them a scripted S3 server, or a real one. */
const isPair = process.env["ENTREPOT_TEST_REPLICAS"] === "2";

/**
 * Starts the mirror, as a user does. With a bucket, a restart loses the folder.
 *
 * @param upstreams the host that stands for each namespace; they are asked without TLS.
 */
export async function startMirror(directory: string, upstreams: Readonly<Record<string, string>>): Promise<Mirror> {
  return isPair ? startPair(directory, upstreams) : startSingle(directory, upstreams);
}

/** A configuration that both have: what namespaces are mirrored. */
function configurationOf(upstreams: Readonly<Record<string, string>>): Record<string, unknown> {
  return {
    upstreams: Object.entries(upstreams).map(([namespace, upstream]) => ({
      namespace,
      host: upstream,
      tls: false,
      manifest_invalidation_time: "1h",
    })),
    log: { level: "debug" },
  };
}

/** Starts the program with a configuration file, and waits until it serves at the address that this names. */
export function startProgram(name: string, directory: string, file: string, host: string): Promise<Program> {
  return start(name, {
    directory,
    command: [process.execPath, process.env["ENTREPOT_MAIN"] ?? main, "--config", file],
    isReady: async () => (await request(`http://${host}/readyz`)).status === 200,
  });
}

async function startSingle(directory: string, upstreams: Readonly<Record<string, string>>): Promise<Mirror> {
  const host = `127.0.0.1:${await freePort()}`;
  const file = join(directory, "mirror.yaml");
  const root = join(directory, "mirror");
  const server = hasServer ? await startSeaweedfs(directory) : undefined;
  const storage =
    server === undefined ? { type: "filesystem", root } : { type: "s3", root, s3: bucketOf(server.options) };
  await writeFile(file, JSON.stringify({ listen: host, storage, ...configurationOf(upstreams) }));
  let program = await startProgram("mirror", directory, file, host);
  return {
    host,
    get program() {
      return program;
    },
    async restart() {
      await program.stop();
      if (server !== undefined) await rm(root, { recursive: true });
      program = await startProgram("mirror", directory, file, host);
    },
    async [Symbol.asyncDispose]() {
      await program.stop();
      await server?.[Symbol.asyncDispose]();
    },
  };
}

/** Two replicas on one bucket, behind a port that leads to them in turn. */
async function startPair(directory: string, upstreams: Readonly<Record<string, string>>): Promise<Mirror> {
  await using stack = new AsyncDisposableStack();
  const server = stack.use(hasServer ? await startSeaweedfs(directory) : await startScripted());
  const programs: Program[] = [];
  const hosts: string[] = [];
  for (const name of ["replica-1", "replica-2"]) {
    const host = `127.0.0.1:${await freePort()}`;
    const file = join(directory, `${name}.yaml`);
    const configuration = {
      listen: host,
      storage: { type: "s3", root: join(directory, name), s3: bucketOf(server.options) },
      replicas: {
        listen: `127.0.0.1:${await freePort()}`,
        secret: "an-example-of-a-secret-that-replicas-share",
      },
      ...configurationOf(upstreams),
    };
    await writeFile(file, JSON.stringify(configuration));
    const program = await startProgram(name, directory, file, host);
    stack.defer(() => program.stop());
    programs.push(program);
    hosts.push(host);
  }
  const balancer = stack.use(await startRoundRobin(await freePort(), hosts));
  const all = stack.move();
  const [first, last] = programs as [Program, Program];
  return {
    host: balancer.host,
    program: last,
    async restart() {
      // What only a folder has is lost with its process, for as long as that is away.
      while (!(await isCopied(hosts[0] ?? ""))) await delay(50);
      await first.kill();
    },
    [Symbol.asyncDispose]: () => all.disposeAsync(),
  };
}

async function isCopied(host: string): Promise<boolean> {
  const { body } = await request(`http://${host}/metrics`);
  return body.toString().includes("\nentrepot_bucket_waiting_objects 0\n");
}

/** A server in this process that speaks S3. */
async function startScripted(): Promise<AsyncDisposable & Pick<S3Server, "options">> {
  const server = await FakeS3.start();
  const [credentials] = server.keys;
  const { bucketName: bucket, endpoint } = server;
  if (credentials === undefined) throw new Error("the server has no keys");
  return {
    options: { bucket, endpoint, credentials },
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/** The settings of a bucket. */
export function bucketOf({ bucket, endpoint, credentials }: S3Server["options"]): Record<string, unknown> {
  return {
    bucket,
    endpoint,
    access_key: credentials.accessKeyId,
    secret_key: credentials.secretAccessKey,
  };
}
