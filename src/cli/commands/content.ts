import type { Command } from "commander";
import type { RetentionReport } from "../../bucket/retention.ts";
import type { UsageReport } from "../../jobs/reports.ts";
import type { PurgeReport } from "../../jobs/purge.ts";
import type { ListPart, NamespaceUsage, RepositoryUsage, TagUsage } from "../../ledger/ledger.ts";
import type { AdminClient, ListedPath } from "../admin-client.ts";
import { formatAgo, formatBytes, formatCount } from "../quantities.ts";
import { followJob } from "../run-job.ts";
import { formatTable } from "../table.ts";
import { CommandFailure, exitCodes, Refusal } from "../terminal.ts";
import { addAdminCommand, type AdminFlags, type CommandContext, withClient, writeJson } from "./command.ts";
import { forEachWord } from "./each-word.ts";

const itemsAtOnce = "1000";

/** Adds the commands that look at what is cached, and remove it: `ls`, `du`, `purge`. */
export function addContentCommands(context: CommandContext): Command[] {
  const { terminal } = context;
  const list = addAdminCommand(
    context,
    "ls [name]",
    "list what is cached: the registries, or a registry's repositories, or a repository's tags",
  )
    .usage("[options] [NAMESPACE[/REPOSITORY]]")
    .addHelpText(
      "after",
      "\nExamples:\n  entrepot ls\n  entrepot ls docker.io\n  entrepot ls docker.io/library/alpine\n  entrepot ls alpine",
    )
    .action((name: string | undefined) =>
      withClient(context, list, async (client) => {
        const { json = false } = list.opts<AdminFlags>();
        const found = await listContent(client, name);
        if (json) writeJson(terminal, { items: found.items });
        else terminal.out(await found.table(Date.now()));
      }),
    );
  const usage = addAdminCommand(context, "du", "show how full the cache is, by registry").action(() =>
    withClient(context, usage, async (client) => {
      const report = await client.get<UsageReport>("/usage");
      if (usage.opts<AdminFlags>().json === true) writeJson(terminal, report);
      else terminal.out(await formatUsage(report, Date.now()));
    }),
  );
  return [list, usage, addPurge(context)];
}

interface Listing {
  readonly items: readonly unknown[];
  readonly table: (now: number) => Promise<string>;
}

async function listContent(client: AdminClient, name: string | undefined): Promise<Listing> {
  if (name === undefined) {
    const { items } = await client.get<ListPart<NamespaceUsage>>("/namespaces");
    return { items, table: (now) => formatNamespaces(items, now) };
  }
  const namespace = await namespaceOf(client, name);
  if (namespace !== undefined) {
    const items = await listAll<RepositoryUsage>(client, "/repositories", { namespace });
    return { items, table: (now) => formatRepositories(items, now) };
  }
  if (/[:@][^/]*$/.test(name)) {
    throw wrong(`${name}: ls takes no tag and no digest; a registry with a port is written HOST:PORT/`);
  }
  const items = await listAll<TagUsage>(client, "/tags", { repository: name });
  return { items, table: (now) => formatTags(items, now) };
}

/** The registry that a name stands for; `undefined` where it is a repository's, which the mirror reads as in `purge`. */
async function namespaceOf(client: AdminClient, name: string): Promise<string | undefined> {
  if (name.indexOf("/") === name.length - 1) return name.slice(0, -1);
  if (/[/:@]/.test(name)) return undefined;
  if (name.includes(".") || name === "localhost") return name;
  const { items } = await client.get<ListPart<NamespaceUsage>>("/namespaces");
  return items.some(({ namespace }) => namespace === name) ? name : undefined;
}

async function listAll<Item>(
  client: AdminClient,
  path: ListedPath,
  query: Readonly<Record<string, string>>,
): Promise<Item[]> {
  const items: Item[] = [];
  let after: string | undefined;
  do {
    const part: ListPart<Item> = await client.get(path, { ...query, limit: itemsAtOnce, after });
    items.push(...part.items);
    after = part.next;
  } while (after !== undefined);
  return items;
}

const size = { head: "SIZE", align: "right" } as const;
const lastUse = { head: "LAST USE", align: "right" } as const;

