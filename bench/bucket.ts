import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";

/** What the bucket's server was asked for, as `PutObject blobs`, and what it has. */
export interface BucketCounts {
  readonly requests: Readonly<Record<string, number>>;
  /** Requests that it is answering now. */
  readonly active: number;
  readonly keys: readonly string[];
  readonly openUploads: number;
}

/** What its process is told; it answers with its counts. */
export interface BucketQuestion {
  readonly reset?: boolean;
}

/** How long nothing has to be asked for to take it that nothing more will be. */
const quietMs = 500;

/** The server of a bucket, in a process of its own: it counts, and keeps what is small. */
export class BucketServer implements AsyncDisposable {
  readonly endpoint: string;
  readonly #process: ChildProcess;

  private constructor(child: ChildProcess, port: number) {
    this.#process = child;
    this.endpoint = `http://127.0.0.1:${port}`;
  }

  static async start(): Promise<BucketServer> {
    const child = fork(fileURLToPath(new URL("bucket-process.ts", import.meta.url)), []);
    const [message] = (await once(child, "message")) as [{ port: number }];
    return new BucketServer(child, message.port);
  }

  /** What Entrepot is told of it, as `storage.s3`. */
  get settings(): object {
    return { bucket: "bench", endpoint: this.endpoint, access_key: "bench", secret_key: "bench" };
  }

  /** Waits until nothing is asked for any more, then takes the counts since the last time. */
  async takeCounts(limitMs = 120_000): Promise<BucketCounts> {
    const sumOf = ({ requests }: BucketCounts): number => Object.values(requests).reduce((sum, each) => sum + each, 0);
    let before = await this.look();
    for (let waited = 0; waited < limitMs; waited += quietMs) {
      await delay(quietMs);
      const now = await this.look();
      if (now.active === 0 && sumOf(now) === sumOf(before)) return this.#ask({ reset: true });
      before = now;
    }
    throw new Error(`the bucket is still asked for something after ${limitMs} ms`);
  }

  /** The counts as they are now. */
  look(): Promise<BucketCounts> {
    return this.#ask({});
  }

  /** Waits until content is in the bucket. */
  async stored(digests: readonly string[], limitMs: number): Promise<void> {
    const wanted = digests.map((digest) => {
      const hex = digest.replace(/^sha256:/, "");
      return `blobs/sha256/${hex.slice(0, 2)}/${hex.slice(2)}`;
    });
    for (let waited = 0; waited < limitMs; waited += 100) {
      const keys = new Set((await this.look()).keys);
      if (wanted.every((key) => keys.has(key))) return;
      await delay(100);
    }
    throw new Error(`${wanted.length} blobs were not all in the bucket after ${limitMs} ms`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const exited = once(this.#process, "exit");
    this.#process.kill("SIGTERM");
    await exited;
  }

  async #ask(question: BucketQuestion): Promise<BucketCounts> {
    const answer = once(this.#process, "message");
    this.#process.send(question);
    const [counts] = (await answer) as [BucketCounts];
    return counts;
  }
}
