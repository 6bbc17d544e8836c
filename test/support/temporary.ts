import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** An empty folder that is removed, with all that is in it, when it goes out of scope (`await using`). */
export interface TemporaryDirectory extends AsyncDisposable {
  readonly path: string;
}

/** Makes a folder of its own for a test, in the system's folder for temporary files. */
export async function createTemporaryDirectory(): Promise<TemporaryDirectory> {
  const path = await mkdtemp(join(tmpdir(), "entrepot-test-"));
  return {
    path,
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  };
}
