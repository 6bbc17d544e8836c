/*
 * Makes the program one folder that needs nothing beside it but Node and its package.json, two folders above:
 *
 *   node image/bundle.ts [FOLDER]      (dist/bundle)
 *
 * `main.js` is the program, `thread.js` and `hash-worker.js` are its threads; what is loaded late, the clients of clouds
 * above all, stays in files of its own. The same sources give the same bytes.
 */
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { isBuiltin } from "node:module";
import { join, relative } from "node:path";
import { argv } from "node:process";
import { fileURLToPath } from "node:url";
import { type CodeSplittingOptions, type OutputChunk, type Plugin, rolldown } from "rolldown";

const root = fileURLToPath(new URL("..", import.meta.url));

// Threads are started by their files' names, so all files lie in one folder. Each is bundled by itself: it shares
// nothing with the program but source, and a file more takes more time to load than its text.
const threads = { thread: "src/ledger/thread.ts", "hash-worker": "src/store/hash-worker.ts" };

/** What the program loads in one piece, in this order: what is in one is in none behind it. */
const pieces = [
  { name: "command", of: ["src/cli/process.ts"] },
  { name: "configuration", of: ["src/config/load.ts"] },
  // What the server and a node's process have in common, which is to be small.
  {
    name: "common",
    of: ["src/nodes/watch.ts", "src/nodes/daemonset.ts", "src/observe/log.ts"],
    within: ["src/app/app.ts"],
  },
  { name: "server", of: ["src/app/app.ts"] },
];

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
  await mkdir(folder, { recursive: true });
  const reached = new ReachedModules();
  const groups = pieces.map(({ name, of, within }) => ({
    name,
    test: (id: string) => [of, within ?? of].every((paths) => paths.some((path) => reached.from(path).has(id))),
  }));
  const chunks = await bundleOne({ main: "src/main.ts" }, { groups }, reached);
  for (const [name, path] of Object.entries(threads)) chunks.push(...(await bundleOne({ [name]: path }, false)));
  for (const { fileName, code } of chunks) await writeFile(join(folder, fileName), escapeText(code));
  const files = chunks.map(describeFile);
  await writeFile(join(folder, "licenses.txt"), await readLicenses(packagesOf(files)));
  return files;
}

async function bundleOne(
  input: Record<string, string>,
  codeSplitting: CodeSplittingOptions | false,
  reached?: ReachedModules,
): Promise<OutputChunk[]> {
  const plugins = [builtins, reached?.plugin];
  await using build = await rolldown({ cwd: root, input, platform: "node", logLevel: "warn", plugins });
  const { output } = await build.generate({
    format: "esm",
    entryFileNames: "[name].js",
    chunkFileNames: "[name]-[hash].js",
    codeSplitting,
    // Names stay, for who reads the stack of an error.
    minify: { compress: true, mangle: false, codegen: { removeWhitespace: true } },
    comments: false,
  });
  return output.filter((file) => file.type === "chunk");
}

/** Which modules are loaded with one in any case. */
class ReachedModules {
  readonly #imports = new Map<string, readonly string[]>();
  readonly #reached = new Map<string, ReadonlySet<string>>();
  /** Notes what there is to know while it is read. */
  readonly plugin: Plugin = {
    name: "reached-modules",
    moduleParsed: ({ id, importedIds }) => void this.#imports.set(id, importedIds),
  };

  from(path: string): ReadonlySet<string> {
    const known = this.#reached.get(path);
    if (known !== undefined) return known;
    const found = new Set([join(root, path)]);
    for (const id of found) for (const next of this.#imports.get(id) ?? []) found.add(next);
    this.#reached.set(path, found);
    return found;
  }
}

const builtinMark = "\0builtin:";

/**
 * Takes of Node's modules what is used, when they are loaded. An import reads each of a module's exports, and loads with
 * them what these are made of: the web's cryptography, for one.
 */
const builtins: Plugin = {
  name: "builtins",
  resolveId: (source, importer, { kind }) =>
    kind === "import-statement" && isBuiltin(source) && !isFirst(importer) ? `${builtinMark}${source}` : undefined,
  async load(id) {
    if (!id.startsWith(builtinMark)) return undefined;
    const source = id.slice(builtinMark.length);
    const names = Object.keys((await import(source)) as object).filter((name) => name !== "default");
    return [
      `const builtin = process.getBuiltinModule(${JSON.stringify(source)});`,
      "const pick = (name) => builtin[name];",
      "export default builtin;",
      ...names.map((name) => `export const ${name} = /* @__PURE__ */ pick(${JSON.stringify(name)});`),
    ].join("\n");
  },
};

/** Whether a module runs before all others: the program's first, which has the compile cache used, and the bundler's own. */
function isFirst(importer: string | undefined): boolean {
  return importer === undefined || importer === join(root, "src/main.ts") || importer.startsWith("\0");
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
