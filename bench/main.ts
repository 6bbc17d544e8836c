/*
 * `npm run bench`: Entrepot side by side with nginx, docker-registry and distribution 3, on loopback. docs/benchmarks.md
 * says what is measured and how to read it.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, loadavg, release, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { ContentTree } from "./content.ts";
import { checkPrograms, findDistribution } from "./programs.ts";
import { formatAim, formatSection, type Section } from "./report.ts";
import type { Bench, Scenario } from "./scenario.ts";
import { bucket } from "./scenarios/bucket.ts";
import { coldPull } from "./scenarios/cold-pull.ts";
import { firstByte } from "./scenarios/first-byte.ts";
import { herd } from "./scenarios/herd.ts";
import { hosted } from "./scenarios/hosted.ts";
import { manifests } from "./scenarios/manifests.ts";
import { memory } from "./scenarios/memory.ts";
import { eviction, million } from "./scenarios/million.ts";
import { nginx } from "./scenarios/nginx.ts";
import { replicas } from "./scenarios/replicas.ts";
import { resident } from "./scenarios/resident.ts";
import { revalidation } from "./scenarios/revalidation.ts";
import { startUp } from "./scenarios/start-up.ts";
import { uploads } from "./scenarios/uploads.ts";
import { warmBlobs } from "./scenarios/warm-blobs.ts";
import { registriesOf } from "./servers.ts";
import { fullSettings, quickSettings, type Settings } from "./settings.ts";
import { UpstreamRegistry } from "./upstream.ts";

const scenarios: readonly Scenario[] = [
  startUp,
  warmBlobs,
  nginx,
  manifests,
  revalidation,
  firstByte,
  coldPull,
  herd,
  resident,
  memory,
  eviction,
  million,
  bucket,
  replicas,
  uploads,
  hosted,
];

const usage = `Usage: npm run bench -- [options]

Measures Entrepot, nginx (sendfile), docker-registry and distribution 3 (both in proxy mode) in turn, on this machine.

  --only NAME   one scenario; may be given more than once: ${scenarios.map(({ name }) => name).join(", ")};
                without it all but million, uploads and hosted
  --blobs N     how many blobs the store of \`million\` has; default: ${fullSettings.storeBlobs}
  --quick       small blobs and few rounds: shows that everything works, says little about speed
  --json FILE   writes every sample to FILE
  --folder DIR  where the temporary files go (about 4 GB; with --quick 1 GB); default: ${tmpdir()}
  --install     installs missing programs with apt-get
  --distribution PATH
                the program of distribution 3; default: \`registry\` on the PATH; without it, it is not measured
  --help        prints this
`;

/** Prints to standard output. */
function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** What holds for all scenarios. */
interface Circumstances {
  readonly settings: Settings;
  readonly parent: string;
  readonly distribution: string | undefined;
}

async function measure(
  { name, title, run }: Scenario,
  { settings, parent, distribution }: Circumstances,
): Promise<Section> {
  await using stack = new AsyncDisposableStack();
  const folder = mkdtempSync(join(parent, "entrepot-bench-"));
  const remove = (): void => rmSync(folder, { recursive: true, force: true });
  stack.defer(remove);
  process.on("exit", remove);
  stack.defer(() => void process.off("exit", remove));
  const content = new ContentTree(join(folder, "content"));
  const upstream = await UpstreamRegistry.start(content.root);
  stack.defer(() => upstream.stop());
  const warmUp = content.addImage("latest", [1024 * 1024]);
  const bench: Bench = {
    settings,
    registries: registriesOf({ distribution }),
    upstream,
    content,
    warmUp,
    place: (images = []) => ({ folder, content, upstream, distribution, images: [warmUp, ...images] }),
    progress: (text) => void process.stderr.write(`  ${name}: ${text}\n`),
  };
  return { scenario: name, title, ...(await run(bench)) };
}

function describeMachine(): Record<string, unknown> {
  return {
    date: new Date().toISOString(),
    cpu: cpus()[0]?.model ?? "unknown",
    cores: availableParallelism(),
    kernel: release(),
    node: process.version,
    loadBefore: loadavg()[0],
  };
}

function readSettings(quick: boolean, blobs: string | undefined): Settings {
  const settings = quick ? quickSettings : fullSettings;
  if (blobs === undefined) return settings;
  if (!/^[1-9]\d{2,8}$/.test(blobs)) throw new Error("--blobs must be a number from 100 on");
  const storeBlobs = Number(blobs);
  return { ...settings, storeBlobs, evictedObjects: Math.min(settings.evictedObjects, Math.ceil(storeBlobs / 25)) };
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      only: { type: "string", multiple: true },
      quick: { type: "boolean", default: false },
      blobs: { type: "string" },
      json: { type: "string" },
      folder: { type: "string", default: tmpdir() },
      install: { type: "boolean", default: false },
      distribution: { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    print(usage);
    return 0;
  }
  const only = values.only?.flatMap((names) => names.split(","));
  const stranger = only?.find((name) => scenarios.every((scenario) => scenario.name !== name));
  if (stranger !== undefined) throw new Error(`no scenario ${stranger}; see --help`);
  checkPrograms(values.install);
  const distribution = findDistribution(values.distribution);
  const machine = describeMachine();
  print(`${String(machine["cpu"])}, ${availableParallelism()} cores, Linux ${release()}, Node ${process.version}`);
  const load = loadavg()[0] ?? 0;
  if (load > 0.5) print(`The machine is busy (load ${load.toFixed(2)}): the results will be noisy.`);
  if (values.quick) print("--quick: these numbers say little.");
  if (distribution === undefined) {
    print("distribution-3 is left out: no `registry` of distribution 3 is on the PATH or named by --distribution.");
  }
  const settings = readSettings(values.quick, values.blobs);
  const selected = scenarios.filter(({ name, onRequest }) => only?.includes(name) ?? onRequest !== true);
  const began = performance.now();
  const sections: Section[] = [];
  const failed: string[] = [];
  for (const scenario of selected) {
    try {
      const section = await measure(scenario, { settings, parent: values.folder, distribution });
      print(`\n${formatSection(section)}`);
      sections.push(section);
    } catch (error) {
      // The others are worth having all the same.
      failed.push(scenario.name);
      print(`\n${scenario.name}: could not be measured: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  const aims = sections.flatMap((section) => section.aims.map((aim) => ({ scenario: section.scenario, ...aim })));
  const met = aims.filter((aim) => aim.met).length;
  print(`\nAims: ${met} of ${aims.length} met, in ${Math.round((performance.now() - began) / 1000)} s`);
  for (const name of failed) print(`  FAIL  ${name} could not be measured`);
  for (const aim of aims) print(`  ${formatAim({ ...aim, name: `${aim.scenario}: ${aim.name}` })}`);
  if (values.json !== undefined) {
    writeFileSync(values.json, `${JSON.stringify({ machine, quick: values.quick, failed, sections }, undefined, 2)}\n`);
  }
  return failed.length === 0 ? 0 : 1;
}

process.once("SIGINT", () => process.exit(130));
process.once("SIGTERM", () => process.exit(143));
try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`bench: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
}