function formatNamespaces(items: readonly NamespaceUsage[], now: number): Promise<string> {
  return formatTable(
    [{ head: "NAMESPACE" }, { head: "REPOSITORIES", align: "right" }, size, lastUse],
    items.map(({ namespace, repositories, bytes, usedAt }) => {
      return [namespace, String(repositories), formatBytes(bytes), formatAgo(usedAt, now)];
    }),
  );
}

function formatRepositories(items: readonly RepositoryUsage[], now: number): Promise<string> {
  return formatTable(
    [{ head: "REPOSITORY" }, { head: "TAGS", align: "right" }, size, lastUse],
    items.map(({ namespace, repository, tags, bytes, usedAt }) => {
      return [`${namespace}/${repository}`, String(tags), formatBytes(bytes), formatAgo(usedAt, now)];
    }),
  );
}

function formatTags(items: readonly TagUsage[], now: number): Promise<string> {
  return formatTable(
    [{ head: "TAG" }, { head: "DIGEST" }, size, lastUse, { head: "PINNED" }],
    items.map(({ tag = "-", digest, bytes, usedAt, pinned }) => {
      return [tag, digest, formatBytes(bytes), formatAgo(usedAt, now), pinned ? "yes" : ""];
    }),
  );
}

function describeBucket({ bytes, removed, removedBytes, condemned, at, by }: RetentionReport, now: number): string {
  const went = `${formatCount(removed, "object")} removed, ${formatCount(condemned, "object")} to go`;
  return `${formatBytes(bytes - removedBytes)} (${went}; by ${by}, ${formatAgo(at, now)})`;
}

async function formatUsage(report: UsageReport, now: number): Promise<string> {
  const limit = (bytes: number | undefined): string => (bytes === undefined ? "none" : formatBytes(bytes));
  const namespaces = await formatTable(
    [{ head: "NAMESPACE" }, { head: "REPOSITORIES", align: "right" }, size, { head: "LIMIT", align: "right" }],
    report.namespaces.map(({ namespace, repositories, bytes, limitBytes }) => {
      return [namespace, String(repositories), formatBytes(bytes), limit(limitBytes)];
    }),
  );
  const used = report.exact
    ? formatBytes(report.bytes)
    : `at most ${formatBytes(report.bytes)} (the ledger is being rebuilt)`;
  const { ledgerBytes, foldersBytes, quarantineBytes, hostedBytes, othersBytes, slackBytes } = report.besides;
  const { bucket } = report;
  const lines = [
    ["used", used],
    ["being stored", formatBytes(report.reservedBytes)],
    ["ledger", formatBytes(ledgerBytes)],
    ["folders", formatBytes(foldersBytes)],
    ["quarantine", formatBytes(quarantineBytes)],
    ["other files", formatBytes(othersBytes)],
    ["hosted", formatBytes(hostedBytes)],
    ["kept back", formatBytes(slackBytes)],
    ["pinned", formatBytes(report.pinnedBytes)],
    ["limit", limit(report.limitBytes)],
    ["free on the volume", report.volume === undefined ? "unknown" : formatBytes(report.volume.freeBytes)],
    ...(bucket === undefined ? [] : [["bucket", describeBucket(bucket, now)]]),
  ];
  return `${namespaces}\n${lines.map(([what, amount]) => `${what}: ${amount}\n`).join("")}`;
}

interface PurgeFlags extends AdminFlags {
  readonly namespace?: string;
  readonly dryRun?: boolean;
  readonly yes?: boolean;
}

