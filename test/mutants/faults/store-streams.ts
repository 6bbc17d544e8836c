import { type Fault, faultsOf } from "../fault.ts";

export const storeStreams: readonly Fault[] = [
  ...faultsOf(
    "store/spool",
    ["unit/store/spool"],
    [
      {
        name: "file-made-for-nothing",
        find: "this.path = join(folder, randomUUID());\n    this.#options = options;",
        replace:
          'this.path = join(folder, randomUUID());\n    this.#options = options;\n    this.#opening = open(this.path, "wx+");',
        breaks: "a spool that is never written to makes no file",
      },
      {
        name: "discarded-file-left",
        find: "await rm(this.path, { force: true }).catch(() => undefined);",
        replace: "",
        breaks: "what is given up leaves no file",
      },
      {
        name: "made-after-it-is-discarded",
        find: "await this.#opening?.catch(() => undefined);\n",
        replace: "",
        breaks: "a discarded spool leaves no file",
      },
      {
        name: "file-left-open",
        find: "if (this.#readers.size === 0) await this.#closeFile();\n    await rm",
        replace: "await rm",
        breaks: "a spool that nobody reads closes its file",
      },
      {
        name: "staged-reader-keeps-its-place",
        find: "close: () => this.leave(reader),",
        replace: "close: async () => undefined,",
        breaks: "who has read a staged file leaves nothing open",
      },
      {
        name: "last-reader-leaves-it-open",
        find: "if (this.#discarded && this.#readers.size === 0) await this.#closeFile();",
        replace: "",
        breaks: "the last reader closes the file",
      },
      {
        name: "first-reader-closes-it",
        find: "if (this.#discarded && this.#readers.size === 0) await",
        replace: "if (this.#discarded) await",
        breaks: "readers that are there go on when the spool is discarded",
      },
      {
        name: "window-grows",
        find: "while (this.#window.isFull && (this",
        replace: "while (this.#window.oldest === null && (this",
        breaks: "the memory of a fill is bounded",
      },
      {
        name: "laggard-waited-for",
        find: "if (!needed || isOver) {",
        replace: "if (!needed) {",
        breaks: "a reader that lags loses its place",
      },
      {
        name: "laggard-not-waited-for",
        find: "isOver = bytes < this.#options.windowBytes * leastShare;",
        replace: "isOver = true;",
        breaks: "readers that take enough keep their places",
      },
      {
        name: "out-of-order-lost",
        find: "if (!inOrder) throw this.#detached;",
        replace: "",
        breaks: "bytes out of order need the file",
      },
      {
        name: "second-reason-counts",
        find: "this.#detached ??= reason;",
        replace: "this.#detached = reason;",
        breaks: "the first reason of a detached spool counts",
      },
      {
        name: "partial-write-is-whole",
        find: "for (let done = 0; done < bytes.length;) {",
        replace: "for (let done = 0; done === 0 && bytes.length > 0;) {",
        breaks: "what the system takes in parts is written in parts",
      },
      {
        name: "finished-reader-holds-up",
        find: "reader.position = Infinity;",
        replace: "",
        breaks: "no byte is kept for a reader that has its own",
      },
      {
        name: "failure-before-the-bytes",
        find: "signal.throwIfAborted();\n      const chunk",
        replace:
          "signal.throwIfAborted();\n      if (this.#failure !== undefined) throw this.#failure;\n      const chunk",
        breaks: "readers get what is here before the failure",
      },
      {
        name: "aborted-reader-goes-on",
        find: "signal.throwIfAborted();\n      const chunk",
        replace: "const chunk",
        breaks: "a reader ends when its client leaves",
      },
      {
        name: "buffer-kept",
        find: "this.#options.pool.release(buffer);",
        replace: "",
        breaks: "buffers come back",
      },
      {
        name: "serves-what-is-gone",
        find: "if (this.#discarded && this.#file === undefined) return false;",
        replace: "",
        breaks: "nobody joins a fill that has given its file up",
      },
      {
        name: "short-file-is-complete",
        find: "if (bytesRead === 0) throw",
        replace: "if (bytesRead < 0) throw",
        breaks: "a staging file that was cut is an error",
      },
    ],
  ),
  ...faultsOf(
    "concurrency/keyed-queue",
    ["unit/registry/records", "unit/registry/content", "unit/registry/removal"],
    [
      {
        name: "writes-overtake",
        find: "before === undefined ? work() : before.then(work)",
        replace: "work()",
        breaks: "writes of a key come one after the other",
      },
    ],
  ),
  ...faultsOf(
    "concurrency/changes",
    ["unit/store/spool"],
    [
      {
        name: "listener-left",
        find: 'signal.removeEventListener("abort", abort);',
        replace: "",
        breaks: "a long fill leaves no listener for each chunk",
      },
    ],
  ),
  ...faultsOf(
    "store/spool-window",
    ["unit/store/spool"],
    [
      {
        name: "overhead-not-counted",
        find: "const chunkOverheadBytes = 256;",
        replace: "const chunkOverheadBytes = 0;",
        breaks: "a body in chunks of one byte does not fill the memory",
      },
      {
        name: "dropped-still-counted",
        find: "if (oldest !== undefined) this.#sizeBytes -= oldest.bytes.length + chunkOverheadBytes;",
        replace: "",
        breaks: "the window holds as much as it may",
      },
    ],
  ),
  ...faultsOf(
    "store/segments",
    ["unit/store/segments"],
    [
      {
        name: "gap-closed",
        find: "span.start <= last.end) {",
        replace: "span.start <= last.end + 1) {",
        breaks: "a byte that has not come is not there",
      },
      {
        name: "overlap-lost",
        find: "last.end = Math.max(last.end, span.end);",
        replace: "last.end = span.end;",
        breaks: "what is here stays",
      },
      {
        name: "neighbours-apart",
        find: "known.start <= end; known",
        replace: "known.start < end; known",
        breaks: "neighbours are one",
      },
    ],
  ),
  ...faultsOf(
    "store/hashing",
    ["unit/store/hashing"],
    [
      {
        name: "bytes-not-copied",
        find: "const copy = new Uint8Array(bytes);",
        replace: "const copy = bytes as Uint8Array<ArrayBuffer>;",
        breaks: "the caller's buffer stays the caller's",
      },
      {
        name: "flood",
        find: "else job.sent.push(resolve);",
        replace: "else resolve();",
        breaks: "who sends bytes waits until they are hashed",
      },
      {
        name: "dead-thread-hangs",
        find: "if (job.thread === thread) this.#settle(id, error);",
        replace: "",
        breaks: "hashes of a thread that died are rejected",
      },
      {
        name: "dead-thread-used",
        find: "this.#threads.splice(this.#threads.indexOf(thread), 1);",
        replace: "",
        breaks: "a thread that died is replaced",
      },
      {
        name: "one-thread",
        find: "if (this.#threads.length < this.#size) return",
        replace: "if (this.#threads.length < 1) return",
        breaks: "hashes run side by side",
      },
      {
        name: "too-many-threads",
        find: "if (this.#threads.length < this.#size) return",
        replace: "if (this.#threads.length < 1e9) return",
        breaks: "there are no more threads than were asked for",
      },
      {
        name: "keeps-the-process",
        find: "worker.unref();",
        replace: "",
        breaks: "a pool keeps no process alive",
      },
      {
        name: "starts-after-close",
        find: "if (this.#closed) throw",
        replace: "if (this.#size < 0) throw",
        breaks: "a closed pool starts no thread",
      },
      {
        name: "job-never-over",
        find: "job.thread.jobs--;",
        replace: "",
        breaks: "an idle thread is used first",
      },
      {
        name: "waiters-left",
        find: "for (const taken of job.sent) taken();",
        replace: "",
        breaks: "who sends bytes to a hash that has ended is let go",
      },
    ],
  ),
  ...faultsOf(
    "store/hash-worker",
    ["unit/store/hashing"],
    [
      {
        name: "file-left-open",
        find: "if (job.fd !== undefined) closeSync(job.fd);",
        replace: "",
        breaks: "a hash closes its file",
      },
      {
        name: "short-file-is-complete",
        find: "if (count === 0) throw",
        replace: "if (count < 0) throw",
        breaks: "a file that is too short has no digest",
      },
      {
        name: "failure-not-told",
        find: "reply({ id, error: error instanceof Error ? error.message : String(error) });",
        replace: "",
        breaks: "a file that cannot be read is told",
      },
    ],
  ),
];
