import { type Fault, faultsOf } from "../fault.ts";

export const storeFolder: readonly Fault[] = [
  ...faultsOf(
    "store/filesystem",
    ["filesystem", "filesystem-space", "flushes", "leftovers", "root"]
      .map((name) => `unit/store/${name}`)
      .concat("contract/object-store"),
    [
      {
        name: "bytes-not-flushed",
        find: 'writeFile(staged, source, { flag: "wx", flush: durable })',
        replace: 'writeFile(staged, source, { flag: "wx" })',
        breaks: "bytes are on the disk before they have their name",
      },
      {
        name: "staging-file-not-flushed",
        find: "path = source.path;\n        if (durable) await flush(path);",
        replace: "path = source.path;",
        breaks: "a staging file is on the disk before it has its name",
      },
      {
        name: "copy-not-flushed",
        find: "if (durable) await flush(staged);",
        replace: "",
        breaks: "a copied file is on the disk before it has its name",
      },
      {
        name: "record-flushed",
        find: 'flag: "wx", flush: durable',
        replace: 'flag: "wx", flush: true',
        breaks: "what need not be durable costs no flush",
      },
      {
        name: "staging-file-copied",
        find: "} else if (dirname(source.path) === this.temporaryPath) {",
        replace: "} else if (source.size < 0) {",
        breaks: "a staging file is moved, not copied",
      },
      {
        name: "failed-put-leaves-a-file",
        find: "await rm(staged, { force: true }).catch(() => undefined);\n      throw new StoreError(`${key} could not be stored`",
        replace: "throw new StoreError(`${key} could not be stored`",
        breaks: "a put that fails leaves nothing",
      },
      {
        name: "copied-source-left",
        find: "await rm(source.path, { force: true }).catch(() => undefined);",
        replace: "",
        breaks: "a file that is stored is consumed",
      },
      {
        name: "foreign-folder-written",
        find: "await this.#becomeWritable();\n    const staged",
        replace: "const staged",
        breaks: "nothing is stored without the lock",
      },
      {
        name: "move-of-nothing",
        find: "if ((await this.head(from)) === undefined) return false;\n    await this",
        replace: "await this",
        breaks: "what is not there is not moved, and nothing is written for it",
      },
      {
        name: "moved-away-meanwhile-fails",
        find: "if (isAbsence(error) && (await this.head(from)) === undefined) return false;",
        replace: "",
        breaks: "what goes while it is being moved is absent",
      },
      {
        name: "move-not-flushed",
        find: "await placeAndFlush(source, target, true);",
        replace: "await placeAndFlush(source, target, false);",
        breaks: "a moved object outlives a power failure",
      },
      {
        name: "old-name-not-flushed",
        find: "await flushFolders(dirname(source), dirname(source));",
        replace: "",
        breaks: "a moved object is not at its old key after a power failure",
      },
      {
        name: "folder-deleted",
        find: "if ((await this.head(key)) === undefined) return;\n    await this.#becomeWritable();",
        replace: "await this.#becomeWritable();",
        breaks: "folders are no objects, and are not taken away",
      },
      {
        name: "dry-run-wants-to-write",
        find: "if (!dryRun) await this.#becomeWritable();\n    try {\n      return await this.#temporary",
        replace: "await this.#becomeWritable();\n    try {\n      return await this.#temporary",
        breaks: "a dry run finds leftovers also where nothing can be written",
      },
      {
        name: "space-of-the-privileged",
        find: "const { bsize, blocks, bavail } = await statfs(this.#root);",
        replace: "const { bsize, blocks, bfree: bavail } = await statfs(this.#root);",
        breaks: "what is free is what users without privileges have",
      },
      {
        name: "probe-leaves-a-file",
        find: "await rm(path, { force: true }).catch(() => undefined);\n    }\n  }",
        replace: "}\n  }",
        breaks: "the probe leaves no file",
      },
      {
        name: "probe-does-not-write",
        find: 'await writeFile(path, format, { flag: "wx" });',
        replace: "",
        breaks: "the probe says when nothing can be written",
      },
      {
        name: "close-does-not-wait",
        find: "await this.#temporary.idle();",
        replace: "",
        breaks: "the folder is given to others when nothing is being deleted any more",
      },
      {
        name: "lock-kept",
        find: "this.#lock?.release();",
        replace: "",
        breaks: "closing gives the folder to others",
      },
      {
        name: "owned-again-at-once",
        find: "if (this.#now() - this.#attemptEndedAt >= retryMs) this",
        replace: "this",
        breaks: "a folder that cannot be written is tried every few seconds, not with every put",
      },
      {
        name: "not-swept",
        find: "store.#swept = await store.#temporary.sweep();",
        replace: "",
        breaks: "what a killed process left unfinished is removed",
      },
      {
        name: "new-folders-not-flushed",
        find: "if (durable || made !== undefined) await",
        replace: "if (durable) await",
        breaks: "later objects in folders that are new outlive a power failure",
      },
      {
        name: "topmost-folder-not-flushed",
        find: "made === undefined ? folder : dirname(made)",
        replace: "folder",
        breaks: "folders that are new outlive a power failure",
      },
    ],
  ),
  ...faultsOf(
    "store/root",
    ["unit/store/root", "unit/store/filesystem", "unit/store/flushes"],
    [
      {
        name: "lock-kept-after-a-failure",
        find: "lock.release();\n    throw error;",
        replace: "throw error;",
        breaks: "a folder whose format cannot be written is not in use",
      },
      {
        name: "format-not-asked-again",
        find: "if (!(await expectOurs(root))) await writeFormat(root);",
        replace: "await writeFormat(root);",
        breaks: "a folder of another version is never written, also where it came meanwhile",
      },
      {
        name: "format-not-flushed",
        find: "format, { flush: true });",
        replace: "format);",
        breaks: "the format file outlives a power failure",
      },
      {
        name: "format-name-not-flushed",
        find: "await flushFolders(root, root);",
        replace: "",
        breaks: "the format file outlives a power failure",
      },
      {
        name: "other-data-taken",
        find: "if (!isOurs) await expectNothing(root);",
        replace: "",
        breaks: "another program's data is refused",
      },
      {
        name: "link-followed",
        find: "(!own.isSymbolicLink() && own.dev === info.dev)",
        replace: "own.dev === info.dev",
        breaks: "a link to somebody else's folder is not swept",
      },
      {
        name: "no-format-believed",
        find: "if (found === undefined || format.startsWith(found)) return false;",
        replace: "if (found === undefined || format.startsWith(found)) return true;",
        breaks: "a folder without a format file gets one",
      },
      {
        name: "key-leads-out",
        find: 'key.startsWith("/") || ',
        replace: "",
        breaks: "no key leads out of the folder",
      },
      {
        name: "flush-failure-fails-the-put",
        find: "await flush(path).catch(() => undefined);",
        replace: "await flush(path);",
        breaks: "an object that is in its place is stored",
      },
      {
        name: "flushed-file-left-open",
        find: "await handle.close();",
        replace: "",
        breaks: "what was flushed is closed",
      },
      {
        name: "failure-is-absence",
        find: "if (isAbsence(error)) return undefined;\n    throw new StoreError(message, error);",
        replace: "return undefined;",
        breaks: "what could not be told is no absence",
      },
    ],
  ),
  ...faultsOf(
    "store/lock",
    ["unit/store/lock"],
    [
      {
        name: "left-open",
        find: "database.close();\n    if",
        replace: "if",
        breaks: "who does not get the lock leaves no file open",
      },
      {
        name: "every-failure-is-a-lock",
        find: "if (error instanceof Error && /database is locked/.test(error.message)) return undefined;\n    throw error;",
        replace: "return undefined;",
        breaks: "a disk that fails is not another process",
      },
    ],
  ),
  ...faultsOf(
    "store/temporary-folder",
    ["unit/store/filesystem-space", "unit/store/leftovers"],
    [
      {
        name: "nothing-removed-on-a-full-disk",
        find: 'if (code === "ENOSPC" || code === "EDQUOT") {',
        replace: 'if (code === "EDQUOT") {',
        breaks: "removing makes room on a disk that is full",
      },
      {
        name: "absent-folder-is-absence",
        find: "if (isAbsence(error) && (await orAbsent(lstat(path), `${path} could not be looked up`)) === undefined) return;",
        replace: "if (isAbsence(error)) return;",
        breaks: "what could not be removed is told",
      },
      {
        name: "sweep-fails-with-the-disk",
        find: "} catch {\n      // A disk",
        replace: "} catch (error) {\n      throw error;\n      // A disk",
        breaks: "a disk that fails is served from all the same",
      },
      {
        name: "young-leftovers-removed",
        find: " || info.mtimeMs >= time) continue;",
        replace: ") continue;",
        breaks: "what is being written is no leftover",
      },
      {
        name: "dry-run-removes",
        find: "if (!dryRun && !(await this.#unlink(path))) continue;",
        replace: "if (!(await this.#unlink(path))) continue;",
        breaks: "a dry run changes nothing",
      },
      {
        name: "failed-removal-ends-all",
        find: "const removal = this.#removal\n      .catch(() => undefined)",
        replace: "const removal = this.#removal",
        breaks: "a removal that fails does not keep the next from its turn",
      },
      {
        name: "gone-already-fails",
        find: "if (isAbsence(error)) return false;\n          throw error;",
        replace: "throw error;",
        breaks: "what is gone already is no failure",
      },
    ],
  ),
  ...faultsOf(
    "store/folders",
    ["unit/store/filesystem-space", "unit/store/leftovers"],
    [
      {
        name: "put-fails-beside-a-clean-up",
        find: "const attempts = 10;",
        replace: "const attempts = 1;",
        breaks: "a put makes the folders again that a clean-up takes away",
      },
      {
        name: "lowest-folder-flushed",
        find: "topmost.length < made.length",
        replace: "topmost.length > made.length",
        breaks: "all folders that are new outlive a power failure",
      },
      {
        name: "put-of-nothing-tried-for-ever",
        find: "!isGone || left <= 1 || (await",
        replace: "!isGone || left <= -1e9 || (await",
        breaks: "a put that cannot be done ends",
      },
      {
        name: "dry-run-removes-folders",
        find: "(dryRun || (await removeFolder(folder)))",
        replace: "(await removeFolder(folder))",
        breaks: "a dry run changes nothing",
      },
      {
        name: "filled-meanwhile-fails",
        find: 'if (code === "ENOTEMPTY" || code',
        replace: "if (code",
        breaks: "a folder that is filled meanwhile stays",
      },
    ],
  ),
];
