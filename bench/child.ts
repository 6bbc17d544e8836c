import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync, readdirSync, readFileSync, readSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { createServer } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

// USER_HZ: what /proc counts in, on every Linux that Node runs on.
const ticksPerSecond = 100;

const running = new Set<ChildProcess>();
// However the bench ends, no server outlives it.
process.on("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

/** Resident memory in bytes: now, and at its highest since the start or the last `resetPeak`. */
export interface Memory {
  readonly rss: number;
  readonly peak: number;
}

/** A process that the bench started, with its children. It is ended by its id, never by name. */
export class Child {
  readonly pid: number;
  readonly #process: ChildProcess;
  readonly #command: string;
  readonly #logPath: string;
  readonly #exited: Promise<unknown>;

  /** Starts `command`; what it prints goes to the file `logPath`. `env` is added to the environment. */
  constructor(command: string, args: readonly string[], logPath: string, env: Readonly<Record<string, string>> = {}) {
    const log = openSync(logPath, "a");
    this.#process = spawn(command, args, { stdio: ["ignore", log, log], env: { ...process.env, ...env } });
    closeSync(log);
    this.#command = command;
    this.#logPath = logPath;
    this.#exited = Promise.race([once(this.#process, "exit"), once(this.#process, "error").catch(() => undefined)]);
    running.add(this.#process);
    this.#process.once("exit", () => running.delete(this.#process));
    if (this.#process.pid === undefined) throw new Error(`${command} could not be started`);
    this.pid = this.#process.pid;
  }

  /** Waits until `url` answers 200; resolves to the time that took, in milliseconds. */
  async ready(url: string, limitMs = 15_000): Promise<number> {
    const started = performance.now();
    for (;;) {
      if ((await probe(url)) === 200) return performance.now() - started;
      if (this.#process.exitCode !== null) throw new Error(`${this.#command} ended:\n${this.#logTail()}`);
      if (performance.now() - started > limitMs) {
        throw new Error(`${url} is not ready after ${limitMs} ms:\n${this.#logTail()}`);
      }
      await delay(3);
    }
  }

  /** CPU seconds, user and system, of the process and its living and dead children, all threads included. */
  cpuSeconds(): number {
    let ticks = 0;
    for (const pid of this.#tree()) {
      const fields = statFields(pid);
      ticks += Number(fields[11]) + Number(fields[12]);
      if (pid === this.pid) ticks += Number(fields[13]) + Number(fields[14]);
    }
    return ticks / ticksPerSecond;
  }

  /** Memory of the process and its children, summed; pages that several of them share count for each. */
  memory(): Memory {
    let rss = 0;
    let peak = 0;
    for (const pid of this.#tree()) {
      const status = readFileSync(`/proc/${pid}/status`, "utf8");
      rss += Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
      peak += Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1] ?? 0) * 1024;
    }
    return { rss, peak };
  }

  /** Makes `memory().peak` begin anew. */
  resetPeak(): void {
    for (const pid of this.#tree()) writeFileSync(`/proc/${pid}/clear_refs`, "5");
  }

  /** Waits until the process prints a line that contains `text`, and resolves to that line. */
  async printed(text: string, limitMs: number): Promise<string> {
    const started = performance.now();
    const log = openSync(this.#logPath, "r");
    try {
      const chunk = Buffer.alloc(1024 * 1024);
      for (let rest = ""; performance.now() - started < limitMs;) {
        const count = readSync(log, chunk);
        const lines = (rest + chunk.toString("latin1", 0, count)).split("\n");
        rest = lines.pop() ?? "";
        const found = lines.find((line) => line.includes(text));
        if (found !== undefined) return found;
        if (count === 0) await delay(100);
        if (this.#process.exitCode !== null) break;
      }
    } finally {
      closeSync(log);
    }
    throw new Error(`${this.#command} did not print "${text}":\n${this.#logTail()}`);
  }

  /** Ends the process at once, as a crash would. */
  async kill(): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#exited;
  }

  /** Ends the process: politely, then by force. */
  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    this.#process.kill("SIGTERM");
    const timer = setTimeout(() => this.#process.kill("SIGKILL"), 5_000);
    await this.#exited;
    clearTimeout(timer);
  }

  #tree(): number[] {
    const parents = new Map<number, number>();
    for (const name of readdirSync("/proc")) {
      if (!/^\d+$/.test(name)) continue;
      try {
        parents.set(Number(name), Number(statFields(Number(name))[1]));
      } catch {
        // It ended meanwhile.
      }
    }
    const tree = [this.pid];
    for (const member of tree) {
      for (const [pid, parent] of parents) if (parent === member) tree.push(pid);
    }
    return tree;
  }

  #logTail(): string {
    return readFileSync(this.#logPath, "utf8").split("\n").slice(-15).join("\n");
  }
}

/** A TCP port of the loopback interface that was free a moment ago. */
export async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

/** The fields of `/proc/<pid>/stat` from the state on: the name before them may contain anything. */
function statFields(pid: number): string[] {
  const text = readFileSync(`/proc/${pid}/stat`, "utf8");
  return text.slice(text.lastIndexOf(")") + 2).split(" ");
}

/** The status that `url` answers with; `undefined` where nothing answers. */
function probe(url: string): Promise<number | undefined> {
  return new Promise((resolve) => {
    const sent = request(url, { agent: false, timeout: 2_000 }, (response) => {
      response.resume();
      resolve(response.statusCode);
    });
    sent.on("timeout", () => sent.destroy());
    sent.on("error", () => resolve(undefined));
    sent.end();
  });
}
