/*
 * Makes the program one folder that needs nothing beside it but Node and its package.json, two folders above:
 *
 *   node image/bundle.ts [FOLDER]      (dist/bundle)
 *
 * `main.js` is the program, `thread.js` and `hash-worker.js` are its threads; what is loaded late, the clients of clouds
 * above all, stays in files of its own. The same sources give the same bytes.
 */
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { argv } from "node:process";
import { fileURLToPath } from "node:url";
import { type OutputChunk, rolldown } from "rolldown";

const root = fileURLToPath(new URL("..", import.meta.url));

// Threads are started by their files' names, so all files lie in one folder.
const input = {
  main: "src/main.ts",
  thread: "src/ledger/thread.ts",
  "hash-worker": "src/store/hash-worker.ts",
};

/** A file of the bundle. */
export interface BundledFile {
  readonly name: string;
  /** The sources in it, as paths below the project's folder. */
  readonly sources: readonly string[];
  /** The source that it stands for where it is a way in: one of the program's, or of what is loaded late. */
  readonly entry: string | undefined;
  /** What it loads with itself: files of the bundle, and modules that are not in it. */
  readonly imports: readonly string[];
  /** What it may load later. */
  readonly late: readonly string[];
}

/** Bundles the program into a folder, which is emptied before. */
export async function bundle(folder: string): Promise<BundledFile[]> {
  await rm(folder, { recursive: true, force: true });
  await using build = await rolldown({ cwd: root, input, platform: "node", logLevel: "warn" });
  const { output } = await build.generate({
    format: "esm",
    entryFileNames: "[name].js",
    chunkFileNames: "[name]-[hash].js",
    // Names stay, for who reads the stack of an error.
    minify: { compress: true, mangle: false, codegen: { removeWhitespace: true } },
    comments: false,
  });
  const chunks = output.filter((file) => file.type === "chunk");
  await mkdir(folder, { recursive: true });
  for (const { fileName, code } of chunks) await writeFile(join(folder, fileName), escapeText(code));
  const files = chunks.map(describeFile);
  await writeFile(join(folder, "licenses.txt"), await readLicenses(packagesOf(files)));
  return files;
}

/** The same code in ASCII. Of a file with one character beyond, V8 keeps the source with two bytes for each. */
function escapeText(code: string): string {
  return code.replaceAll(/[\u0080-\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

function describeFile(chunk: OutputChunk): BundledFile {
  return {
    name: chunk.fileName,
    sources: chunk.moduleIds.map((path) => relative(root, path)),
    entry: chunk.facadeModuleId === null ? undefined : relative(root, chunk.facadeModuleId),
    imports: chunk.imports,
    late: chunk.dynamicImports,
  };
}

/** The packages that have a part in the bundle, as folders below the project's. */
function packagesOf(files: readonly BundledFile[]): string[] {
  const folders = files.flatMap(({ sources }) =>
    sources.map((path) => /^.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)?.[0]),
  );
  return [...new Set(folders.filter((folder) => folder !== undefined))].toSorted();
}

/** What these packages ask to be passed on with them. */
async function readLicenses(folders: readonly string[]): Promise<string> {
  const texts = folders.map(async (folder) => {
    const path = join(root, folder);
    const { name, version, license } = JSON.parse(await readFile(join(path, "package.json"), "utf8")) as {
      readonly [key in "name" | "version" | "license"]?: string;
    };
    const names = (await readdir(path)).filter((file) => /^(?:licen[cs]e|notice)/i.test(file)).toSorted();
    const parts = await Promise.all(names.map((file) => readFile(join(path, file), "utf8")));
    return [`${name} ${version} (${license})`, ...parts.map((part) => part.trim())].join("\n\n");
  });
  return `${(await Promise.all(texts)).join(`\n\n${"-".repeat(80)}\n\n`)}\n`;
}

if (import.meta.main) await bundle(argv[2] ?? join(root, "dist/bundle"));
