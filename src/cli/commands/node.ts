import type { Command } from "commander";
import { systemClock } from "../../concurrency/clock.ts";
import { ValueError } from "../../config/config-error.ts";
import { parseDuration } from "../../config/duration.ts";
import type { FileOutcome } from "../../nodes/own-files.ts";
import type { NodeSettings, Wanted } from "../../nodes/settings.ts";
import { explain } from "../serve.ts";
import { CommandFailure, exitCodes } from "../terminal.ts";
import { addCommand, type CommandContext } from "./command.ts";
import { addNodeOptions, type NodeOptionName, NodeOptions } from "./node-options.ts";

type Parent = Pick<CommandContext, "program">;

const fileOptions: readonly NodeOptionName[] = ["owner", "containerd-config", "containerd-hosts", "crio", "host-root"];
const watchOptions: readonly NodeOptionName[] = ["probe-listen", "interval"];
/** How long a mirror may take to answer before its files are written by hand. */
const answerMs = 5_000;
const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount";

/**
 * Adds the commands that tell the runtimes of a node of a mirror: `node watch`, `write`, `remove` and `status`; and
 * `await`, by which the hooks of a chart wait for them. What they need is loaded by them alone.
 */
export function addNodeCommands(context: CommandContext): Command[] {
  const node = addCommand(context, "node", "tell containerd, CRI-O and podman of this machine of a mirror", []);
  node.usage("watch|write|remove|status|await [options]").action(() => {
    throw new CommandFailure("name one: node watch, write, remove, status or await", { exitCode: exitCodes.usage });
  });
  const parent = { program: node };
  return [
    node,
    addWatch(context, parent),
    addWrite(context, parent),
    addRemove(context, parent),
    addStatus(context, parent),
    addAwait(context, parent),
  ];
}

function addWatch(context: CommandContext, parent: Parent): Command {
  const about = "write the files while the mirror answers, and take them back when it stays away, and at the end";
  const watch = addCommand(parent, "watch", about, []).action(async () => {
    const options = new NodeOptions(watch, context.terminal);
    const relay = options.relay();
    await keep(context, options, relay, options.wanted(relay));
  });
  return addNodeOptions(watch, ["mirror", "relay", "registry", ...fileOptions, ...watchOptions]);
}

function addWrite(context: CommandContext, parent: Parent): Command {
  const write = addCommand(parent, "write", "write the files once, if the mirror answers", []).action(async () => {
    const { probe } = await import("../../nodes/probe.ts");
    const options = new NodeOptions(write, context.terminal);
    const wanted = options.wanted();
    const settings = options.settings();
    const why = await probe(wanted.mirror, answerMs);
    if (why !== undefined) throw new CommandFailure(`nothing is written, as ${wanted.mirror} does not answer: ${why}`);
    context.finish(await report(context, settings, wanted));
  });
  return addNodeOptions(write, ["mirror", "registry", ...fileOptions]);
}

function addRemove(context: CommandContext, parent: Parent): Command {
  const about = "take back what was written; exit code 0 when nothing of this owner is left";
  const remove = addCommand(parent, "remove", about, [])
    .option("--stay", "then stay until SIGTERM, and be ready at --probe-listen")
    .action(async () => {
      const options = new NodeOptions(remove, context.terminal);
      if (remove.opts<{ readonly stay?: boolean }>().stay === true) await keep(context, options, undefined, undefined);
      else context.finish(await report(context, options.settings(), undefined));
    });
  return addNodeOptions(remove, [...fileOptions, ...watchOptions]);
}

function addStatus(context: CommandContext, parent: Parent): Command {
  const about = "show what is written, what is not used yet, and what is in the way; exit code 1 where that is so";
  const status = addCommand(parent, "status", about, []).action(async () => {
    const { probe } = await import("../../nodes/probe.ts");
    const options = new NodeOptions(status, context.terminal);
    const isCompared = options.has("mirror") || options.has("registry");
    const wanted = isCompared ? options.wanted() : undefined;
    const why = wanted === undefined ? undefined : await probe(wanted.mirror, answerMs);
    if (why !== undefined) context.terminal.out(`${wanted?.mirror} does not answer: ${why}\n`);
    const exitCode = await report(context, options.settings(), wanted, true);
    context.finish(why === undefined ? exitCode : exitCodes.failed);
  });
  return addNodeOptions(status, ["mirror", "registry", ...fileOptions]);
}

