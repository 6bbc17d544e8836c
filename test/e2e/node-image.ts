import { execFile } from "node:child_process";
import { cp, mkdir, realpath, symlink, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { promisify } from "node:util";

const execute = promisify(execFile);

/** Where Debian has the authorities that npm may need for its registry. */
const authorities = "/etc/ssl/certs/ca-certificates.crt";
/** What packages with native code need besides what Node itself does. */
const moreLibraries = ["/lib/x86_64-linux-gnu/librt.so.1", "/lib/aarch64-linux-gnu/librt.so.1"];

/**
 * Writes the files of an image that has what `NODE_IMAGE` of the Dockerfile must have, where no registry of images can be
 * reached: the Node that runs this, with its libraries, npm, and a shell. npm asks the registry that it asks here.
 *
 * @returns The variables that the image must have.
 */
export async function writeNodeImage(folder: string): Promise<Readonly<Record<string, string>>> {
  const put = async (from: string, to = from): Promise<void> => {
    await mkdir(dirname(join(folder, to)), { recursive: true });
    await cp(await realpath(from), join(folder, to), { recursive: true });
  };
  const { stdout: told } = await execute(process.execPath, { env: { LD_TRACE_LOADED_OBJECTS: "1" } });
  for (const [, path = ""] of told.matchAll(/(\/\S+) \(0x/g)) await put(path);
  for (const path of moreLibraries) await put(path).catch(() => undefined);
  await put(process.execPath, "/usr/local/bin/node");
  const { stdout: npm } = await execute("which", ["npm"]);
  await put(join(await realpath(npm.trim()), "../.."), "/usr/local/lib/node_modules/npm");
  await symlink("../lib/node_modules/npm/bin/npm-cli.js", join(folder, "usr/local/bin/npm"));
  await put("/bin/busybox");
  await symlink("busybox", join(folder, "bin/sh"));
  await mkdir(join(folder, "usr/bin"), { recursive: true });
  await symlink("/bin/busybox", join(folder, "usr/bin/env"));
  await put(authorities);
  const { stdout: registry } = await execute("npm", ["config", "get", "registry"]);
  await mkdir(join(folder, "usr/local/etc"), { recursive: true });
  await writeFile(join(folder, "usr/local/etc/npmrc"), `registry=${registry}`);
  for (const name of ["tmp", "root", "etc"]) await mkdir(join(folder, name), { recursive: true });
  await writeFile(join(folder, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n");
  return { PATH: "/usr/local/bin:/usr/bin:/bin", NODE_EXTRA_CA_CERTS: authorities };
}
