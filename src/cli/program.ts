import { Command, CommanderError } from "commander";
import { ConfigError } from "../config/config-error.ts";
import { options } from "../config/options.ts";
import type { Config } from "../config/file-schema.ts";
import { addAdoptCommand } from "./commands/adopt.ts";
import { addContentCommands } from "./commands/content.ts";
import { addHealthCommand } from "./commands/health.ts";
import { addJobCommands } from "./commands/jobs.ts";
import { addLayoutCommands } from "./commands/layouts.ts";
import { addNginxCommand } from "./commands/nginx.ts";
import { addNodeCommands } from "./commands/node.ts";
import { addPinCommands } from "./commands/pins.ts";
import { addPushCommand } from "./commands/push.ts";
import { addStatusCommand } from "./commands/status.ts";
import { loadConfiguration, storageCommands, toFlag } from "./configuration.ts";
import type { OpenStore } from "./job-host.ts";
import { CommandFailure, exitCodes, type Person, type Terminal } from "./terminal.ts";

/** What commands do that is not theirs. */
export interface Actions {
  /** Runs the server until it is stopped; resolves with the exit code. */
  readonly serve: (config: Config, version: string) => Promise<number>;
  readonly openStore: (config: Config, version: string, mustExist: boolean) => Promise<OpenStore>;
  /** Aborts at the first SIGTERM or SIGINT after it was asked for; the second ends the process. */
  readonly stopSignal: () => AbortSignal;
}

/**
 * Runs one command line, without the program's name. Rejects only for what nobody foresaw.
 *
 * @returns The exit code.
 */
export async function runCommandLine(
  args: readonly string[],
  terminal: Terminal,
  version: string,
  actions: Actions,
  person: Person,
): Promise<number> {
  let exitCode: number = exitCodes.ok;
  const program = createProgram(terminal, version, async (command, task) => {
    const config = await loadConfiguration(command, terminal);
    if (task === "serve") {
      exitCode = await actions.serve(config, version);
      return;
    }
    const { formatConfig } = await import("../config/resolved-yaml.ts");
    terminal.out(formatConfig(config));
  });
  const context = {
    program,
    terminal,
    person,
    openStore: (config: Config, mustExist: boolean) => actions.openStore(config, version, mustExist),
    stopSignal: () => actions.stopSignal(),
    finish: (code: number) => {
      exitCode = code;
    },
  };
  const administration = [
    addContentCommands(context),
    addPinCommands(context),
    addStatusCommand(context),
    addHealthCommand(context),
    addJobCommands(context),
    addNodeCommands(context),
    addLayoutCommands(context),
  ].flat();
  addAdoptCommand(context);
  addNginxCommand(context);
  addPushCommand(context);
  administration.filter((command) => command.registeredArguments.length === 0).forEach(refuseStrangers);
  refuseStrangers(program);
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
    if (error instanceof CommandFailure) {
      terminal.err(`entrepot: ${error.message}\n`);
      return error.exitCode;
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
    .usage("[options] [filesystem --root DIR | s3 --bucket NAME]")
    .addHelpText(
      "after",
      "\nA flag beats its environment variable, which beats the file of --config. Without a command the mirror runs\n" +
        "with storage on the filesystem.",
    )
    .action(() => run(program, "serve"));
  for (const option of options.filter(({ commands }) => commands.length === 0)) {
    program.addOption(toFlag(option));
  }
  addStorageCommands(program, "serve", run);
  const check = program
    .command("check")
    .description("check the configuration and print what it comes to, with secrets hidden")
    .usage("[options] [filesystem --root DIR | s3 --bucket NAME]")
    .action(() => run(check, "check"));
  addStorageCommands(check, "check", run);
  const versionCommand = program
    .command("version")
    .description("print the version")
    .action(() => terminal.out(`entrepot ${version}\n`));
  refuseStrangers(check);
  refuseStrangers(versionCommand);
  return program;
}

/** Adds the subcommands that say where the content is kept. */
function addStorageCommands(parent: Command, task: "serve" | "check", run: Run): void {
  for (const [type, description] of Object.entries(storageCommands)) {
    const storage = parent
      .command(type)
      .description(description)
      .action(() => run(storage, task));
    for (const option of options.filter(({ commands }) => commands.some((name) => name === type))) {
      storage.addOption(toFlag(option));
    }
    refuseStrangers(storage);
  }
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
