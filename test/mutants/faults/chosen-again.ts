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
    ],
  ),
];
