import { Command, CommanderError, Option as Flag } from "commander";
import { ConfigError } from "../config/config-error.ts";
import { isSwitch, type Option, options } from "../config/options.ts";
import type { Config } from "../config/schema.ts";

/** What the command line reads and writes. */
export interface Terminal {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Reads a file whole, as UTF-8. */
  readFile(path: string): string;
  /** Writes to standard output. */
  out(text: string): void;
  /** Writes to standard error. */
  err(text: string): void;
}

/** Runs the server until it is stopped; resolves with the exit code. */
export type Serve = (config: Config, version: string) => Promise<number>;

/** Exit codes: what was asked for was done, it failed, or it was asked for wrongly. */
export const exitCodes = { ok: 0, failed: 1, usage: 2 } as const;

const noS3 = "S3 storage is not in this version; use `filesystem --root DIR`";

/**
 * Runs one command line, without the program's name. Rejects only for what nobody foresaw.
 *
 * @returns The exit code.
 */
export async function runCommandLine(
  args: readonly string[],
  terminal: Terminal,
  version: string,
  serve: Serve,
): Promise<number> {
  let exitCode: number = exitCodes.ok;
  const program = createProgram(terminal, version, async (command, task) => {
    const config = await load(command, terminal);
    if (task === "serve") {
      exitCode = await serve(config, version);
      return;
    }
    const { formatConfig } = await import("../config/resolved-yaml.ts");
    terminal.out(formatConfig(config));
  });
  try {
    await program.parseAsync(args, { from: "user" });
    return exitCode;
  } catch (error) {
    if (error instanceof ConfigError) {
      terminal.err(error.problems.map((problem) => `entrepot: ${problem}\n`).join(""));
      return exitCodes.usage;
    }
    if (error instanceof CommanderError) {
      return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage;
    }
    throw error;
  }
}

type Run = (command: Command, task: "serve" | "check") => Promise<void>;

function createProgram(terminal: Terminal, version: string, run: Run): Command {
  const program = new Command("entrepot")
    .description("A pull-through caching mirror for OCI registries.")
    .version(`entrepot ${version}`, "-V, --version", "print the version")
    .helpOption("-h, --help", "print this help")
    .helpCommand("help [command]", "print the help of a command")
    .configureHelp({ showGlobalOptions: true, helpWidth: 100, subcommandTerm: (command) => command.name() })
    .configureOutput({
      writeOut: (text) => terminal.out(text),
      writeErr: (text) => terminal.err(text),
      // What stands behind an unknown flag's = may be a secret.
      outputError: (text, write) => write(text.replace(/^error: /, "entrepot: ").replace(/=[^']*'/, "'")),
    })
    .exitOverride()
    .usage("[options] [filesystem --root DIR]")
    .addHelpText(
      "after",
      "\nA flag beats its environment variable, which beats the file of --config. Without a command the mirror runs\n" +
        "with storage on the filesystem.",
    )
    .action(() => run(program, "serve"));
  for (const option of options.filter(({ command }) => command === undefined)) {
    program.addOption(toFlag(option));
  }
  addStorageCommands(program, "serve", run);
  const check = program
    .command("check")
    .description("check the configuration and print what it comes to, with secrets hidden")
    .usage("[options] [filesystem --root DIR]")
    .action(() => run(check, "check"));
  addStorageCommands(check, "check", run);
  const versionCommand = program
    .command("version")
    .description("print the version")
    .action(() => terminal.out(`entrepot ${version}\n`));
  for (const command of [program, check, versionCommand]) {
    refuseStrangers(command);
  }
  return program;
}

/** Adds the subcommands that say where the content is kept. */
function addStorageCommands(parent: Command, task: "serve" | "check", run: Run): void {
  const filesystem = parent
    .command("filesystem")
    .description("keep the content in a folder (the default)")
    .action(() => run(filesystem, task));
  for (const option of options.filter(({ command }) => command === "filesystem")) {
    filesystem.addOption(toFlag(option));
  }
  refuseStrangers(filesystem);
  parent
    .command("s3")
    .description("keep the content in S3: not in this version")
    .allowUnknownOption()
    .allowExcessArguments()
    .action(() => {
      throw new ConfigError([noS3]);
    });
}

/**
 * Makes a word too many an error of ours. Commander's would repeat all of them, and they may be the pieces of
 * credentials that a shell took apart for want of quotes.
 */
function refuseStrangers(command: Command): void {
  const names = command.commands.map((sub) => sub.name());
  command.argument("[command...]").usage(command.usage().replace(" [command...]", ""));
  command.hook("preAction", (_, acting) => {
    const stranger = acting === command ? acting.args[0] : undefined;
    if (stranger !== undefined) {
      const word = /^[\w-]+$/.test(stranger) ? ` "${stranger}"` : "";
      throw new ConfigError([
        names.length === 0
          ? `unexpected word${word} after ${command.name()}`
          : `unknown command${word}; the commands are ${names.join(", ")}`,
      ]);
    }
  });
}

function toFlag(option: Option): Flag {
  const fallback = option.fallback === undefined ? "" : ` [default: ${option.fallback}]`;
  return new Flag(option.flag, `${option.description} [env: ${option.env}]${fallback}`);
}

/** Reads the configuration that a command's flags, the environment and the files come to. */
async function load(command: Command, terminal: Terminal): Promise<Config> {
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
