import { spawn } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const main = fileURLToPath(new URL("../../src/main.ts", import.meta.url));

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
  kill(signal: NodeJS.Signals): void;
  /** Kills it where it still runs. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** Starts the program on a free port of 127.0.0.1. */
export async function startProcess(options: ProcessOptions): Promise<MirrorProcess> {
  const { root, upstream, settings, config, runner = [], env } = options;
  const file = `${root}.config.json`;
  const upstreams = [{ namespace: "docker.io", host: upstream, tls: false, ...settings }];
  await writeFile(file, JSON.stringify({ listen: "127.0.0.1:0", storage: { root }, upstreams, ...config }));
  const [command = process.execPath, ...args] = [...runner, process.execPath, main, "--config", file];
  const child = spawn(command, args, {
    // Nothing of the surrounding settings: they would be taken for configuration.
    env: { PATH: process.env["PATH"] ?? "", ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const lines: Record<string, unknown>[] = [];
  let stderr = "";
  const awaited = new Set<{ readonly message: string } & PromiseWithResolvers<Record<string, unknown>>>();
  const ended = Promise.withResolvers<ProcessEnd>();
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
    kill: (signal) => child.kill(signal),
    async [Symbol.asyncDispose]() {
      if (child.exitCode === null && child.signalCode === null) child.kill("SIGKILL");
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
