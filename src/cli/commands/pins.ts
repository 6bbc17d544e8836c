import type { Command } from "commander";
import type { PinReport } from "../../jobs/pin-list.ts";
import { formatTable } from "../table.ts";
import type { Terminal } from "../terminal.ts";
import { addAdminCommand, type AdminFlags, type CommandContext, withClient, writeJson } from "./command.ts";

/** Adds the commands that keep things in the cache: `pin`, `unpin`. */
export function addPinCommands(context: CommandContext): Command[] {
  const { terminal } = context;
  const pin = addAdminCommand(context, "pin [pattern...]", "never evict what matches; without a pattern, list the pins")
    .usage("[options] [PATTERN...]")
    .addHelpText(
      "after",
      "\nA pattern is NAMESPACE/REPOSITORY, with :TAG or @DIGEST or without. * stands for anything within a part, ** for\n" +
        "any parts: docker.io/library/*:lts, quay.io/team/**.",
    )
    .action((patterns: readonly string[]) =>
      withClient(context, pin, async (client) => {
        for (const pattern of patterns) await client.post("/pins", { pattern });
        await show(terminal, pin, await client.get<PinReport>("/pins"));
      }),
    );
  const unpin = addAdminCommand(context, "unpin <pattern...>", "take away pins that were added with `pin`")
    .usage("[options] PATTERN...")
    .action((patterns: readonly string[]) =>
      withClient(context, unpin, async (client) => {
        for (const pattern of patterns) await client.delete("/pins", { pattern });
        await show(terminal, unpin, await client.get<PinReport>("/pins"));
      }),
    );
  return [pin, unpin];
}

async function show(terminal: Terminal, command: Command, report: PinReport): Promise<void> {
  if (command.opts<AdminFlags>().json === true) {
    writeJson(terminal, report);
    return;
  }
  const rows = [
    ...report.configured.map((pattern) => [pattern, "configuration"]),
    ...report.added.map((pattern) => [pattern, "added"]),
  ];
  const table = rows.length === 0 ? "nothing is pinned\n" : formatTable([{ head: "PATTERN" }, { head: "FROM" }], rows);
  terminal.out(await table);
}
