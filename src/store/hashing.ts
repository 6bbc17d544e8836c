import { Worker } from "node:worker_threads";
import { type Algorithm, type Digest, formatDigest } from "../oci/digest.ts";

/** What the pool sends to a worker; `end` and the order of messages say how far it may read. */
export type HashRequest =
  | { readonly id: number; readonly kind: "start"; readonly algorithm: Algorithm }
  | { readonly id: number; readonly kind: "file"; readonly path: string; readonly end: number }
  | { readonly id: number; readonly kind: "rest" }
  | { readonly id: number; readonly kind: "bytes"; readonly bytes: Uint8Array }
  | { readonly id: number; readonly kind: "peek" }
  | { readonly id: number; readonly kind: "digest" }
  | { readonly id: number; readonly kind: "drop" };

/** What a worker answers: that it has taken the bytes of a message, the hash in hex (so far), or why there is none. */
export type HashReply =
  | { readonly id: number; readonly taken: true }
  | { readonly id: number; readonly soFar: string }
  | { readonly id: number; readonly hex: string }
  | { readonly id: number; readonly error: string };

/**
 * A hash over one object: a file from its start, then (where the file could not take the rest) bytes by message.
 * `digest` or `drop` ends it.
 */
export interface RunningHash {
  /** The file at `path` holds the object's first `end` bytes; called again as it grows. */
  file(path: string, end: number): void;
  /** Nothing comes for a while: the file is closed when it is read as far as was told, until `file` tells of more. */
  rest(): void;
  /** The bytes that follow; they are copied. Resolves when they are hashed, so that who waits for it sends no flood. */
  bytes(bytes: Uint8Array): Promise<void>;
  /** The digest of all bytes so far, of which there may be more. Rejects as `digest` does. */
  soFar(): Promise<Digest>;
  /** The digest of all bytes so far, which ends it. Rejects when the file could not be read or the worker died. */
  digest(): Promise<Digest>;
  drop(): void;
}

interface Thread {
  readonly worker: Worker;
  jobs: number;
}

interface Job {
  readonly thread: Thread;
  readonly done: PromiseWithResolvers<string>;
  /** Who waits until its bytes are hashed, in order. */
  readonly sent: (() => void)[];
  /** Who waits for the hash so far, in order. */
  readonly peeking: PromiseWithResolvers<string>[];
}

/**
 * Hashing off the event loop: a few worker threads that read what is on disk (mostly still in the page cache), so that
 * a large blob never stalls the other clients. Threads start with the first hash and are replaced when they die.
 */
export class HashPool {
  readonly #size: number;
  readonly #threads: Thread[] = [];
  readonly #waiting = new Map<number, Job>();
  #nextId = 1;
  #closed = false;

  constructor(size: number) {
    this.#size = size;
  }

  /** Begins a hash. */
  start(algorithm: Algorithm): RunningHash {
    const thread = this.#thread();
    const id = this.#nextId++;
    const done = Promise.withResolvers<string>();
    // A failure before `digest` is called is reported when it is called.
    done.promise.catch(() => undefined);
    this.#waiting.set(id, { thread, done, sent: [], peeking: [] });
    thread.jobs++;
    const send = (request: HashRequest, transfer: ArrayBuffer[] = []): void => {
      if (this.#waiting.has(id)) thread.worker.postMessage(request, transfer);
    };
    send({ id, kind: "start", algorithm });
    return {
      file: (path, end) => send({ id, kind: "file", path, end }),
      rest: () => send({ id, kind: "rest" }),
      bytes: async (bytes) => {
        // A view takes all of the buffer behind it along, so what is sent is a copy of its part alone.
        const copy = new Uint8Array(bytes);
        send({ id, kind: "bytes", bytes: copy }, [copy.buffer]);
        // A hash that has ended takes nothing: `digest` says why.
        await new Promise<void>((resolve) => {
          const job = this.#waiting.get(id);
          if (job === undefined) resolve();
          else job.sent.push(resolve);
        });
      },
      soFar: async () => {
        const job = this.#waiting.get(id);
        if (job === undefined) return formatDigest(algorithm, await done.promise);
        const peek = Promise.withResolvers<string>();
        job.peeking.push(peek);
        send({ id, kind: "peek" });
        return formatDigest(algorithm, await peek.promise);
      },
      digest: async () => {
        send({ id, kind: "digest" });
        return formatDigest(algorithm, await done.promise);
      },
      drop: () => {
        send({ id, kind: "drop" });
        this.#settle(id, new Error("the hash was dropped"));
      },
    };
  }

  /** Ends the threads; hashes that run are rejected. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#threads.map((thread) => thread.worker.terminate()));
  }

  #thread(): Thread {
    if (this.#closed) throw new Error("the hash pool is closed");
    const idle = this.#threads.find((thread) => thread.jobs === 0);
    if (idle !== undefined) return idle;
    if (this.#threads.length < this.#size) return this.#spawn();
    return this.#threads.reduce((least, thread) => (thread.jobs < least.jobs ? thread : least));
  }

  #spawn(): Thread {
    const extension = import.meta.url.endsWith(".ts") ? "ts" : "js";
    const worker = new Worker(new URL(`./hash-worker.${extension}`, import.meta.url));
    const thread: Thread = { worker, jobs: 0 };
    worker.on("message", (reply: HashReply) => {
      if ("taken" in reply) this.#waiting.get(reply.id)?.sent.shift()?.();
      else if ("soFar" in reply) this.#waiting.get(reply.id)?.peeking.shift()?.resolve(reply.soFar);
      else this.#settle(reply.id, "hex" in reply ? reply.hex : new Error(reply.error));
    });
    let reason: Error | undefined;
    worker.on("error", (error: Error) => {
      reason = error;
    });
    worker.on("exit", () => {
      this.#threads.splice(this.#threads.indexOf(thread), 1);
      const error = new Error("the hash worker ended", { cause: reason });
      for (const [id, job] of this.#waiting) {
        if (job.thread === thread) this.#settle(id, error);
      }
    });
    // After the listeners: one for messages keeps the process alive again.
    worker.unref();
    this.#threads.push(thread);
    return thread;
  }

  #settle(id: number, outcome: string | Error): void {
    const job = this.#waiting.get(id);
    if (job === undefined) return;
    this.#waiting.delete(id);
    job.thread.jobs--;
    for (const taken of job.sent) taken();
    for (const waiting of [...job.peeking, job.done]) {
      if (outcome instanceof Error) waiting.reject(outcome);
      else waiting.resolve(outcome);
    }
  }
}
