import { fileSettings } from "./file-schema.ts";
import type { Alias, Fallback, Flag, Settings, StorageType } from "./setting.ts";
import type { KeyPath } from "./yaml-file.ts";

/** A setting that the command line and the environment have, too. */
export interface Option {
  /** How `flags` of `loadConfig` calls it: the long flag in camel case. */
  readonly name: string;
  /** The flag as help shows it. Without an argument it is a switch. */
  readonly flag: string;
  readonly env: string;
  /** The file's key that it stands for, where it is one. */
  readonly key: KeyPath | undefined;
  readonly description: string;
  /** What holds when it is set nowhere, as text. */
  readonly fallback: string | undefined;
  /**
   * The subcommands that the flag belongs to; without any it is for all. The environment variable counts wherever the
   * content is kept in one of these ways.
   */
  readonly commands: readonly StorageType[];
  /** Other names of the variable, which count where it is not set. */
  readonly aliases: readonly Alias[];
}

const configFile: Flag = { usage: "--config <file>", help: "YAML or JSON file with all settings (see example.yaml)" };
const found = [toOption(configFile), ...optionsOf(fileSettings, [])];

/** Every flag with its environment variable, in the order of the help: those of subcommands come last. */
export const options: readonly Option[] = [
  ...found.filter(({ commands }) => commands.length === 0),
  ...found.filter(({ commands }) => commands.length > 0),
];

function optionsOf(settings: Settings, path: KeyPath): Option[] {
  return Object.values(settings).flatMap(({ key, flags, fallback, kind: { settings: inner = {} } }) => [
    ...flags.map((flag) => (flag.isSource === true ? toOption(flag) : toOption(flag, [...path, key], fallback))),
    ...optionsOf(inner, [...path, key]),
  ]);
}

function toOption({ usage, help, commands = [], aliases = [] }: Flag, key?: KeyPath, fallback?: Fallback): Option {
  const flag = usage.replace(/ .*/, "").slice(2);
  return {
    name: flag.replaceAll(/-(\w)/g, (_, letter: string) => letter.toUpperCase()),
    flag: usage,
    env: `${commands.length === 0 ? "" : `${commands[0]}_`}${flag.replaceAll("-", "_")}`.toUpperCase(),
    key,
    description: help,
    fallback: typeof fallback === "object" || fallback === undefined ? undefined : String(fallback),
    commands,
    aliases,
  };
}

/** Whether the option is a switch, which is true or false. */
export function isSwitch(option: Option): boolean {
  return !option.flag.includes("<");
}

/** The flag alone, without its argument: `--listen`. */
export function flagOf(option: Option): string {
  return option.flag.replace(/ .*/, "");
}
