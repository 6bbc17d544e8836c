import { type Fault, faultsOf } from "../fault.ts";

/** Chosen later by another one who had not read the tests; these were noticed by none. */
export const chosenAgain: readonly Fault[] = [
  ...faultsOf(
    "jobs/evict",
    ["unit/jobs/evict-runs"],
    [
      {
        name: "job-outlives-closing",
        find: "const stop = AbortSignal.any([signal, this.#stopping.signal]);",
        replace: "const stop = signal;",
        breaks: "close stops an eviction job after the object that it is at",
      },
    ],
  ),
  ...faultsOf(
    "jobs/schedule",
    ["unit/jobs/schedule"],
    [
      {
        name: "listener-left",
        find: '    signal.removeEventListener("abort", cancel);\n',
        replace: "",
        breaks: "a job that has ended leaves no listener behind",
      },
    ],
  ),
  ...faultsOf(
    "jobs/warm-image",
    ["unit/jobs/warm-image"],
    [
      {
        name: "ambiguous-below-an-index",
        find: "if (manifest.isAmbiguous) {",
        replace: "if (manifest.isAmbiguous && isRoot) {",
        breaks: "an image of an index that can be read in more than one way is not pulled",
      },
    ],
  ),
  ...faultsOf(
    "jobs/purge-target",
    ["unit/jobs/purge-target"],
    [
      {
        name: "localhost-is-a-repository",
        find: ' || text === "localhost"',
        replace: "",
        breaks: "localhost alone is taken for a registry",
      },
    ],
  ),
  ...faultsOf(
    "jobs/verify-records",
    ["unit/jobs/verify-running"],
    [
      {
        name: "gone-tag-is-torn",
        find: '          if (record === "absent") return;\n',
        replace: "",
        breaks: "a tag that goes while it is looked at is no torn one",
      },
    ],
  ),
  ...faultsOf(
    "store/buffers",
    ["unit/store/buffers"],
    [
      {
        name: "lent-again-is-still-spare",
        find: "    this.#freeBytes -= size;\n",
        replace: "",
        breaks: "buffers that are lent again do not count as spare",
      },
    ],
  ),
  ...faultsOf(
    "store/thread-reader",
    ["unit/store/thread-reader"],
    [
      {
        name: "folder-for-an-object-left-open",
        find: "      closeSync(file);\n      return undefined;",
        replace: "      return undefined;",
        breaks: "the ledger's reader leaves no folder open that stands in an object's place",
      },
    ],
  ),
  ...faultsOf(
    "store/hashing",
    ["unit/store/hashing"],
    [
      {
        name: "busiest-thread-first",
        find: "thread.jobs < least.jobs ? thread : least",
        replace: "thread.jobs < least.jobs ? least : thread",
        breaks: "a hash goes to the thread that has fewest, where all are busy",
      },
    ],
  ),
  ...faultsOf(
    "store/read-whole",
    ["unit/store/read-whole"],
    [
      {
        name: "small-ones-from-the-pool",
        find: "Buffer.allocUnsafeSlow(object.sizeBytes)",
        replace: "Buffer.allocUnsafe(object.sizeBytes)",
        breaks: "a small record that is kept keeps no more memory than its own",
      },
    ],
  ),
  ...faultsOf(
    "store/content-records",
    ["unit/store/content-records"],
    [
      {
        name: "page-without-document",
        find: 'if (!isObject(page) || !isObject(page["document"])) return false;',
        replace: "if (!isObject(page)) return false;",
        breaks: "a page without a document is none",
      },
    ],
  ),
  ...faultsOf(
    "ledger/client",
    ["unit/ledger/thread"],
    [
      {
        name: "waiting-batch-held",
        find: "of [...this.#batches.values(), this.#next]) told.resolve()",
        replace: "of this.#batches.values()) told.resolve()",
        breaks: "who has told what waits for a batch is let go when the thread dies",
      },
    ],
  ),
  ...faultsOf(
    "ledger/keeper",
    ["unit/ledger/keeper"],
    [
      {
        name: "rebuild-waits-for-ever",
        find: "    this.#rebuild.refuse(this.#failure);\n",
        replace: "",
        breaks: "a rebuild that was asked for ends when the ledger fails",
      },
    ],
  ),
  ...faultsOf(
    "ledger/reconcile",
    ["unit/ledger/client"],
    [
      {
        name: "unreadable-counted-on",
        find: "    unreadable = 0;\n    return done;",
        replace: "    return done;",
        breaks: "what cannot be read is counted once",
      },
    ],
  ),
  ...faultsOf(
    "ledger/scan",
    ["unit/ledger/scan"],
    [
      {
        name: "records-of-any-size",
        find: "const bytes = await read(files, key, maxRecordBytes);",
        replace: "const bytes = await read(files, key, Infinity);",
        breaks: "a record that is as large as a blob is not read into memory",
      },
    ],
  ),
  ...faultsOf(
    "http/connections",
    ["http/connections"],
    [
      {
        name: "left-clients-wait",
        find: '    socket.once("close", () => this.#forget());\n',
        replace: "",
        breaks: "requests of a client that has left do not count as waiting",
      },
      {
        name: "half-closed-looked-after-for-ever",
        find: '    socket.once("close", () => clearInterval(timer));\n',
        replace: "",
        breaks: "a half-closed connection leaves no timer",
      },
    ],
  ),
  ...faultsOf(
    "http/handler",
    ["http/listings"],
    [
      {
        name: "referrers-of-nothing-in-the-log",
        find: 'if ("digest" in endpoint) facts.reference = endpoint.digest;',
        replace: "",
        breaks: "the log says whose referrers were asked for",
      },
    ],
  ),
  ...faultsOf(
    "http/admin",
    ["http/admin"],
    [
      {
        name: "json-by-its-beginning",
        find: "/^application\\/json *(?:;|$)/i",
        replace: "/^application\\/json/i",
        breaks: "only application/json is taken for JSON, not what begins so",
      },
    ],
  ),
  ...faultsOf(
    "upstream/absences",
    ["unit/upstream/absences"],
    [
      {
        name: "questions-kept",
        find: "if (--equal.questions === 0) asking.delete(key);",
        replace: "--equal.questions;",
        breaks: "of questions that were answered nothing is kept but absences",
      },
    ],
  ),
  ...faultsOf(
    "app/maintenance",
    ["flow/warm"],
    [
      {
        name: "bad-line-warms-nothing",
        find: "error instanceof ImageListError ? error.images : []",
        replace: "[]",
        breaks: "a list with a bad line warms its other images",
      },
    ],
  ),
];
