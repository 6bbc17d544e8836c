import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { setTimeout as delay } from "node:timers/promises";

/** What the upstream was asked for, and the bytes of blobs that it sent. `active`: requests that it is answering now. */
export interface Counts {
  readonly blobGets: number;
  readonly blobBytes: number;
  readonly blobHeads: number;
  readonly manifestGets: number;
  readonly manifestHeads: number;
  readonly active: number;
}

/** What its process is told; it answers with its counts. 0 bytes a second: no limit. */
export interface Question {
  readonly bytesPerSecond?: number;
  readonly reset?: boolean;
}

/** The upstream registry of the bench, which runs in a process of its own. */
export class UpstreamRegistry {
  readonly host: string;
  readonly #process: ChildProcess;

  private constructor(child: ChildProcess, port: number) {
    this.#process = child;
    this.host = `127.0.0.1:${port}`;
  }

  /** Starts it on the files below `root`, without a limit to its rate. */
  static async start(root: string): Promise<UpstreamRegistry> {
    const child = fork(fileURLToPath(new URL("upstream-process.ts", import.meta.url)), [root]);
    const [message] = (await once(child, "message")) as [{ port: number }];
    return new UpstreamRegistry(child, message.port);
  }

  get origin(): string {
    return `http://${this.host}`;
  }

  /** Limits what each connection gets. `Infinity`: no limit. */
  async limit(bytesPerSecond: number): Promise<void> {
    await this.#ask({ bytesPerSecond: bytesPerSecond === Infinity ? 0 : bytesPerSecond });
  }

  /** Waits until nothing is being answered, then takes the counts since the last time. */
  async takeCounts(): Promise<Counts> {
    for (let waited = 0; waited < 120_000; waited += 100) {
      const { active } = await this.#ask({});
      if (active === 0) break;
      await delay(100);
    }
    return this.#ask({ reset: true });
  }

  async stop(): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const exited = once(this.#process, "exit");
    this.#process.kill("SIGTERM");
    await exited;
  }

  async #ask(question: Question): Promise<Counts> {
    const answer = once(this.#process, "message");
    this.#process.send(question);
    const [counts] = (await answer) as [Counts];
    return counts;
  }
}
