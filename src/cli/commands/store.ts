import type { Command } from "commander";
import { ConfigError } from "../../config/config-error.ts";
import type { Config } from "../../config/file-schema.ts";
import { options } from "../../config/options.ts";
import { toFlag } from "../configuration.ts";
import { runInStore, type StoreHost } from "../job-host.ts";
import { explain } from "../serve.ts";
import { CommandFailure } from "../terminal.ts";
import type { CommandContext } from "./command.ts";

/** The settings that working on the storage itself depends on, and those that pulling does besides. */
export const storeSettings: readonly string[] = ["logLevel", "logFormat"];
export const pullSettings: readonly string[] = [
  "upstreamConfigFile",
  "upstreamCredentials",
  "maxSize",
  "minFree",
  "maxObjectSize",
];

/** Adds the flag that names the storage's folder. */
export function addRootFlag(command: Command): Command {
  for (const option of options.filter(({ name }) => name === "root")) command.addOption(toFlag(option));
  return command;
}

/**
 * Opens the storage of a configuration, to run jobs on it; who gets it closes it.
 *
 * @throws {CommandFailure}
 */
export async function openStore(context: CommandContext, config: Config, mustExist: boolean): Promise<StoreHost> {
  try {
    return runInStore(await context.openStore(config, mustExist));
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw new CommandFailure(explain(error), { cause: error });
  }
}
