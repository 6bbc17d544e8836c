import { chmod, writeFile } from "node:fs/promises";
import { join } from "node:path";

/** Writes a credential helper that is a shell script into a folder, and gives the environment in which it is found. */
export async function writeHelper(folder: string, name: string, script: string): Promise<NodeJS.ProcessEnv> {
  const path = join(folder, `docker-credential-${name}`);
  await writeFile(path, `#!/bin/sh\n${script}\n`);
  await chmod(path, 0o755);
  return { PATH: `${folder}:/usr/bin:/bin`, FOLDER: folder };
}
