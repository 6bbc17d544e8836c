import { readdir, readFile, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { BucketBytes } from "../../src/hosted/bucket-bytes.ts";
import type { HostedBytes } from "../../src/hosted/bytes.ts";
import { FolderBytes } from "../../src/hosted/folder-bytes.ts";
import { HostedFiles } from "../../src/hosted/hosted-files.ts";
import { BufferPool } from "../../src/store/buffers.ts";
import { FilesystemStore } from "../../src/store/filesystem.ts";
import { HashPool } from "../../src/store/hashing.ts";
import { MemoryStore } from "../../src/store/memory.ts";
import type { DatedStore } from "../../src/store/object-store.ts";
import { MemoryBucket } from "./bucket.ts";
import { endlessSpace } from "./books.ts";
import { MemoryBytes } from "./memory-bytes.ts";
import { createTemporaryDirectory } from "./temporary.ts";

/** Where things are hosted, for a test that has its own time. */
export interface HostedPlace extends AsyncDisposable {
  /** Whether several processes may have it at a time. */
  readonly isShared: boolean;
  readonly store: DatedStore;
  readonly bytes: HostedBytes;
  /** Lets time pass. What a process remembers of a folder is wrong then: it has to be started again. */
  pass(ms: number): Promise<void>;
}

/** A place in memory, whose time is the test's; `isShared` as of a bucket. */
export async function memoryPlace(isShared: boolean): Promise<HostedPlace> {
  let now = Date.UTC(2026, 0, 1);
  const store = new MemoryStore(() => now);
  return {
    isShared,
    store,
    bytes: new MemoryBytes(store),
    pass: async (ms) => void (now += ms),
    [Symbol.asyncDispose]: () => store.close(),
  };
}

/** A bucket in memory, whose time is the test's. */
export async function bucketPlace(): Promise<HostedPlace> {
  let now = Date.UTC(2026, 0, 1);
  const store = new MemoryBucket(() => now);
  const hashes = new HashPool(1);
  const bytes = new BucketBytes({ store, hashes });
  return {
    isShared: true,
    store,
    bytes,
    pass: async (ms) => void (now += ms),
    async [Symbol.asyncDispose]() {
      await bytes.close();
      await hashes.close();
    },
  };
}

/** A folder, in which time passes by everything's becoming older. */
export async function folderPlace(): Promise<HostedPlace> {
  await using stack = new AsyncDisposableStack();
  const { path } = stack.use(await createTemporaryDirectory());
  const pool = new BufferPool();
  const files = stack.adopt(await FilesystemStore.open(path, pool), (each) => each.close());
  const hashes = stack.adopt(new HashPool(1), (each) => each.close());
  const store = stack.adopt(new HostedFiles(files, endlessSpace), (each) => each.close());
  const bytes = stack.adopt(new FolderBytes({ files: store, hashes, pool }), (each) => each.close());
  const opened = stack.move();
  return {
    isShared: false,
    store,
    bytes,
    pass: (ms) => ageHosted(path, ms),
    [Symbol.asyncDispose]: () => opened.disposeAsync(),
  };
}

/** Makes all that is hosted in a folder older. */
export async function ageHosted(root: string, ms: number): Promise<void> {
  for (const entry of await readdir(join(root, "hosted"), { recursive: true, withFileTypes: true }).catch(() => [])) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const { mtimeMs } = await stat(path);
    if (/hosted\/(?:names|repositories)\//.test(path)) {
      const older = (_: string, name: string, time: string): string => `"${name}":${Number(time) - ms}`;
      await writeFile(path, (await readFile(path, "utf8")).replaceAll(/"(at|pushedAt)":(\d+)/g, older));
    }
    const then = new Date(mtimeMs - ms);
    await utimes(path, then, then);
  }
}
