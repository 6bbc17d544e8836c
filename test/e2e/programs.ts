import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer, type AddressInfo } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";

/** A program that was started and goes on running. */
export interface Program extends AsyncDisposable {
  readonly name: string;
  /** All that it has written so far. */
  log(): Promise<string>;
  /** Kills it (SIGKILL), and waits until it has ended. */
  kill(): Promise<void>;
  /** Ends it (SIGTERM, and SIGKILL where that does not do), and waits until it has ended. */
  stop(): Promise<void>;
}

/** How a program is started. */
export interface ProgramOptions {
  /** Where its log is kept. */
  readonly directory: string;
  readonly command: readonly [file: string, ...parameters: string[]];
  readonly environment?: Readonly<Record<string, string>>;
  /** Whether it can be used now; asked again and again until it says yes. A rejection means no. */
  readonly isReady: () => Promise<boolean>;
}

const readyMs = 60_000;
const stopMs = 20_000;
const commandMs = 180_000;
const running = new Set<ChildProcess>();

// Where the tests themselves are ended early, nothing that they have started may stay behind.
process.once("exit", () => {
  for (const child of running) {
    child.kill("SIGKILL");
  }
});
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  process.once(signal, () => process.exit(1));
}

/**
 * Starts a program and waits until it is ready.
 *
 * @throws {Error} it ended, or was not ready in a minute; the message holds its log.
 */
export async function start(name: string, options: ProgramOptions): Promise<Program> {
  const path = join(options.directory, `${name}.log`);
  const sink = createWriteStream(path, { flags: "a" });
  await once(sink, "open");
  const [file, ...parameters] = options.command;
  const child = spawn(file, parameters, { stdio: ["ignore", sink, sink], env: environment(options.environment) });
  let ended: string | undefined;
  const end = new Promise<void>((resolve) => {
    child.once("error", (error) => {
      ended = error.message;
      resolve();
    });
    child.once("exit", (code, signal) => {
      ended = `ended with ${code ?? signal}`;
      resolve();
    });
  });
  running.add(child);
  const left = end.then(() => {
    running.delete(child);
    sink.destroy();
  });

  const program: Program = {
    name,
    log: () => readFile(path, "utf8"),
    async kill() {
      child.kill("SIGKILL");
      await left;
    },
    async stop() {
      if (ended === undefined) {
        child.kill("SIGTERM");
        const given = new AbortController();
        await Promise.race([left, delay(stopMs, undefined, { signal: given.signal }).catch(() => {})]);
        given.abort();
        child.kill("SIGKILL");
      }
      await left;
    },
    [Symbol.asyncDispose]: () => program.stop(),
  };

  const deadline = Date.now() + readyMs;
  while (!(await options.isReady().catch(() => false))) {
    if (ended !== undefined || Date.now() > deadline) {
      const why = ended ?? "was not ready in time";
      await program.stop();
      throw new Error(`${name} ${why}\n${await program.log()}`);
    }
    await delay(50);
  }
  return program;
}

/** Runs a program as `runWhole` does, and gives what it wrote to standard output. */
export async function run(
  command: readonly [file: string, ...parameters: string[]],
  variables: Readonly<Record<string, string>> = {},
): Promise<string> {
  return (await runWhole(command, variables)).output;
}

/** What a program wrote to standard output, and to standard error. */
export interface Written {
  readonly output: string;
  readonly errors: string;
}

/**
 * Runs a program to its end and gives what it wrote.
 *
 * @throws {Error} it failed or took longer than three minutes; the message holds all that it wrote.
 */
export async function runWhole(
  command: readonly [file: string, ...parameters: string[]],
  variables: Readonly<Record<string, string>> = {},
): Promise<Written> {
  const [file, ...parameters] = command;
  const child = spawn(file, parameters, {
    stdio: ["ignore", "pipe", "pipe"],
    env: environment(variables),
    timeout: commandMs,
    killSignal: "SIGKILL",
  });
  running.add(child);
  let output = "";
  let errors = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text));
  try {
    const [code, signal] = (await once(child, "close")) as [number | null, string | null];
    if (code !== 0) {
      throw new Error(`${command.join(" ")}\nended with ${code ?? signal}\n${output}${errors}`);
    }
  } finally {
    running.delete(child);
  }
  return { output, errors };
}

/** Where that is which the script `install-<name>` builds, as it does where that was not done before. */
export async function install(name: string): Promise<string> {
  const { stdout } = await promisify(execFile)(join(import.meta.dirname, `install-${name}`), { env: process.env });
  return stdout.trim();
}

/** A port of 127.0.0.1 that nobody listens on. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

/** Debian's programs only, and nothing of the caller's own configuration. */
function environment(variables: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  return { PATH: "/usr/sbin:/usr/bin:/sbin:/bin", LANG: "C.UTF-8", ...variables };
}
