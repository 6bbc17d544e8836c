/*
 * `npm run mutants`: puts each fault of the lists into a copy of the tree, alone, and runs the tests that must notice
 * it. Tells which of them did first; exits with 1 where none did. `--only NAME` takes the faults whose names begin so.
 *
 * Tools that make up faults themselves try thousands, each against all tests; these are the ones that matter, and what
 * must be seen of them is known.
 */
import { execFile, spawn } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs, promisify } from "node:util";
import { type Fault, putIn } from "./fault.ts";
import { faults } from "./faults.ts";

const run = promisify(execFile);
/** How many faults are tried at a time, each in a tree of its own. */
const lanes = 2;
/** How long one test may take, and all of those that are to notice a fault, in milliseconds. */
const testMs = 20_000;
const limitMs = 60_000;
const outputLines = 40;
const root = join(import.meta.dirname, "..", "..");
const notCopied: ReadonlySet<string> = new Set([".git", "node_modules", "dist"]);
const stop = new AbortController();

interface Outcome {
  readonly passed: boolean;
  /** The first test that failed. None where a file could not be loaded: that says nothing of the tests. */
  readonly failed: string | undefined;
  /** The end of what was printed. */
  readonly output: string;
}

/** A copy of the tree as it is now, and a folder for what its tests leave; what is installed is the same. */
async function copyTree(target: string): Promise<void> {
  await cp(root, target, { recursive: true, filter: (path) => !notCopied.has(basename(path)) });
  await symlink(join(root, "node_modules"), join(target, "node_modules"));
  await mkdir(`${target}.tmp`);
}

/** Runs test files until one test fails, or for `ms` at most. */
async function runTests(tree: string, files: readonly string[], ms: number): Promise<Outcome> {
  const options = ["--test", `--test-timeout=${testMs}`, "--test-concurrency=1", "--test-reporter=tap"];
  // A group of its own, so that no process that a test has started is left.
  const child = spawn(process.execPath, [...options, ...files], {
    cwd: tree,
    env: { ...process.env, TMPDIR: `${tree}.tmp`, NODE_COMPILE_CACHE: `${tree}.cache` },
    stdio: ["ignore", "pipe", "inherit"],
    detached: true,
  });
  const exited = new Promise<number | null>((resolve) => child.once("exit", resolve));
  const end = (): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, "SIGKILL");
    } catch {
      // All of it has ended.
    }
  };
  const limit = setTimeout(end, ms);
  stop.signal.addEventListener("abort", end);
  const lines: string[] = [];
  let failed: string | undefined;
  for await (const line of createInterface(child.stdout)) {
    lines.push(line);
    const [, name] = /^ *not ok \d+ - (.*?)(?: # .*)?$/.exec(line) ?? [];
    if (name === undefined || name.endsWith(".test.ts")) continue;
    failed ??= name;
    end();
  }
  const code = await exited;
  clearTimeout(limit);
  stop.signal.removeEventListener("abort", end);
  end();
  if (code === null) failed ??= `the time limit of ${ms / 1000} s`;
  return { passed: code === 0, failed, output: lines.slice(-outputLines).join("\n") };
}

/** Tries a fault in a tree; says whether it was noticed. */
async function tryFault(tree: string, fault: Fault): Promise<boolean> {
  const started = performance.now();
  const path = join(tree, fault.file);
  const source = await readFile(path, "utf8");
  let outcome: Outcome;
  try {
    await writeFile(path, putIn(fault, source));
    outcome = await runTests(tree, fault.tests, limitMs);
  } catch (error) {
    say(`UNFIT     ${String(error)}`);
    return false;
  } finally {
    await writeFile(path, source);
  }
  if (stop.signal.aborted) return false;
  const { passed, failed, output } = outcome;
  const what = `${fault.name} (${((performance.now() - started) / 1000).toFixed(1)} s)`;
  if (failed !== undefined) say(`noticed   ${what} by ${failed}`);
  else if (passed) say(`SURVIVED  ${what}: ${fault.breaks}\n          ${fault.tests.join(", ")}`);
  else say(`UNFIT     ${what}: its tests could not be run\n${output}`);
  return failed !== undefined;
}

/** Unmounts what a test has mounted that was ended before it could do so. */
async function unmountBelow(folder: string): Promise<void> {
  const mounts = await readFile("/proc/self/mounts", "utf8").catch(() => "");
  for (const [, point = ""] of mounts.matchAll(/^\S+ (\S+)/gm)) {
    if (point.startsWith(`${folder}/`)) await run("umount", ["--lazy", point]);
  }
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Tries faults in trees below a folder; the names of those that were not noticed. */
async function tryAll(folder: string, wanted: readonly Fault[]): Promise<string[]> {
  const trees = Array.from({ length: lanes }, (_, lane) => join(folder, `lane${lane}`));
  await Promise.all(trees.map(copyTree));
  // Tests that fail anyway notice everything.
  const files = [...new Set(wanted.flatMap(({ tests }) => tests))];
  await Promise.all(
    trees.map(async (tree, lane) => {
      const share = files.filter((_, index) => index % lanes === lane);
      if (share.length === 0) return;
      const { passed, output } = await runTests(tree, share, share.length * limitMs);
      if (!passed) throw new Error(`the tests fail without a fault:\n${output}`);
    }),
  );
  const waiting = wanted.values();
  const left: string[] = [];
  await Promise.all(
    trees.map(async (tree) => {
      for (const fault of waiting) {
        if (stop.signal.aborted) return;
        if (!(await tryFault(tree, fault))) left.push(fault.name);
      }
    }),
  );
  return left;
}

async function main(): Promise<number> {
  const { only } = parseArgs({ options: { only: { type: "string", multiple: true, default: [""] } } }).values;
  const wanted = faults.filter(({ name }) => only.some((begin) => name.startsWith(begin)));
  if (wanted.length === 0) throw new Error(`no fault has a name that begins with ${only.join(" or ")}`);
  for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => stop.abort());
  const folder = await mkdtemp(join(tmpdir(), "entrepot-mutants-"));
  try {
    const left = await tryAll(folder, wanted);
    stop.signal.throwIfAborted();
    say(`${wanted.length - left.length} of ${wanted.length} faults were noticed`);
    for (const name of left) say(`not noticed: ${name}`);
    return left.length === 0 ? 0 : 1;
  } finally {
    await unmountBelow(folder);
    await rm(folder, { recursive: true, force: true });
  }
}

process.exitCode = await main();
