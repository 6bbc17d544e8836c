import { type Command, Help } from "commander";
import { parseAdminToken } from "../../config/file-schema.ts";
import { ValueError } from "../../config/config-error.ts";
import { formatListen, type ListenAddress } from "../../config/address.ts";
import type { Config } from "../../config/file-schema.ts";
import { decodeText } from "../../config/text.ts";
import type { AdminAddress, AdminClient } from "../admin-client.ts";
import { loadConfiguration } from "../configuration.ts";
import type { OpenStore } from "../job-host.ts";
import { CommandFailure, exitCodes, type Person, type Terminal } from "../terminal.ts";

/** What the commands of the administration are made with. */
export interface CommandContext {
  readonly program: Command;
  readonly terminal: Terminal;
  readonly person: Person;
  /** Opens the store that a configuration names, for this process alone. Where it must exist, none is made. */
  readonly openStore: (config: Config, mustExist: boolean) => Promise<OpenStore>;
  /** Aborts when the process is asked to end, by SIGTERM or SIGINT; who asks for it sees to the end. */
  readonly stopSignal: () => AbortSignal;
  /** Told the exit code of the command that ran. */
  readonly finish: (exitCode: number) => void;
}

/** The flags that all of them have. */
export interface AdminFlags {
  readonly server?: string;
  readonly json?: boolean;
}

/** The settings that say where the administration is, and how one gets in. */
const settings: readonly string[] = ["config", "listen", "adminListen", "adminTokenFile"];

/**
 * Adds a command that asks a mirror's administration.
 *
 * @param more The names of the settings that it depends on besides.
 */
export function addAdminCommand(
  context: CommandContext,
  usage: string,
  description: string,
  more: readonly string[] = [],
): Command {
  return addCommand(context, usage, description, [...settings, ...more])
    .option(
      "--server <url>",
      "the mirror: http://host:port, https://host:port or unix:/path [default: the configuration's admin_listen]",
    )
    .option("--json", "write what the server answers, for scripts");
}

/**
 * Adds a command.
 *
 * @param names The settings that it depends on: of the global flags its help shows theirs alone.
 */
export function addCommand(
  { program }: Pick<CommandContext, "program">,
  usage: string,
  description: string,
  names: readonly string[],
): Command {
  const shown = new Set(names);
  const command = program.command(usage).description(description);
  const help = Object.assign(new Help(), { showGlobalOptions: true });
  return command.configureHelp({
    ...command.configureHelp(),
    visibleGlobalOptions: (each) => help.visibleGlobalOptions(each).filter((flag) => shown.has(flag.attributeName())),
  });
}

/** Runs a command with a client, which is closed in the end. */
export async function withClient(
  context: CommandContext,
  command: Command,
  run: (client: AdminClient) => Promise<number | void>,
): Promise<void> {
  const client = await connect(context, command);
  try {
    context.finish((await run(client)) ?? exitCodes.ok);
  } finally {
    await client.close();
  }
}

/**
 * A client for the mirror that the flags or the configuration name.
 *
 * @throws {CommandFailure} They name none.
 */
export async function connect({ terminal }: CommandContext, command: Command): Promise<AdminClient> {
  const { server, adminTokenFile } = command.optsWithGlobals<AdminFlags & { adminTokenFile?: string }>();
  if (server === undefined) return openClient(addressOf(await loadConfiguration(command, terminal), terminal));
  // The token of the configuration and of the environment is for the configuration's mirror only.
  const token = adminTokenFile === undefined ? undefined : readToken(terminal, adminTokenFile);
  return openClient({ server, token });
}

/** What only these commands need is loaded when one of them runs: the mirror starts sooner without. */
async function openClient(address: AdminAddress): Promise<AdminClient> {
  const { AdminClient: Client } = await import("../admin-client.ts");
  return new Client(address);
}

function addressOf(config: Config, terminal: Terminal): AdminAddress {
  const { adminListen, listen, adminToken, adminTokenFile } = config;
  const hasToken = adminToken !== undefined || adminTokenFile !== undefined;
  const address = adminListen ?? (hasToken ? listen : undefined);
  if (address === undefined || (address.kind === "tcp" && address.port === 0)) {
    throw new CommandFailure(
      "it is not known where the administration is: set admin_listen (--admin-listen 127.0.0.1:8081) for the mirror " +
        "and for this command, or name a mirror with --server",
      { exitCode: exitCodes.usage },
    );
  }
  const token = adminToken ?? (adminTokenFile === undefined ? undefined : readToken(terminal, adminTokenFile));
  return { server: urlOf(address), token };
}

/**
 * Where what listens at an address can be reached from this machine. Who listens on all of IPv6 is there for IPv4 too, and
 * in many containers there is no `::1`.
 */
export function localAddress(address: ListenAddress): ListenAddress {
  if (address.kind === "unix") return address;
  const local: Readonly<Record<string, string>> = { "": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "127.0.0.1" };
  return { ...address, host: local[address.host] ?? address.host };
}

function urlOf(address: ListenAddress): string {
  const local = formatListen(localAddress(address));
  return address.kind === "unix" ? local : `http://${local}`;
}

function readToken(terminal: Terminal, path: string): string {
  try {
    return parseAdminToken(decodeText(terminal.readFile(path)).trim());
  } catch (error) {
    if (error instanceof ValueError) {
      throw new CommandFailure(`the token's file ${path} holds no token: it ${error.message}`, {
        exitCode: exitCodes.usage,
      });
    }
    const reason = (error as NodeJS.ErrnoException).code ?? "unknown";
    throw new CommandFailure(`the token's file ${path} cannot be read (${reason})`, {
      exitCode: exitCodes.usage,
      cause: error,
    });
  }
}

/** Writes an answer as JSON. */
export function writeJson(terminal: Terminal, answer: unknown): void {
  terminal.out(`${JSON.stringify(answer, undefined, 2)}\n`);
}
