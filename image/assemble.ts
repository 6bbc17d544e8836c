/*
 * Lays out the image's files, each layer in a folder of its own: `node` with its libraries and what else a system needs,
 * the `program`, and its compile `cache`:
 *
 *   node assemble.ts FOLDER
 *
 * All times are those of SOURCE_DATE_EPOCH, so that the same files are the same layers.
 */
import { execFileSync } from "node:child_process";
import { chmodSync, chownSync, cpSync, lutimesSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { argv, env, execPath } from "node:process";

/** The user that the program runs as: `nonroot`, by its number. */
const user = 65_532;

/** Node's libraries, and what loads them, as the loader itself tells. */
function librariesOfNode(): string[] {
  const told = execFileSync(execPath, { env: { LD_TRACE_LOADED_OBJECTS: "1" }, encoding: "utf8" });
  return told
    .split("\n")
    .map((line) => /(?:=>\s*|^\s*)(\/\S+) \(0x/.exec(line)?.[1])
    .filter((path) => path !== undefined);
}

function copy(path: string, layer: string, to: string = path): void {
  mkdirSync(dirname(join(layer, to)), { recursive: true });
  cpSync(path, join(layer, to), { recursive: true, dereference: true });
}

function write(path: string, lines: readonly string[]): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, lines.map((line) => `${line}\n`).join(""));
}

function layOut(folder: string, seconds: number): void {
  const [node, program, cache] = ["node", "program", "cache"].map((name) => join(folder, name)) as [
    string,
    string,
    string,
  ];
  copy(execPath, node, "/usr/local/bin/node");
  for (const path of librariesOfNode()) copy(path, node);
  write(join(node, "etc/passwd"), ["root:x:0:0:root:/:/", `nonroot:x:${user}:${user}:nonroot:/var/lib/entrepot:/`]);
  write(join(node, "etc/group"), ["root:x:0:", `nonroot:x:${user}:`]);
  write(join(node, "etc/nsswitch.conf"), ["hosts: files dns"]);
  mkdirSync(join(node, "tmp"));
  chmodSync(join(node, "tmp"), 0o1777);

  for (const name of ["LICENSE", "package.json", "dist/bundle"]) copy(`/opt/entrepot/${name}`, program);
  mkdirSync(join(program, "var/lib/entrepot"), { recursive: true });
  chownSync(join(program, "var/lib/entrepot"), user, user);

  copy("/opt/entrepot/cache", cache);
  makeReadable(cache);
  setTimes(folder, seconds);
}

/** The cache was its user's alone; now it is everybody's to read, and nobody's to write. */
function makeReadable(folder: string): void {
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    chmodSync(join(entry.parentPath, entry.name), entry.isDirectory() ? 0o755 : 0o644);
  }
}

function setTimes(folder: string, seconds: number): void {
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    lutimesSync(join(entry.parentPath, entry.name), seconds, seconds);
  }
}

layOut(argv[2] ?? "root", Number(env["SOURCE_DATE_EPOCH"] ?? 0));
