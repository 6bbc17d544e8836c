import type { Command } from "commander";
import type { ReplicaReport } from "../../jobs/reports.ts";
import { formatMs } from "../quantities.ts";
import { formatTable } from "../table.ts";
import { addAdminCommand, type AdminFlags, type CommandContext, withClient, writeJson } from "./command.ts";

/** Adds the command that shows the instances that act as one: `status`. */
export function addStatusCommand(context: CommandContext): Command {
  const status = addAdminCommand(context, "status", "show the replicas that are there, and what each fetches").action(
    () =>
      withClient(context, status, async (client) => {
        const { terminal } = context;
        const report = await client.get<{ readonly replicas: readonly ReplicaReport[] }>("/replicas");
        if (status.opts<AdminFlags>().json === true) writeJson(terminal, report);
        else terminal.out(await formatReplicas(report.replicas));
      }),
  );
  return status;
}

async function formatReplicas(replicas: readonly ReplicaReport[]): Promise<string> {
  if (replicas.length === 0) return "it is alone: its configuration has no `replicas`\n";
  const rows = replicas.flatMap(({ id, address, isSelf, silentMs, fetching }) => {
    const heard = isSelf ? "answers" : `${formatMs(silentMs)} ago`;
    const [first = "", ...more] = fetching;
    return [[id, address, heard, first], ...more.map((each) => ["", "", "", each])];
  });
  return formatTable([{ head: "REPLICA" }, { head: "ADDRESS" }, { head: "HEARD OF" }, { head: "FETCHES" }], rows);
}
