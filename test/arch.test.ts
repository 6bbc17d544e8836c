/*
 * Asserts how the source tree hangs together: folders are ranks, and a file imports only from a lower rank or from its
 * own folder.
 */
import assert from "node:assert/strict";
import { readdir, readFile } from "node:fs/promises";
import { join, posix } from "node:path";
import { before, describe, test } from "node:test";
import { globalsOfProgram, readSource } from "./support/source-reading.ts";

/** The folders and files at the top of `src/`. Those that are one unit may import each other. */
const units: ReadonlyMap<string, { readonly unit: string; readonly rank: number }> = new Map([
  ["concurrency", { unit: "concurrency", rank: 0 }],
  ["oci", { unit: "oci", rank: 0 }],
  ["config", { unit: "config", rank: 1 }],
  ["observe", { unit: "observe", rank: 0 }],
  ["store", { unit: "store", rank: 1 }],
  ["upstream", { unit: "upstream", rank: 1 }],
  ["nodes", { unit: "nodes", rank: 1 }],
  ["ledger", { unit: "ledger", rank: 2 }],
  ["registry", { unit: "registry", rank: 3 }],
  ["bucket", { unit: "bucket", rank: 4 }],
  ["hosted", { unit: "hosted", rank: 4 }],
  ["layout", { unit: "layout", rank: 4 }],
  ["nginx", { unit: "nginx", rank: 5 }],
  ["replicas", { unit: "replicas", rank: 5 }],
  ["jobs", { unit: "jobs", rank: 6 }],
  ["http", { unit: "http", rank: 7 }],
  ["app", { unit: "app", rank: 8 }],
  ["cli", { unit: "program", rank: 9 }],
  ["main.ts", { unit: "program", rank: 9 }],
]);
const mayImportConfig: ReadonlySet<string> = new Set(["config", "app", "program"]);
const vagueNames: ReadonlySet<string> = new Set(["util", "utils", "helper", "helpers", "types", "index"]);

type Sources = ReadonlyMap<string, string>;

/** The file in the tree that a relative import means; `undefined` for a package or a module of Node. */
function resolve(from: string, specifier: string): string | undefined {
  return specifier.startsWith(".") ? posix.join(posix.dirname(from), specifier) : undefined;
}

function unitOf(file: string): { readonly unit: string; readonly rank: number } | undefined {
  return units.get(file.split("/")[1] ?? "");
}

function findRankProblems(sources: Sources): string[] {
  const problems: string[] = [];
  for (const [file, source] of sources) {
    const own = unitOf(file);
    if (own === undefined) {
      problems.push(`${file} is in no folder that has a rank`);
      continue;
    }
    const { imports, workers } = readSource(source);
    for (const specifier of [...imports, ...workers]) {
      const target = resolve(file, specifier);
      if (target === undefined) {
        continue;
      }
      const other = unitOf(target);
      if (other === undefined || !sources.has(target)) {
        problems.push(`${file} imports ${specifier}, which is no file of the tree`);
      } else if (other.unit === "config" && !mayImportConfig.has(own.unit)) {
        problems.push(`${file} imports ${target}: only app/, cli/ and main.ts know the configuration`);
      } else if (other.unit !== own.unit && other.rank >= own.rank) {
        problems.push(`${file} (rank ${own.rank}) imports ${target} (rank ${other.rank})`);
      }
    }
  }
  return problems;
}

function findCycles(sources: Sources): string[] {
  const done = new Set<string>();
  const cycles: string[] = [];
  const visit = (file: string, path: readonly string[]): void => {
    const start = path.indexOf(file);
    if (start >= 0) {
      cycles.push([...path.slice(start), file].join(" imports "));
      return;
    }
    if (done.has(file)) {
      return;
    }
    for (const specifier of readSource(sources.get(file) ?? "").imports) {
      const target = resolve(file, specifier);
      if (target !== undefined) {
        visit(target, [...path, file]);
      }
    }
    done.add(file);
  };
  for (const file of sources.keys()) {
    visit(file, []);
  }
  return cycles;
}

function findGlobals(sources: Sources): string[] {
  const problems: string[] = [];
  for (const [file, source] of sources) {
    if (unitOf(file)?.unit === "program") {
      continue;
    }
    const { imports, globals } = readSource(source);
    problems.push(...globals.map((name) => `${file} uses ${name}`));
    problems.push(
      ...imports
        .filter((specifier) => globalsOfProgram.has(specifier.replace(/^node:/, "")))
        .map((specifier) => `${file} imports ${specifier}`),
    );
  }
  return problems;
}

function findVagueNames(sources: Sources): string[] {
  return [...sources.keys()].filter((file) =>
    file.split("/").some((part) => vagueNames.has(part.replace(/\..*$/, "").toLowerCase())),
  );
}

async function readSources(): Promise<Sources> {
  const root = join(import.meta.dirname, "..");
  const entries = await readdir(join(root, "src"), { recursive: true, withFileTypes: true });
  const files = entries
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
    .map((entry) => join(entry.parentPath, entry.name));
  return new Map(
    await Promise.all(
      files.map(async (file): Promise<[string, string]> => [
        file.slice(root.length + 1).replaceAll("\\", "/"),
        await readFile(file, "utf8"),
      ]),
    ),
  );
}

