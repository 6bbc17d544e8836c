import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const main = join(root, "src/main.ts");

/** How a process is started. */
export interface ProcessOptions {
  /** The storage's folder; the configuration is written beside it. */
  readonly root: string;
  /** The upstream that is docker.io, over plain HTTP: `host:port`. */
  readonly upstream: string;
  /** More keys of the upstream's entry. */
  readonly settings?: Readonly<Record<string, unknown>>;
  /** More keys of the configuration. */
  readonly config?: Readonly<Record<string, unknown>>;
  /** A program that runs the process, with its arguments: a shell that sets limits first, say. */
  readonly runner?: readonly [string, ...string[]];
  readonly env?: Readonly<Record<string, string>>;
  /** What starts the program, in the project's folder, in place of Node with the program's file: `npm start --`. */
  readonly launcher?: readonly [string, ...string[]];
}

/** How a process ended. */
export interface ProcessEnd {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stderr: string;
}

/** The real program, in a process of its own. */
export interface MirrorProcess extends AsyncDisposable {
  /** Resolves with the URL when it listens; rejects when it ends before. */
  readonly listening: Promise<string>;
  /** Resolves when it has ended and its output was read to the end. */
  readonly ended: Promise<ProcessEnd>;
  /** The log's lines so far, parsed. */
  log(): Record<string, unknown>[];
  /** Resolves with the first line that has this message; rejects when the process ends without it. */
  logged(message: string): Promise<Record<string, unknown>>;
  /** Resolves when it has ended, while what it has started may go on. */
  readonly exited: Promise<void>;
  kill(signal: NodeJS.Signals): void;
  /** Signals a launcher and all that it has started, as a terminal does; false where none of them is left. */
  killGroup(signal: NodeJS.Signals | 0): boolean;
  /** Kills it, and what it has started, where it still runs. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** Starts the program on a free port of 127.0.0.1. */
export async function startProcess(options: ProcessOptions): Promise<MirrorProcess> {
  const { root: storage, upstream, settings, config, runner = [], env, launcher } = options;
  const file = `${storage}.config.json`;
  const upstreams = [{ namespace: "docker.io", host: upstream, tls: false, ...settings }];
  await writeFile(file, JSON.stringify({ listen: "127.0.0.1:0", storage: { root: storage }, upstreams, ...config }));
  const [command, ...args] = [...runner, ...(launcher ?? [process.execPath, main]), "--config", file];
  const child = spawn(command, args, {
    // Nothing of the surrounding settings: they would be taken for configuration.
    env: { PATH: process.env["PATH"] ?? "", ...env },
    stdio: ["ignore", "pipe", "pipe"],
    cwd: root,
    // A group of its own.
    detached: launcher !== undefined,
  });
  const lines: Record<string, unknown>[] = [];
  let stderr = "";
  const awaited = new Set<{ readonly message: string } & PromiseWithResolvers<Record<string, unknown>>>();
  const ended = Promise.withResolvers<ProcessEnd>();
  const exited = once(child, "exit").then(() => undefined);
  exited.catch(() => undefined);
  const killGroup = (signal: NodeJS.Signals | 0): boolean => {
    try {
      return child.pid !== undefined && process.kill(-child.pid, signal);
    } catch {
      return false;
    }
  };
  const logged = (message: string): Promise<Record<string, unknown>> => {
    const found = lines.find(({ msg }) => msg === message);
    if (found !== undefined) return Promise.resolve(found);
    const waiting = { message, ...Promise.withResolvers<Record<string, unknown>>() };
    // Only who waits for it wants to know that it never came.
    waiting.promise.catch(() => undefined);
    awaited.add(waiting);
    return waiting.promise;
  };
  const listening = logged("listening").then(({ addresses }) => String((addresses as string[])[0]));
  listening.catch(() => undefined);
  const fail = (error: Error): void => {
    for (const { reject } of awaited) reject(error);
  };
  createInterface({ input: child.stdout }).on("line", (line) => {
    const parsed = readLine(line);
    lines.push(parsed);
    for (const { message, resolve } of awaited) {
      if (parsed["msg"] === message) resolve(parsed);
    }
  });
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  child.once("error", (error) => {
    fail(error);
    ended.reject(error);
  });
  child.once("close", (code, signal) => {
    fail(new Error(`the process ended (${code ?? signal}): ${stderr}`));
    ended.resolve({ code, signal, stderr });
  });
  return {
    listening,
    ended: ended.promise,
    log: () => [...lines],
    logged,
    exited,
    kill: (signal) => child.kill(signal),
    killGroup,
    async [Symbol.asyncDispose]() {
      if (!killGroup("SIGKILL")) child.kill("SIGKILL");
      await ended.promise;
    },
  };
}

/** A line of a process that is killed may be cut off. */
function readLine(line: string): Record<string, unknown> {
  try {
    return JSON.parse(line) as Record<string, unknown>;
  } catch {
    return { unreadable: line };
  }
}
