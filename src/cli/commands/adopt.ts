import type { Config } from "../../config/file-schema.ts";
import type { AdoptReport } from "../../jobs/adopt.ts";
import { bucketFlags, loadConfiguration, toFlag } from "../configuration.ts";
import type { StoreHost } from "../job-host.ts";
import { formatBytes, formatCount } from "../quantities.ts";
import { describeEnd, exitCodeOf, followJob } from "../run-job.ts";
import { formatTable } from "../table.ts";
import { CommandFailure, exitCodes } from "../terminal.ts";
import { type AdoptSource, openAdoptSource } from "./adopt-source.ts";
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
    .usage("[options] FOLDER | s3://BUCKET[/PREFIX]")
    .option("-n, --dry-run", "only show what would be adopted")
    .option("-y, --yes", "do not show that and ask first")
    .option("--json", "write the job's states, one a line, for scripts");
  for (const option of bucketFlags) adopt.addOption(toFlag(option));
  addRootFlag(adopt)
    .addHelpText(
      "after",
      "\nFOLDER is its filesystem root, BUCKET its bucket, with manifests/ and blobs/; nothing is changed there. It is copied\n" +
        "into the storage, on which no mirror may run. What is there is skipped: a run that was stopped goes on where it was.\n" +
        "A bucket is reached by the flags and variables of the command s3, else as storage.s3 of the configuration is; with\n" +
        "--host nothing of that counts. Configure the registries first: of others nothing but manifests is taken. On a\n" +
        "terminal the plan is shown first; elsewhere --yes or --dry-run is needed. Exit code 1 where something was left for\n" +
        "want of room, or could not be read.",
    )
    .action(async (from: string) => {
      const { dryRun = false, yes = false, json = false } = adopt.opts<AdoptFlags>();
      if (!dryRun && !yes && (person.ask === undefined || json)) {
        throw new CommandFailure("nobody can be asked here: use --yes, or --dry-run to see the plan", {
          exitCode: exitCodes.usage,
        });
      }
      const config = await loadConfiguration(adopt, terminal, bucketFlags);
      const source = await openAdoptSource(from, config, adopt, terminal);
      try {
        finish(await adoptFrom(context, config, source, { dryRun, yes, json }));
      } finally {
        await source.close();
      }
    });
}

/** Shows the plan and asks, as far as that is wanted, and adopts; the exit code. */
async function adoptFrom(
  context: CommandContext,
  config: Config,
  source: AdoptSource,
  { dryRun, yes, json }: Required<AdoptFlags>,
): Promise<number> {
  const host = await openStore(context, config, false);
  try {
    if (dryRun || !yes) {
      const plan = await runAdoption(context, host, source, { dryRun: true, json });
      if (dryRun || !plan.isWhole) return plan.exitCode;
      await expectYes(context);
    }
    return (await runAdoption(context, host, source, { dryRun: false, json })).exitCode;
  } finally {
    await host.close();
  }
}

async function expectYes({ person }: CommandContext): Promise<void> {
  const answer = await person.ask?.("Adopt it? [y/N] ");
  if (/^y(es)?$/i.test(answer ?? "")) return;
  const exitCode = answer === undefined ? exitCodes.interrupted : exitCodes.failed;
  throw new CommandFailure("nothing was adopted", { exitCode });
}

/** Runs it, shows it and what it came to, and whether it came to its end; Ctrl-C stops it. */
async function runAdoption(
  { terminal, person }: CommandContext,
  host: StoreHost,
  source: AdoptSource,
  { dryRun, json }: { readonly dryRun: boolean; readonly json: boolean },
): Promise<{ readonly exitCode: number; readonly isWhole: boolean }> {
  const { reportAdoption } = await import("../../jobs/adopt.ts");
  const { id } = await host.start({ kind: "adopt", source: source.reader, dryRun });
  const followed = await followJob(host, id, { terminal, person, json, onInterrupt: "cancel" });
  const { job } = followed;
  const exitCode = exitCodeOf(followed);
  if (job === undefined) return { exitCode, isWhole: false };
  const report = reportAdoption(job);
  if (!json) terminal.out(`${await formatReport(report)}${describeEnd(job)}`);
  if (job.state !== "succeeded") return { exitCode, isWhole: false };
  const { firstFailure } = source;
  if (firstFailure !== undefined) terminal.err(`entrepot: not all could be read: ${firstFailure.message}\n`);
  return { exitCode: report.left > 0 ? exitCodes.failed : exitCode, isWhole: true };
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
