import { DatabaseSync } from "node:sqlite";

/** A lock that is held until `release`, or until the process ends in whatever way. */
export interface Lock {
  release(): void;
}

/**
 * Takes the lock at `path`, or returns `undefined` where another process has it. Node offers no file locks; SQLite's
 * exclusive lock is the kernel's, so it goes with the process (SIGKILL too) and is never stale as a file with a
 * process id would be.
 *
 * @throws the system's error, where the file cannot be opened or written.
 */
export function acquireLock(path: string): Lock | undefined {
  const database = new DatabaseSync(path, { timeout: 0 });
  try {
    database.exec("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE");
  } catch (error) {
    database.close();
    if (error instanceof Error && /database is locked/.test(error.message)) return undefined;
    throw error;
  }
  return { release: () => database.close() };
}