function addPurge(context: CommandContext): Command {
  const { terminal, person } = context;
  const purge = addAdminCommand(context, "purge [target...]", "remove something from the cache")
    .usage("[options] TARGET...")
    .option("--namespace <name>", "all that is cached of this registry, as the target NAMESPACE/")
    .option("-n, --dry-run", "only show what would be removed")
    .option("-y, --yes", "do not ask first")
    .addHelpText(
      "after",
      "\nA target is one of:\n" +
        "  docker.io/library/alpine:3          a tag, and what only it needs\n" +
        "  docker.io/library/alpine@sha256:…   a manifest with its tags, or a blob, of a repository\n" +
        "  docker.io/library/alpine            a repository\n" +
        "  docker.io/                          a registry\n" +
        "  sha256:…                            a manifest or blob in every repository\n" +
        "Pins do not protect what is purged. On a terminal the plan is shown first; elsewhere --yes or --dry-run is needed.",
    )
    .action((words: readonly string[]) =>
      withClient(context, purge, async (client) => {
        const { namespace, dryRun = false, yes = false, json = false } = purge.opts<PurgeFlags>();
        const targets = [...words, ...(namespace === undefined ? [] : [`${namespace.replace(/\/$/, "")}/`])];
        if (targets.length === 0) throw wrong("what is to be removed? See `entrepot help purge`");
        if (!dryRun && !yes && (person.ask === undefined || json)) {
          throw wrong("nobody can be asked here: use --yes, or --dry-run to see the plan");
        }
        const show = {
          ...(!json && { each: (report: PurgeReport) => terminal.out(describePurge(report)) }),
          ...(json && { end: (reports: readonly PurgeReport[]) => writeJson(terminal, reports) }),
        };
        const preview = (target: string): Promise<PurgeReport> => client.previewPurge(target);
        const remove = async (target: string): Promise<PurgeReport> =>
          runPurge(context, client, (await preview(target)).target);
        if (yes && !dryRun) return (await forEachWord(terminal, targets, remove, show)).exitCode;
        const plan = await forEachWord(terminal, targets, preview, show);
        if (dryRun || plan.words.length === 0) return plan.exitCode;
        const answer = await person.ask?.("Remove it? [y/N] ");
        if (!/^y(es)?$/i.test(answer ?? "")) {
          const exitCode = answer === undefined ? exitCodes.interrupted : exitCodes.failed;
          throw new CommandFailure("nothing was removed", { exitCode });
        }
        return Math.max(plan.exitCode, (await forEachWord(terminal, plan.words, remove, show)).exitCode);
      }),
    );
  return purge;
}

/**
 * Runs a purge as a job, with a bar on a terminal; Ctrl-C stops it.
 *
 * @throws {CommandFailure} It did not come to its end; what it removed until then is told.
 */
async function runPurge(
  { terminal, person }: CommandContext,
  client: AdminClient,
  target: string,
): Promise<PurgeReport> {
  const { id } = await client.start({ kind: "purge", target });
  const silent = { ...terminal, out: () => undefined };
  const { job, interrupted } = await followJob(client, id, {
    terminal: silent,
    person,
    json: false,
    onInterrupt: "cancel",
  });
  if (job === undefined) throw new CommandFailure(`${id} goes on`, { exitCode: exitCodes.interrupted });
  const { reportPurge } = await import("../../jobs/purge.ts");
  const report = reportPurge(target, job);
  if (job.state === "succeeded") return report;
  if (job.state === "failed") throw new Refusal(job.error ?? "it failed", { exitCode: exitCodes.failed });
  terminal.err(describePurge(report));
  throw new CommandFailure(`${id} was stopped`, { exitCode: interrupted ? exitCodes.interrupted : exitCodes.failed });
}

function describePurge({
  target,
  dryRun,
  tags,
  links,
  pages,
  freesBytes,
  contentsInUse,
  bucketObjects,
  incomplete,
}: PurgeReport): string {
  const parts = [
    formatCount(tags, "tag"),
    `${links} ${links === 1 ? "manifest or blob" : "manifests and blobs"}`,
    formatCount(pages, "listing"),
    ...(bucketObjects === undefined ? [] : [`${formatCount(bucketObjects, "object")} of the bucket`]),
  ];
  const inUse = contentsInUse === 0 ? "" : `; ${contentsInUse} of them are in use, and go later`;
  const bytes = `${incomplete ? "at least " : ""}${formatBytes(freesBytes)}${dryRun ? " would be freed" : " freed"}`;
  return `${target}: ${parts.join(", ")}${dryRun ? "" : " removed"}; ${bytes}${inUse}\n`;
}

function wrong(message: string): CommandFailure {
  return new CommandFailure(message, { exitCode: exitCodes.usage });
}
