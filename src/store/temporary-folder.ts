import { randomUUID } from "node:crypto";
import { lstat, opendir, rename, rm, unlink } from "node:fs/promises";
import { join } from "node:path";
import type { Removed } from "./local-upkeep.ts";
import { codeOf } from "./object-store.ts";
import { isAbsence, orAbsent } from "./root.ts";

/** The folder of what is not finished yet, and of what is being removed. */
export class TemporaryFolder {
  readonly path: string;
  #leftBytes = 0;
  /** The last of the removals that wait for each other. */
  #removal: Promise<unknown> = Promise.resolve();

  constructor(path: string) {
    this.path = path;
  }

  /** What an earlier process has left here and could not be removed, in bytes. */
  get leftBytes(): number {
    return this.#leftBytes;
  }

  /** A path for a new file. */
  newPath(): string {
    return join(this.path, randomUUID());
  }

  /**
   * Removes a file from where it is seen: at once by its name, then its bytes, for which it resolves. Absent is fine.
   *
   * @throws the system's error; after a failure midway the file is gone from its place, and is rubbish here.
   */
  async remove(path: string): Promise<void> {
    const doomed = this.newPath();
    try {
      await rename(path, doomed);
    } catch (error) {
      const code = codeOf(error);
      if (code === "ENOSPC" || code === "EDQUOT") {
        // A new name may take space, and this is how space is made.
        await this.#unlink(path);
        return;
      }
      // Absent may also be this folder.
      if (isAbsence(error) && (await orAbsent(lstat(path), `${path} could not be looked up`)) === undefined) return;
      throw error;
    }
    await this.#unlink(doomed);
  }

  /** Removes all that is here: a process that was killed left it. What cannot be removed stays. */
  async sweep(): Promise<Removed> {
    const removed = { count: 0, bytes: 0 };
    try {
      for await (const { name } of await opendir(this.path)) {
        const path = join(this.path, name);
        const { size } = await lstat(path);
        try {
          await rm(path, { recursive: true, force: true });
        } catch {
          this.#leftBytes += size;
          continue;
        }
        removed.count++;
        removed.bytes += size;
      }
    } catch {
      // A disk that fails here must not keep what it holds from being served; `removeOlder` tells of it.
    }
    return removed;
  }

  /**
   * Removes the files that were last written before `time`, in milliseconds since 1970; a dry run only finds them.
   *
   * @throws the system's error.
   */
  async removeOlder(time: number, dryRun: boolean): Promise<Removed> {
    const removed = { count: 0, bytes: 0 };
    for await (const { name } of await opendir(this.path)) {
      const path = join(this.path, name);
      const info = await orAbsent(lstat(path), `${path} could not be looked up`);
      if (info === undefined || !info.isFile() || info.mtimeMs >= time) continue;
      if (!dryRun && !(await this.#unlink(path))) continue;
      removed.count++;
      removed.bytes += info.size;
    }
    if (!dryRun) this.#leftBytes = Math.max(0, this.#leftBytes - removed.bytes);
    return removed;
  }

  /** Resolves when nothing is being removed. */
  async idle(): Promise<void> {
    await this.#removal.catch(() => undefined);
  }

  /**
   * Frees a file's space, after the files before it: for a large file that takes long, and one of the few threads on
   * which all that concerns files is done. False where it is gone already.
   */
  #unlink(path: string): Promise<boolean> {
    const removal = this.#removal
      .catch(() => undefined)
      .then(() => unlink(path))
      .then(
        () => true,
        (error: unknown) => {
          if (isAbsence(error)) return false;
          throw error;
        },
      );
    this.#removal = removal;
    return removal;
  }
}
