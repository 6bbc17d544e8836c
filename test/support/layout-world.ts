import { systemClock } from "../../src/concurrency/clock.ts";
import type { LayoutFiles } from "../../src/layout/files.ts";
import { Layouts, type LayoutsOptions } from "../../src/layout/layouts.ts";
import { parseNamespace } from "../../src/oci/reference.ts";
import { BufferPool } from "../../src/store/buffers.ts";
import { ForeignFolder } from "../../src/store/foreign-folder.ts";
import { HashPool } from "../../src/store/hashing.ts";

/** What layouts have told. */
export interface Told {
  readonly problems: string[];
  readonly damaged: string[];
  readonly unreachable: string[];
  looks: number;
}

/** Layouts over some files, and all that they told. */
export interface LayoutWorld extends AsyncDisposable {
  readonly layouts: Layouts;
  readonly told: Told;
}

/** Serves layouts from files, which are looked at anew for each question unless `options` say otherwise. */
export function openLayouts(files: LayoutFiles, options: Partial<LayoutsOptions> = {}): LayoutWorld {
  const hashes = new HashPool(1);
  const told: Told = { problems: [], damaged: [], unreachable: [], looks: 0 };
  const layouts = new Layouts({
    files,
    naming: { namespace: parseNamespace("layouts.example.com"), prefix: undefined },
    refreshMs: 0,
    hashes,
    // Where no time passes, nothing is left alone for a while.
    clock: { ...systemClock, monotonic: () => 0 },
    observer: {
      problem: (path, problem) => void told.problems.push(`${path}: ${problem}`),
      looked: () => void told.looks++,
      damaged: (path, digest, problem) => void told.damaged.push(`${path}: ${digest}: ${problem}`),
      unreachable: (error) => void told.unreachable.push(error.message),
    },
    ...options,
  });
  return {
    layouts,
    told,
    async [Symbol.asyncDispose]() {
      await layouts.close();
      await hashes.close();
    },
  };
}

/** The files of a folder. */
export function filesOf(path: string): Promise<ForeignFolder> {
  return ForeignFolder.open(path, new BufferPool());
}
