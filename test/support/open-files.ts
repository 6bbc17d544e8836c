import { readdirSync, readlinkSync } from "node:fs";

/** The files below `folder` that this process has open, deleted ones included. */
export function openFilesBelow(folder: string): string[] {
  return readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      const target = readlinkSync(`/proc/self/fd/${fd}`);
      return target.startsWith(`${folder}/`) ? [target] : [];
    } catch {
      // The descriptor of the listing itself is gone by now.
      return [];
    }
  });
}
