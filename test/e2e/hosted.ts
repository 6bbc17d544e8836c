import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { bucketOf, hasServer, startProgram } from "./mirror.ts";
import { freePort, type Program } from "./programs.ts";
import { startSeaweedfs } from "./seaweedfs.ts";

/** A running program that is pushed to. */
export interface HostedRegistry extends AsyncDisposable {
  /** `127.0.0.1:<port>`. */
  readonly host: string;
  readonly program: Program;
}

/** What it is started with. */
export interface HostedOptions {
  /** The settings of each namespace. */
  readonly hosted: readonly object[];
  /** The settings of namespaces of image layouts. */
  readonly layouts?: readonly object[];
  /** Whether its content lies in a bucket of a real S3 server, and not in a folder; as `ENTREPOT_TEST_BUCKET` says. */
  readonly isInBucket?: boolean;
}

/** Starts the program with hosted namespaces, as a user does, with empty storage below the folder. */
export async function startHosted(directory: string, options: HostedOptions): Promise<HostedRegistry> {
  const { hosted, layouts = [], isInBucket = hasServer } = options;
  await using stack = new AsyncDisposableStack();
  const host = `127.0.0.1:${await freePort()}`;
  const file = join(directory, "hosted.yaml");
  const root = join(directory, "hosted");
  const server = isInBucket ? stack.use(await startSeaweedfs(directory)) : undefined;
  const storage =
    server === undefined ? { type: "filesystem", root } : { type: "s3", root, s3: bucketOf(server.options) };
  await writeFile(file, JSON.stringify({ listen: host, storage, hosted, layouts }));
  const program = stack.use(await startProgram("hosted", directory, file, host));
  const all = stack.move();
  return { host, program, [Symbol.asyncDispose]: () => all.disposeAsync() };
}
