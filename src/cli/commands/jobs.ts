import { type Command, InvalidArgumentError } from "commander";
import { ValueError } from "../../config/config-error.ts";
import { explainReading } from "../../config/named-files.ts";
import { parseRate } from "../../config/size.ts";
import { decodeText } from "../../config/text.ts";
import type { JobRequest } from "../../jobs/job-request.ts";
import type { JobState } from "../../jobs/job.ts";
import { formatImageReference, ImageListError, parseImageList } from "../../oci/image-reference.ts";
import { loadConfiguration } from "../configuration.ts";
import { formatAgo, formatCount, formatMs } from "../quantities.ts";
import { describeEnd, exitCodeOf, followJob } from "../run-job.ts";
import { formatTable } from "../table.ts";
import { CommandFailure, exitCodes, type Terminal } from "../terminal.ts";
import { addAdminCommand, type AdminFlags, type CommandContext, connect, withClient, writeJson } from "./command.ts";
import { addRootFlag, openStore, pullSettings, storeSettings } from "./store.ts";

type ListedJob = Omit<JobState, "steps">;

interface JobFlags extends AdminFlags {
  readonly dryRun?: boolean;
  readonly store?: boolean;
}

/** Adds the commands that run jobs and look at them: `evict`, `collect`, `retain`, `verify`, `warm`, `jobs`. */
export function addJobCommands(context: CommandContext): Command[] {
  return [
    addEvict(context),
    addCollect(context),
    addRetain(context),
    addVerify(context),
    addWarm(context),
    addJobs(context),
  ];
}

function addEvict(context: CommandContext): Command {
  const evict = addAdminCommand(context, "evict", "remove what was not used for too long, and what is above the limits")
    .option("-n, --dry-run", "only count what would be removed")
    .action(() => runJob(context, evict, { kind: "evict", dryRun: evict.opts<JobFlags>().dryRun }));
  return evict;
}

function addCollect(context: CommandContext): Command {
  const collect = addAdminCommand(
    context,
    "collect",
    "remove from the hosted namespaces the tags that no rule keeps, and what nothing reaches",
    ["upstreamConfigFile", ...storeSettings],
  ).option("-n, --dry-run", "only name and count what would be removed");
  addStoreFlags(collect).action(() =>
    runJob(context, collect, { kind: "collect", dryRun: collect.opts<JobFlags>().dryRun }),
  );
  return collect;
}

function addRetain(context: CommandContext): Command {
  const retain = addAdminCommand(
    context,
    "retain",
    "remove from the bucket what is unused, and what is above its limits",
  )
    .option("-n, --dry-run", "only count what would be removed")
    .action(() => runJob(context, retain, { kind: "retain", dryRun: retain.opts<JobFlags>().dryRun }));
  return retain;
}

function addVerify(context: CommandContext): Command {
  const verify = addAdminCommand(
    context,
    "verify",
    "check all that is cached; exit code 1 where something is wrong",
    storeSettings,
  )
    .option("--repair", "put right what is found: damaged content is put aside, and fetched again on its next use")
    .option("-n, --dry-run", "change nothing, also with --repair")
    .option("--rate <rate>", "how fast it reads, such as 50MiB/s [default: the configuration's]", readRate);
  addStoreFlags(verify).action(() => {
    const { dryRun, repair, rate } = verify.opts<JobFlags & { repair?: boolean; rate?: number }>();
    return runJob(context, verify, { kind: "verify", dryRun, repair, bytesPerSecond: rate });
  });
  return verify;
}

function addWarm(context: CommandContext): Command {
  const warm = addAdminCommand(context, "warm <image...>", "pull images into the cache; what is there is skipped", [
    ...pullSettings,
    ...storeSettings,
  ])
    .usage("[options] FILE|IMAGE...")
    .option(
      "--platform <os/arch>",
      "pull only this platform of images that have several, such as linux/arm64; may be repeated [default: the configuration's]",
      (value: string, before: readonly string[] | undefined) => [...(before ?? []), ...value.split(",")],
    )
    .option(
      "--parallel <n>",
      "images at a time, and manifests and blobs of all of them together, 1 to 64 [default: the configuration's]",
      readParallel,
    )
    .addHelpText("after", "\nA word that is a file's name is read as a list: an image a line, # begins a comment.");
  addStoreFlags(warm).action((words: readonly string[]) => {
    const { platform, parallel } = warm.opts<JobFlags & { platform?: string[]; parallel?: number }>();
    const images = words.flatMap((word) => readImages(context.terminal, word));
    if (images.length === 0) throw new CommandFailure("the lists name no image", { exitCode: exitCodes.usage });
    return runJob(context, warm, { kind: "warm", images, platforms: platform, parallel });
  });
  return warm;
}

