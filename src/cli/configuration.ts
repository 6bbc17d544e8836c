import { type Command, Option as Flag } from "commander";
import { isSwitch, type Option, options } from "../config/options.ts";
import type { Config } from "../config/file-schema.ts";
import type { Terminal } from "./terminal.ts";

/** The flag of a setting, as help shows it. */
export function toFlag(option: Option): Flag {
  const fallback = option.fallback === undefined ? "" : ` [default: ${option.fallback}]`;
  return new Flag(option.flag, `${option.description} [env: ${option.env}]${fallback}`);
}

/**
 * Reads the configuration that a command's flags, the environment and the files come to.
 *
 * @throws {ConfigError}
 */
export async function loadConfiguration(command: Command, terminal: Terminal): Promise<Config> {
  const { loadConfig } = await import("../config/load.ts");
  const flags: Record<string, string | boolean> = {};
  for (const option of options) {
    const value: unknown = command.optsWithGlobals()[option.name];
    if (typeof value === "string" || (isSwitch(option) && value === true)) {
      flags[option.name] = value;
    }
  }
  return loadConfig({ flags, env: terminal.env, readFile: (path) => terminal.readFile(path) });
}
