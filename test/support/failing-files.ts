import fs from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";

const reading = ["readFile", "readdir", "stat", "lstat", "opendir"] as const;
const writing = ["writeFile", "rename", "mkdir", "copyFile", "link", "rm", "unlink"] as const;

/** What fails: looking at files and opening them to be read, or everything that changes something. */
export type FileUse = "read" | "write";

/**
 * Has the file system fail with `code` (`EROFS`, …) for whatever this process does with paths below `folder`, until the
 * result is disposed of. Files that are open stay as they are, and other threads are not concerned.
 */
export function failFiles(folder: string, code: string, uses: readonly FileUse[]): Disposable {
  const kept: Record<string, unknown> = {};
  const patched = fs as unknown as Record<string, unknown>;
  const replace = (name: string, fails: (flags: unknown) => boolean): void => {
    const original = patched[name] as (...parameters: unknown[]) => Promise<unknown>;
    kept[name] = original;
    patched[name] = async (...parameters: unknown[]) => {
      const [path, flags] = parameters;
      if (!String(path).startsWith(folder) || !fails(flags)) return Reflect.apply(original, fs, parameters);
      throw Object.assign(new Error(`${code}: made to fail, ${name} '${String(path)}'`), { code, syscall: name });
    };
  };
  for (const name of uses.includes("read") ? reading : []) replace(name, () => true);
  for (const name of uses.includes("write") ? writing : []) replace(name, () => true);
  replace("open", (flags) => uses.includes(flags === undefined || flags === "r" ? "read" : "write"));
  syncBuiltinESMExports();
  return {
    [Symbol.dispose]: () => {
      Object.assign(patched, kept);
      syncBuiltinESMExports();
    },
  };
}