/** Runs until SIGTERM; exit code 0 when nothing of this owner is left then. */
async function keep(
  { finish, stopSignal }: CommandContext,
  options: NodeOptions,
  relay: ReturnType<NodeOptions["relay"]>,
  wanted: Wanted | undefined,
): Promise<void> {
  const watchOptions = {
    settings: options.settings(),
    wanted,
    relay,
    probeListen: options.probeListen(),
    intervalMs: options.intervalMs(),
  };
  const { watch } = await import("../../nodes/watch.ts");
  const { createLogger } = await import("../../observe/log.ts");
  const log = await createLogger({ level: "info", format: "json" });
  try {
    const isAllTakenBack = await watch(watchOptions, { log, clock: systemClock, stop: stopSignal() });
    finish(isAllTakenBack ? exitCodes.ok : exitCodes.failed);
  } catch (error) {
    throw new CommandFailure(explain(error), { cause: error });
  } finally {
    log.flush();
  }
}

/** Brings the files in order, or only looks at them, says how they are, and returns the exit code. */
async function report(
  { terminal }: CommandContext,
  settings: NodeSettings,
  wanted: Wanted | undefined,
  isDryRun = false,
): Promise<number> {
  const { reconcile } = await import("../../nodes/reconcile.ts");
  const { outcomes, notes } = await reconcile(settings, wanted, isDryRun).catch((error: unknown) => {
    throw new CommandFailure(explain(error), { cause: error });
  });
  const lines = [...outcomes.map(formatOutcome), ...notes.map((note) => `note: ${note}`)];
  if (outcomes.length === 0) lines.push(`nothing of ${settings.owner} is here`);
  terminal.out(`${lines.join("\n")}\n`);
  return outcomes.some(({ state }) => notInOrder.has(state)) ? exitCodes.failed : exitCodes.ok;
}

const notInOrder: ReadonlySet<FileOutcome["state"]> = new Set(["left", "missing", "surplus"]);
const words: Readonly<Record<FileOutcome["state"], string>> = {
  written: "written",
  kept: "there",
  removed: "removed",
  skipped: "skipped",
  left: "left alone",
  missing: "missing",
  surplus: "not wanted",
};

function formatOutcome({ file, state, why }: FileOutcome): string {
  return `${words[state]}: ${file}${why === undefined ? "" : `: ${why}`}`;
}

interface AwaitFlags {
  readonly gone?: boolean;
  readonly ready?: boolean;
  readonly delete?: boolean;
  readonly timeout: string;
}

function addAwait({ terminal }: CommandContext, parent: Parent): Command {
  const command = addCommand(parent, "await <daemonset>", "in a pod: wait for a DaemonSet of its namespace", [])
    .usage("[options] DAEMONSET")
    .option("--gone", "until neither it nor a pod of it is left")
    .option("--delete", "with --gone: delete it first")
    .option("--ready", "until each node that should have a pod of it has a ready one")
    .option("--timeout <time>", "how long to wait; exit code 1 then [default: 5m]", "5m")
    .action(async (daemonSet: string) => {
      const { gone = false, ready = false, delete: isDeleted = false, timeout } = command.opts<AwaitFlags>();
      if (gone === ready) refuseUsage("either --gone or --ready");
      if (ready && isDeleted) refuseUsage("--delete is for --gone");
      const { KUBERNETES_SERVICE_HOST: host, KUBERNETES_SERVICE_PORT: port = "443" } = terminal.env;
      if (host === undefined) refuseUsage("this is no pod: KUBERNETES_SERVICE_HOST is not set");
      const { awaitDaemonSet } = await import("../../nodes/daemonset.ts");
      const access = { url: `https://${host.includes(":") ? `[${host}]` : host}:${port}`, account: serviceAccount };
      const until = gone ? "gone" : "ready";
      const goal = { daemonSet, until, isDeleted, timeoutMs: readTimeout(timeout) } as const;
      await awaitDaemonSet(access, goal, (text) => terminal.out(`waiting: ${text}\n`), systemClock).catch((error) => {
        throw new CommandFailure(explain(error), { cause: error });
      });
      terminal.out(`${daemonSet} is ${until}\n`);
    });
  return command;
}

function readTimeout(text: string): number {
  try {
    return parseDuration(text);
  } catch (error) {
    if (error instanceof ValueError) refuseUsage(`--timeout: ${error.message}`);
    throw error;
  }
}

function refuseUsage(message: string): never {
  throw new CommandFailure(message, { exitCode: exitCodes.usage });
}
