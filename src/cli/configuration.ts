import { type Command, Option as Flag } from "commander";
import { isSwitch, type Option, options } from "../config/options.ts";
import type { Config } from "../config/file-schema.ts";
import type { StorageType } from "../config/setting.ts";
import type { Terminal } from "./terminal.ts";

/** Where the content is kept, each with what its subcommand does. */
export const storageCommands: Readonly<Record<StorageType, string>> = {
  filesystem: "keep the content in a folder (the default)",
  s3: "keep the content in a folder, and behind it in a bucket that instances may share",
};

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
  const name = command.name();
  const storage = name === "filesystem" || name === "s3" ? name : undefined;
  return loadConfig({ flags, command: storage, env: terminal.env, readFile: (path) => terminal.readFile(path) });
}
