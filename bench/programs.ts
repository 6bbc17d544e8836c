import { spawnSync } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

/** A program that is not part of the repository, and the Debian package that has it. */
interface Program {
  readonly name: string;
  readonly package: string;
}

const programs: readonly Program[] = [
  { name: "nginx", package: "nginx-light" },
  { name: "docker-registry", package: "docker-registry" },
  { name: "curl", package: "curl" },
  { name: "wrk", package: "wrk" },
];

// Debian puts servers where a user's PATH does not look.
const serverFolders = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/** The path of a program; `undefined` where there is none. */
function findProgram(name: string): string | undefined {
  for (const folder of [...(process.env["PATH"] ?? "").split(delimiter), ...serverFolders]) {
    const path = join(folder, name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // The next folder may have it.
    }
  }
  return undefined;
}

/** The path of a program that `checkPrograms` has found. */
export function programPath(name: string): string {
  const path = findProgram(name);
  if (path === undefined) throw new Error(`${name} is not installed`);
  return path;
}

/**
 * The path of distribution 3's `registry`: the one that was named, else one on the PATH; `undefined` where there is none.
 *
 * @throws where the one that was named is something else.
 */
export function findDistribution(named: string | undefined): string | undefined {
  const path = named ?? findProgram("registry");
  if (path === undefined) return undefined;
  const { stdout, error } = spawnSync(path, ["--version"], { encoding: "utf8", timeout: 10_000 });
  if (error === undefined && / v3\./.test(stdout)) return path;
  if (named === undefined) return undefined;
  throw new Error(`${named} is not the registry of distribution 3`);
}

/**
 * Looks whether every program is there, and installs what is missing when `install` says so.
 *
 * @throws an error that names the command to install them with.
 */
export function checkPrograms(install: boolean): void {
  const missing = (): Program[] => programs.filter(({ name }) => findProgram(name) === undefined);
  const packages = missing().map((program) => program.package);
  if (packages.length === 0) return;
  if (install) {
    const environment = { ...process.env, DEBIAN_FRONTEND: "noninteractive" };
    for (const args of [["update"], ["install", "--yes", "--no-install-recommends", ...packages]]) {
      spawnSync("apt-get", args, { env: environment, stdio: ["ignore", 2, 2], timeout: 300_000 });
    }
  }
  const left = missing();
  if (left.length === 0) return;
  const names = left.map(({ name }) => name).join(", ");
  throw new Error(
    `missing: ${names}\n  apt-get install --no-install-recommends ${left.map((program) => program.package).join(" ")}\n` +
      "or run this with --install (as root, on Debian)",
  );
}