describe("the source tree", () => {
  let sources: Sources = new Map();
  before(async () => {
    sources = await readSources();
    assert.ok(sources.has("src/oci/digest.ts"));
  });

  test("imports point to a lower rank or stay in the folder", () => {
    assert.deepEqual(findRankProblems(sources), []);
  });

  test("no file imports itself through others", () => {
    assert.deepEqual(findCycles(sources), []);
  });

  test("only main.ts and cli/ know the process and the console", () => {
    assert.deepEqual(findGlobals(sources), []);
  });

  test("every folder and file has a name that says something", () => {
    assert.deepEqual(findVagueNames(sources), []);
  });
});

describe("what the checks find", () => {
  const tree = (files: Record<string, string>): Sources => new Map(Object.entries(files));

  test("every form of import is seen, and text that looks like one is not", () => {
    const source = `
      import a, { type b } from "./a.ts";
      import type { c } from './b.ts';
      import "./c.ts";
      export * from "./d.ts";
      export { e } from "./e.ts";
      const f = await import("./f.ts");
      type G = import("./g.ts").G;
      // import h from "./h.ts";
      /* import i from "./i.ts"; */
      const j = 'import j from "./j.ts"', k = /["'\`/]/.test(j) ? 4 / 2 : \`from "./k.ts" \${import("./l.ts")} from "./m.ts"\`;
      new Worker(new URL("./n.ts", import.meta.url));
      import { o } from "./o.ts";`;
    assert.deepEqual(readSource(source), {
      imports: ["./a.ts", "./b.ts", "./c.ts", "./d.ts", "./e.ts", "./f.ts", "./g.ts", "./l.ts", "./o.ts"],
      workers: ["./n.ts"],
      globals: [],
    });
  });

  test("imports upwards, sideways, of the configuration and of nothing", () => {
    const sources = tree({
      "src/oci/a.ts": 'import type { S } from "../store/s.ts";',
      "src/store/s.ts": 'import { u } from "../upstream/u.ts"; import "../oci/a.ts"; import "./deep/t.ts";',
      "src/store/deep/t.ts": 'import "../s.ts"; new Worker(new URL("../../http/h.ts", import.meta.url));',
      "src/upstream/u.ts": 'import { c } from "../config/c.ts"; import "../observe/gone.ts"; import "undici";',
      "src/config/c.ts": 'export * from "../oci/a.ts"; import "../store/s.ts";',
      "src/http/h.ts": 'await import("../app/app.ts");',
      "src/app/app.ts": 'import "../http/h.ts"; import "../config/c.ts";',
      "src/main.ts": 'import "./cli/x.ts"; import "./app/app.ts"; new URL("../package.json", import.meta.url);',
      "src/cli/x.ts": 'import "../config/c.ts"; import "../../test/y.ts";',
      "src/other/o.ts": "",
    });
    assert.deepEqual(findRankProblems(sources), [
      "src/oci/a.ts (rank 0) imports src/store/s.ts (rank 1)",
      "src/store/s.ts (rank 1) imports src/upstream/u.ts (rank 1)",
      "src/store/deep/t.ts (rank 1) imports src/http/h.ts (rank 7)",
      "src/upstream/u.ts imports src/config/c.ts: only app/, cli/ and main.ts know the configuration",
      "src/upstream/u.ts imports ../observe/gone.ts, which is no file of the tree",
      "src/config/c.ts (rank 1) imports src/store/s.ts (rank 1)",
      "src/http/h.ts (rank 7) imports src/app/app.ts (rank 8)",
      "src/cli/x.ts imports ../../test/y.ts, which is no file of the tree",
      "src/other/o.ts is in no folder that has a rank",
    ]);
  });

  test("cycles, also of types", () => {
    const sources = tree({
      "src/oci/a.ts": 'import "./b.ts"; import "./d.ts";',
      "src/oci/b.ts": 'import type { C } from "./c.ts";',
      "src/oci/c.ts": 'import "./b.ts"; import "./d.ts";',
      "src/oci/d.ts": 'new URL("./a.ts", import.meta.url);',
    });
    assert.deepEqual(findCycles(sources), ["src/oci/b.ts imports src/oci/c.ts imports src/oci/b.ts"]);
  });

  test("uses of the process and the console", () => {
    const sources = tree({
      "src/oci/a.ts": "const env = process.env; // process",
      "src/oci/b.ts": 'import { exit } from "node:process"; child.process; const text = "process"; a.console;',
      "src/oci/c.ts": "globalThis.process; `${console.log(1)} console`; globalThis?.console; [...process]; a?.process",
      "src/oci/d.ts": 'import process from "process";',
      "src/cli/e.ts": "console.log(process.argv);",
      "src/main.ts": 'import process from "node:process";',
    });
    assert.deepEqual(findGlobals(sources), [
      "src/oci/a.ts uses process",
      "src/oci/b.ts imports node:process",
      "src/oci/c.ts uses process",
      "src/oci/c.ts uses console",
      "src/oci/c.ts uses console",
      "src/oci/c.ts uses process",
      "src/oci/d.ts uses process",
      "src/oci/d.ts imports process",
    ]);
  });

  test("names that say nothing", () => {
    const names = [
      "src/oci/types.ts",
      "src/store/utils/a.ts",
      "src/http/index.ts",
      "src/http/Helper.ts",
      "src/http/reply.ts",
    ];
    assert.deepEqual(findVagueNames(new Map(names.map((name) => [name, ""]))), names.slice(0, 4));
  });
});
