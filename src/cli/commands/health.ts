import type * as http from "node:http";
import { createRequire } from "node:module";
import type { Command } from "commander";
import { formatListen, type ListenAddress } from "../../config/address.ts";
import { loadConfiguration } from "../configuration.ts";
import { explain } from "../serve.ts";
import { CommandFailure, exitCodes } from "../terminal.ts";
import { addCommand, type CommandContext, localAddress } from "./command.ts";

// By `import` it would load what it has of the web, too: see `http/connections`.
const { get } = createRequire(import.meta.url)("node:http") as typeof http;
const patienceMs = 3_000;

/**
 * Adds the command by which a container's runtime finds out whether the mirror on this machine takes requests: `health`.
 * It asks for `/readyz` at `listen`; the exit code tells, and a line says why not.
 */
export function addHealthCommand(context: CommandContext): Command {
  const { terminal } = context;
  const health = addCommand(context, "health", "ask the mirror on this machine whether it takes requests", [
    "config",
    "listen",
  ]).action(async () => {
    const { listen } = await loadConfiguration(health, terminal);
    if (listen.kind === "tcp" && listen.port === 0) {
      throw new CommandFailure("it is not known where the mirror listens: its port is any free one", {
        exitCode: exitCodes.usage,
      });
    }
    const { status, text } = await askReadiness(localAddress(listen));
    if (status !== 200) throw new CommandFailure(`not ready (${status}): ${text.trim()}`);
    terminal.out(text);
  });
  return health;
}

async function askReadiness(address: ListenAddress): Promise<{ readonly status: number; readonly text: string }> {
  const place =
    address.kind === "unix" ? { socketPath: address.path } : { host: address.host, port: String(address.port) };
  const answer = Promise.withResolvers<{ status: number; text: string }>();
  const fail = (error: Error): void => answer.reject(error);
  const signal = AbortSignal.timeout(patienceMs);
  const asking = get({ ...place, path: "/readyz", agent: false, signal }, (response) => {
    let text = "";
    response.setEncoding("utf8").on("data", (more: string) => (text += more));
    response.on("end", () => answer.resolve({ status: response.statusCode ?? 0, text })).on("error", fail);
  }).on("error", fail);
  try {
    return await answer.promise;
  } catch (error) {
    const reason = signal.aborted ? `nothing within ${patienceMs / 1_000} s` : explain(error);
    throw new CommandFailure(`no mirror answers at ${formatListen(address)}: ${reason}`, { cause: error });
  } finally {
    asking.destroy();
  }
}
