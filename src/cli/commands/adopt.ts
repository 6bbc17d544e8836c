import type { Config } from "../../config/file-schema.ts";
import type { AdoptReport } from "../../jobs/adopt.ts";
import type { ForeignReader } from "../../store/foreign-folder.ts";
import { loadConfiguration } from "../configuration.ts";
import type { StoreHost } from "../job-host.ts";
import { formatBytes, formatCount } from "../quantities.ts";
import { describeEnd, exitCodeOf, followJob } from "../run-job.ts";
import { formatTable } from "../table.ts";
import { CommandFailure, exitCodes } from "../terminal.ts";
import { addCommand, type CommandContext } from "./command.ts";
import { addRootFlag, openStore, pullSettings, storeSettings } from "./store.ts";

interface AdoptFlags {
  readonly dryRun?: boolean;
  readonly yes?: boolean;
  readonly json?: boolean;
}

/** Adds the command that takes over the earlier system's cache. */
export function addAdoptCommand(context: CommandContext): void {
  const { terminal, person, finish } = context;
  const adopt = addCommand(context, "adopt <from>", "take over the cache of mcronce/oci-registry", [
    "config",
    "defaultNamespace",
    ...pullSettings,
    ...storeSettings,
  ])
    .usage("[options] FOLDER")
    .option("-n, --dry-run", "only show what would be adopted")
    .option("-y, --yes", "do not show that and ask first")
    .option("--json", "write the job's states, one a line, for scripts");
  addRootFlag(adopt)
    .addHelpText(
      "after",
      "\nFOLDER is its filesystem root, with manifests/ and blobs/; nothing is changed there. It is copied into the storage,\n" +
        "on which no mirror may run. What is there is skipped: a run that was stopped goes on where it was. Configure the\n" +
        "registries first: of others nothing but manifests is taken. On a terminal the plan is shown first; elsewhere --yes or\n" +
        "--dry-run is needed. Exit code 1 where something was left for want of room, or could not be read.",
    )
    .action(async (from: string) => {
      const { dryRun = false, yes = false, json = false } = adopt.opts<AdoptFlags>();
      if (!dryRun && !yes && (person.ask === undefined || json)) {
        throw new CommandFailure("nobody can be asked here: use --yes, or --dry-run to see the plan", {
          exitCode: exitCodes.usage,
        });
      }
      const config = await loadConfiguration(adopt, terminal);
      const source = await openSource(from, config);
      const host = await openStore(context, config, false);
      try {
        let exitCode = yes && !dryRun ? exitCodes.ok : await runAdoption(context, host, source, { dryRun: true, json });
        if (!dryRun && exitCode !== exitCodes.interrupted) {
          if (!yes) await expectYes(context);
          exitCode = await runAdoption(context, host, source, { dryRun: false, json });
        }
        finish(exitCode);
      } finally {
        await host.close();
      }
    });
}

/** What only this command needs is loaded when it runs. */
async function openSource(from: string, { storage }: Config): Promise<ForeignReader> {
  const { NotAdoptable, openEarlierFolder } = await import("../../jobs/adopt-source.ts");
  const { BufferPool } = await import("../../store/buffers.ts");
  try {
    return await openEarlierFolder(from, storage.root, new BufferPool());
  } catch (error) {
    if (!(error instanceof NotAdoptable)) throw error;
    throw new CommandFailure(error.message, { exitCode: exitCodes.usage, cause: error });
  }
}

async function expectYes({ person }: CommandContext): Promise<void> {
  const answer = await person.ask?.("Adopt it? [y/N] ");
  if (/^y(es)?$/i.test(answer ?? "")) return;
  const exitCode = answer === undefined ? exitCodes.interrupted : exitCodes.failed;
  throw new CommandFailure("nothing was adopted", { exitCode });
}

/** Runs it, shows it and what it came to; Ctrl-C stops it. */
async function runAdoption(
  { terminal, person }: CommandContext,
  host: StoreHost,
  source: ForeignReader,
  { dryRun, json }: { readonly dryRun: boolean; readonly json: boolean },
): Promise<number> {
  const { reportAdoption } = await import("../../jobs/adopt.ts");
  const { id } = await host.start({ kind: "adopt", source, dryRun });
  const followed = await followJob(host, id, { terminal, person, json, onInterrupt: "cancel" });
  const { job } = followed;
  const code = exitCodeOf(followed);
  if (job === undefined) return code;
  const report = reportAdoption(job);
  if (!json) terminal.out(`${await formatReport(report)}${describeEnd(job)}`);
  return code === exitCodes.ok && report.left > 0 ? exitCodes.failed : code;
}

async function formatReport({ rows, adoptedBytes, left }: AdoptReport): Promise<string> {
  const table = await formatTable(
    [
      { head: "" },
      { head: "ADOPTED", align: "right" },
      { head: "ALREADY THERE", align: "right" },
      { head: "LEFT", align: "right" },
      { head: "WHY" },
    ],
    rows.map(({ sort, adopted, alreadyThere, skipped }) => {
      const reasons = [...skipped].map(([reason, count]) => `${count} ${reason}`);
      const leftHere = skipped.values().reduce((sum, count) => sum + count, 0);
      return [sort, String(adopted), String(alreadyThere), String(leftHere), reasons.join(", ")];
    }),
  );
  const again = `${formatCount(left, "object")} left for want of room, or unreadable: run it again when that is put right\n`;
  return `\n${table}blobs adopted: ${formatBytes(adoptedBytes)}\n${left === 0 ? "" : again}`;
}
