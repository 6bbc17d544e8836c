import { StoreError } from "../store/object-store.ts";

/** Whether the storage can be written now, and why not. */
export type StorageState = { readonly writable: true } | { readonly writable: false; readonly reason: string };

const longestMs = 1_000;

/**
 * Makes a question for the storage's state, which never rejects.
 *
 * Tries run one at a time, whoever asks, and no one waits for them longer than `waitMs`: a disk that hangs must neither
 * hang the probe nor take a thread with each of them.
 *
 * @param tryToWrite Writes a little; throws where that fails.
 */
export function watchStorage(tryToWrite: () => Promise<void>, waitMs: number = longestMs): () => Promise<StorageState> {
  let running: Promise<StorageState> | undefined;
  return async () => {
    running ??= tryOnce(tryToWrite).finally(() => (running = undefined));
    const late = Promise.withResolvers<StorageState>();
    const reason = `it did not answer in ${waitMs} ms`;
    const timer = setTimeout(() => late.resolve({ writable: false, reason }), waitMs);
    try {
      return await Promise.race([running, late.promise]);
    } finally {
      clearTimeout(timer);
    }
  };
}

async function tryOnce(tryToWrite: () => Promise<void>): Promise<StorageState> {
  try {
    await tryToWrite();
    return { writable: true };
  } catch (error) {
    const reason = error instanceof StoreError ? `${error.message} (${error.code ?? "unknown"})` : String(error);
    return { writable: false, reason };
  }
}
