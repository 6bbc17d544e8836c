import { type Command, Option as Flag } from "commander";
import type { BucketConfig } from "../config/bucket-schema.ts";
import { ConfigError } from "../config/config-error.ts";
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

/** The flags of `s3` that say how a bucket is reached, for a command that is told of another bucket than the storage's. */
export const bucketFlags: readonly Option[] = options.filter(({ name }) =>
  ["host", "region", "pathStyle", "accessKey", "secretKey"].includes(name),
);

/**
 * Reads the configuration that a command's flags, the environment and the files come to.
 *
 * @param others Options whose flags are about something else.
 * @throws {ConfigError}
 */
export async function loadConfiguration(
  command: Command,
  terminal: Terminal,
  others: readonly Option[] = [],
): Promise<Config> {
  const { loadConfig } = await import("../config/load.ts");
  const flags = flagsOf(
    command,
    options.filter((option) => !others.includes(option)),
  );
  const name = command.name();
  const storage = name === "filesystem" || name === "s3" ? name : undefined;
  return loadConfig({ flags, command: storage, env: terminal.env, readFile: (path) => terminal.readFile(path) });
}

/**
 * Reads how a bucket is reached that is not the storage's: by a command's `bucketFlags`, then by the variables of `s3`,
 * then as the storage's bucket is; but where the flags name another server, what the file says of that one does not count.
 *
 * @param url `s3://BUCKET` or `s3://BUCKET/PREFIX`
 * @throws {ConfigError}
 */
export async function loadBucket(command: Command, terminal: Terminal, url: string): Promise<BucketConfig> {
  const { loadConfig } = await import("../config/load.ts");
  const [, bucket = "", prefix = ""] = /^s3:\/\/([^/]*)\/*(.*?)\/*$/i.exec(url) ?? [];
  const { config, ...others } = flagsOf(command, options);
  const isElsewhere = others["host"] !== undefined;
  const flags = { ...others, ...(isElsewhere ? {} : { config }), bucket, ...(prefix !== "" && { prefix }) };
  const env = isElsewhere ? { ...terminal.env, CONFIG: "" } : terminal.env;
  try {
    const { storage } = loadConfig({ flags, command: "s3", env, readFile: (path) => terminal.readFile(path) });
    if (storage.s3 === undefined) throw new Error("a bucket was named, and none is configured");
    return { ...storage.s3, prefix: prefix === "" ? undefined : prefix };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new ConfigError(error.problems.map((problem) => problem.replace(/^--(?:bucket|prefix):/, `${url}:`)));
  }
}

/** The flags that were given, by their options' names. */
function flagsOf(command: Command, wanted: readonly Option[]): Record<string, string | boolean> {
  const flags: Record<string, string | boolean> = {};
  for (const option of wanted) {
    const value: unknown = command.optsWithGlobals()[option.name];
    if (typeof value === "string" || (isSwitch(option) && value === true)) {
      flags[option.name] = value;
    }
  }
  return flags;
}
