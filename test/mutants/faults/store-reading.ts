import { type Fault, faultsOf } from "../fault.ts";

export const storeReading: readonly Fault[] = [
  ...faultsOf(
    "store/filesystem-reader",
    ["unit/store/filesystem", "unit/store/filesystem-space", "contract/object-store"],
    [
      {
        name: "folder-opened",
        find: "if (!info.isFile()) {\n        await file.close();\n        return undefined;\n      }",
        replace: "",
        breaks: "folders are no objects",
      },
      {
        name: "folder-left-open",
        find: "if (!info.isFile()) {\n        await file.close();",
        replace: "if (!info.isFile()) {",
        breaks: "what is no object is closed",
      },
      {
        name: "unreadable-left-open",
        find: "await file.close().catch(() => undefined);\n      throw",
        replace: "throw",
        breaks: "a file that cannot be looked at is closed",
      },
      {
        name: "caretaker-uses",
        find: 'if (this.#notesUse) return open(path, "r");',
        replace: 'return open(path, "r");',
        breaks: "what looks after objects does not make them look used",
      },
      {
        name: "only-the-owner-reads",
        find: 'if (codeOf(error) !== "EPERM") throw error;',
        replace: "throw error;",
        breaks: "files of another user are read",
      },
      {
        name: "folders-left-open",
        find: "await names.close().catch(() => undefined);",
        replace: "",
        breaks: "who leaves a listing early leaves no folder open",
      },
      {
        name: "use-not-noted",
        find: "Math.max(mtimeMs, atimeMs)",
        replace: "mtimeMs",
        breaks: "what was read counts as used",
      },
      {
        name: "folders-listed",
        find: "if (!info.isFile()) return undefined;\n  const",
        replace: "const",
        breaks: "folders are no objects",
      },
    ],
  ),
  ...faultsOf(
    "store/ordered-listing",
    ["contract/object-store", "unit/store/ordered-listing", "unit/store/filesystem", "unit/store/thread-reader"],
    [
      {
        name: "first-folder-unreadable-is-empty",
        find: "if (isWithin) await enter(prefix);",
        replace: "if (isWithin) await enter(prefix).catch(skip);",
        breaks: "a listing of which nothing can be read fails",
      },
      {
        name: "unreadable-not-told",
        find: "if (onUnreadable === undefined || !(error instanceof StoreError)) throw error;\n",
        replace: "if (onUnreadable === undefined) return undefined;\n",
        breaks: "what cannot be told is an error",
      },
      {
        name: "folders-in-the-order-of-files",
        find: "const name = entry.isDirectory() ? `${entry.name}/` : entry.name;\n    if",
        replace: "const name = entry.name;\n    if",
        breaks: "a listing is in the order of the keys",
      },
      {
        name: "goes-on-behind-a-folder",
        find: '&& !(after.startsWith(name) && name.endsWith("/") && after !== name)',
        replace: "",
        breaks: "a listing goes on within a folder",
      },
      {
        name: "folder-entered-again",
        find: " && after !== name)) continue",
        replace: ")) continue",
        breaks: "what is listed is listed once",
      },
      {
        name: "rest-of-a-large-folder-left-out",
        find: "names.length = mostNames;\n    isWhole = false;",
        replace: "names.length = mostNames;",
        breaks: "a folder of any size is listed to its end",
      },
      {
        name: "other-prefix-listed",
        find: "after === undefined || after < `${prefix}/` ||",
        replace: "",
        breaks: "a listing without a start lists everything",
      },
    ],
  ),
  ...faultsOf(
    "store/file-reader",
    ["unit/store/file-reader"],
    [
      {
        name: "buffer-lent-while-it-is-written",
        find: "await pending?.catch(() => undefined);\n    for",
        replace: "for",
        breaks: "no client gets another's bytes",
      },
      {
        name: "read-into-the-chunk-in-use",
        find: "pair[(turn + 1) % 2] ?? first, position",
        replace: "current, position",
        breaks: "a chunk is valid until the next one is asked for",
      },
      {
        name: "buffers-kept",
        find: "for (const buffer of pair) pool.release(buffer);",
        replace: "",
        breaks: "buffers come back",
      },
      {
        name: "short-file-is-complete",
        find: "if (bytesRead === 0) throw",
        replace: "if (bytesRead < 0) throw",
        breaks: "a file that is too short is an error",
      },
      {
        name: "two-small-buffers",
        find: "left > 0 && first.length >= overlapBytes",
        replace: "left > 0",
        breaks: "many readers hold one small buffer each",
      },
      {
        name: "buffer-for-nothing",
        find: "left > 0 && first.length >= overlapBytes",
        replace: "first.length >= overlapBytes",
        breaks: "no second buffer is lent where one is enough",
      },
      {
        name: "reads-beyond-the-span",
        find: "Math.min(buffer.length, end - position)",
        replace: "buffer.length",
        breaks: "a span's bytes come exactly",
      },
    ],
  ),
  ...faultsOf(
    "store/buffers",
    ["unit/store/buffers"],
    [
      {
        name: "too-much-kept",
        find: "if (this.#freeBytes + size > spare) return;",
        replace: "",
        breaks: "buffers that nobody uses take bounded memory",
      },
      {
        name: "always-large",
        find: "(this.#budgetBytes - this.#lentBytes) / 8",
        replace: "this.#budgetBytes",
        breaks: "what is lent stays near the budget",
      },
      {
        name: "never-used-again",
        find: "this.#free.get(size)?.pop()",
        replace: "this.#free.get(size)?.at(size)",
        breaks: "buffers are used again",
      },
      {
        name: "lent-twice",
        find: "this.#free.get(size)?.pop()",
        replace: "this.#free.get(size)?.at(-1)",
        breaks: "a buffer is lent to one at a time",
      },
    ],
  ),
  ...faultsOf(
    "store/metered",
    ["unit/store/metered"],
    [
      {
        name: "reads-not-told",
        find: 'if (error instanceof StoreError) onFailure("read", error);',
        replace: "",
        breaks: "reads that fail are counted",
      },
      {
        name: "failures-not-told",
        find: "if (error instanceof StoreError) onFailure(operation, error);",
        replace: "",
        breaks: "operations that fail are counted",
      },
      {
        name: "put-not-durable",
        find: "store.put(key, source, options)",
        replace: "store.put(key, source)",
        breaks: "a metered store does what it is asked",
      },
      {
        name: "unreadable-not-passed-on",
        find: "store.list(prefix, options)",
        replace: "store.list(prefix)",
        breaks: "a metered store does what it is asked",
      },
    ],
  ),
  ...faultsOf(
    "store/thread-reader",
    ["unit/store/thread-reader", "unit/store/filesystem-space"],
    [
      {
        name: "holds-its-thread",
        find: "if (performance.now() < this.#sliceEndsAt) return;",
        replace: "return;",
        breaks: "whatever else there is to do in the thread gets its turn",
      },
      {
        name: "file-left-open",
        find: "close: async () => closeSync(file)",
        replace: "close: async () => undefined",
        breaks: "what was read is closed",
      },
      {
        name: "folder-left-open",
        find: "folder.closeSync();",
        replace: "",
        breaks: "what was listed is closed",
      },
      {
        name: "reading-is-use",
        find: "return openSync(path, readQuietly);",
        replace: 'return openSync(path, "r");',
        breaks: "a scan does not make everything look used",
      },
      {
        name: "short-file-is-complete",
        find: "if (count === 0) throw",
        replace: "if (count < 0) throw",
        breaks: "a file that was cut is an error",
      },
    ],
  ),
];
