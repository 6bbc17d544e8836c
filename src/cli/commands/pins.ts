import type { Command } from "commander";
import type { PinReport } from "../../jobs/pin-list.ts";
import { formatTable } from "../table.ts";
import { addAdminCommand, type AdminFlags, type CommandContext, withClient, writeJson } from "./command.ts";
import { forEachWord } from "./each-word.ts";

/** Adds the commands that keep things in the cache: `pin`, `unpin`. */
export function addPinCommands(context: CommandContext): Command[] {
  const pin = addAdminCommand(context, "pin [pattern...]", "never evict what matches; without a pattern, list the pins")
    .usage("[options] [PATTERN...]")
    .addHelpText(
      "after",
      "\nA pattern is NAMESPACE/REPOSITORY, with :TAG or @DIGEST or without. * stands for anything within a part, ** for\n" +
        "any parts: docker.io/library/*:lts, quay.io/team/**.",
    )
    .action((patterns: readonly string[]) => change(context, pin, "add", patterns));
  const unpin = addAdminCommand(context, "unpin <pattern...>", "take away pins that were added with `pin`")
    .usage("[options] PATTERN...")
    .action((patterns: readonly string[]) => change(context, unpin, "remove", patterns));
  return [pin, unpin];
}

/** Changes the pins, one after the other, and shows what they are then. */
function change(
  context: CommandContext,
  command: Command,
  what: "add" | "remove",
  patterns: readonly string[],
): Promise<void> {
  const { terminal } = context;
  return withClient(context, command, async (client) => {
    const { exitCode } = await forEachWord(terminal, patterns, (pattern) => client.changePin(what, pattern));
    const report = await client.get<PinReport>("/pins");
    if (command.opts<AdminFlags>().json === true) writeJson(terminal, report);
    else terminal.out(await formatPins(report));
    return exitCode;
  });
}

async function formatPins(report: PinReport): Promise<string> {
  const rows = [
    ...report.configured.map((pattern) => [pattern, "configuration"]),
    ...report.added.map((pattern) => [pattern, "added"]),
  ];
  return rows.length === 0 ? "nothing is pinned\n" : formatTable([{ head: "PATTERN" }, { head: "FROM" }], rows);
}
