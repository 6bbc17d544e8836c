import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { open } from "node:fs/promises";
import { promisify } from "node:util";
import { createTemporaryDirectory } from "./temporary.ts";

const run = promisify(execFile);

export const megabyte = 1024 * 1024;

/** A file system of so many MiB, until it goes out of scope. */
export async function mountSmall(megabytes: number): Promise<{ readonly path: string } & AsyncDisposable> {
  const folder = await createTemporaryDirectory();
  await run("mount", ["-t", "tmpfs", "-o", `size=${megabytes}m`, "tmpfs", folder.path]);
  return {
    path: folder.path,
    async [Symbol.asyncDispose]() {
      await run("umount", ["--lazy", folder.path]);
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** Writes a file until the disk takes no more. */
export async function fillUp(path: string): Promise<void> {
  await using file = await open(path, "w");
  for (const size of [megabyte, 4096]) {
    try {
      for (;;) await file.write(Buffer.alloc(size));
    } catch (error) {
      assert.equal((error as NodeJS.ErrnoException).code, "ENOSPC");
    }
  }
}