function addJobs(context: CommandContext): Command {
  const { terminal, person } = context;
  const jobs = addAdminCommand(context, "jobs [id]", "list the jobs that run or ran; with an id, follow that one")
    .usage("[options] [ID]")
    .option("--cancel", "stop the job of that id")
    .action((id: string | undefined) =>
      withClient(context, jobs, async (client) => {
        const { json = false, cancel = false } = jobs.opts<AdminFlags & { cancel?: boolean }>();
        if (id === undefined) {
          if (cancel) throw new CommandFailure("--cancel needs a job's id", { exitCode: exitCodes.usage });
          const answer = await client.get<{ readonly items: readonly ListedJob[] }>("/jobs");
          if (json) writeJson(terminal, answer);
          else terminal.out(await formatJobs(answer.items, Date.now()));
          return exitCodes.ok;
        }
        if (cancel) await client.cancel(id);
        const followed = await followJob(client, id, { terminal, person, json, onInterrupt: "leave" });
        if (followed.job !== undefined && !json) terminal.out(describeEnd(followed.job));
        return cancel && !followed.interrupted ? exitCodes.ok : exitCodeOf(followed);
      }),
    );
  return jobs;
}

function addStoreFlags(command: Command): Command {
  return addRootFlag(command.option("--store", "work on the storage folder itself, on which no mirror may run"));
}

/** Starts a job, shows it, and makes its end the command's. */
async function runJob(context: CommandContext, command: Command, request: JobRequest): Promise<void> {
  const { terminal, person, finish } = context;
  const { json = false, store = false } = command.opts<JobFlags>();
  refuseIdleFlags(command, store);
  const host = store
    ? // A storage that is not there is no sound one.
      await openStore(context, await loadConfiguration(command, terminal), request.kind !== "warm")
    : await connect(context, command);
  try {
    const { id } = await host.start(request);
    const followed = await followJob(host, id, { terminal, person, json, onInterrupt: "cancel" });
    const { job } = followed;
    if (job !== undefined && !json) terminal.out(describeEnd(job));
    const problems = job === undefined ? 0 : await countLeft(job);
    if (problems > 0 && !json) {
      const hint = job?.dryRun === true ? "--repair puts them right" : "could not be put right";
      terminal.out(`${formatCount(problems, "thing")} ${problems === 1 ? "is" : "are"} wrong; ${hint}\n`);
    }
    const code = exitCodeOf(followed);
    finish(code === exitCodes.ok && problems > 0 ? exitCodes.failed : code);
  } finally {
    await host.close();
  }
}

/** Refuses flags that were given and would do nothing. */
function refuseIdleFlags(command: Command, store: boolean): void {
  const idle = store ? { server: "--server", adminTokenFile: "--admin-token-file" } : { root: "--root" };
  for (const [name, flag] of Object.entries(idle)) {
    if (command.getOptionValueSourceWithGlobals(name) !== "cli") continue;
    const message = store ? `either --store or ${flag}` : `${flag} is only for --store`;
    throw new CommandFailure(message, { exitCode: exitCodes.usage });
  }
}

/** How much a scrub found wrong and left as it is. */
async function countLeft(job: JobState): Promise<number> {
  if (job.kind !== "verify") return 0;
  const { problemsOf } = await import("../../jobs/verify.ts");
  const problems = problemsOf(job);
  if (job.dryRun) return sum(problems.values());
  const quarantined = sum(job.steps.map(({ counts }) => counts["quarantined"] ?? 0));
  return (problems.get("failed") ?? 0) + Math.max(0, (problems.get("damaged") ?? 0) - quarantined);
}

function sum(numbers: Iterable<number>): number {
  let total = 0;
  for (const number of numbers) total += number;
  return total;
}

/** The images that a word stands for: itself, or those in the file of that name. */
function readImages(terminal: Terminal, word: string): readonly string[] {
  let text: string;
  try {
    text = decodeText(terminal.readFile(word));
  } catch (error) {
    // No image's name begins like that.
    if (!/^[./~]/.test(word)) return [word];
    throw new CommandFailure(`the list ${word} cannot be read: ${explainReading(error)}`, {
      exitCode: exitCodes.usage,
    });
  }
  try {
    return parseImageList(text).map(formatImageReference);
  } catch (error) {
    if (!(error instanceof ImageListError)) throw error;
    const lines = error.problems.map(({ line, message }) => `${word}:${line}: ${message}`);
    throw new CommandFailure(lines.join("\nentrepot: "), { exitCode: exitCodes.usage });
  }
}

async function formatJobs(jobs: readonly ListedJob[], now: number): Promise<string> {
  if (jobs.length === 0) return "no job ran since the mirror started\n";
  return formatTable(
    [
      { head: "ID" },
      { head: "STATE" },
      { head: "STARTED", align: "right" },
      { head: "TOOK", align: "right" },
      { head: "" },
    ],
    jobs.map(({ id, state, startedAt, endedAt = now, dryRun, error }) => {
      return [id, state, formatAgo(startedAt, now), formatMs(endedAt - startedAt), error ?? (dryRun ? "dry run" : "")];
    }),
  );
}

function readRate(text: string): number {
  try {
    return parseRate(text);
  } catch (error) {
    if (!(error instanceof ValueError)) throw error;
    throw new InvalidArgumentError(error.message);
  }
}

function readParallel(text: string): number {
  if (!/^\d{1,2}$/.test(text) || Number(text) < 1 || Number(text) > 64) throw new InvalidArgumentError("1 to 64");
  return Number(text);
}
