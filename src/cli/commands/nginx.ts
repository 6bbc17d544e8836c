import { rename, rm, writeFile } from "node:fs/promises";
import { resolve } from "node:path";
import type { ConfigurationOptions, StaticRepository } from "../../nginx/configuration.ts";
import { dockerHub, isRepository, type Repository } from "../../oci/reference.ts";
import { formatBytes } from "../quantities.ts";
import { explain } from "../serve.ts";
import { CommandFailure, exitCodes } from "../terminal.ts";
import { addCommand, type CommandContext } from "./command.ts";

interface NginxFlags {
  readonly namePrefix?: string;
  readonly serverRoot?: string;
  readonly omitConstants?: boolean;
  readonly onlyConstants?: boolean;
  readonly serverListen?: string;
  readonly out?: string;
  readonly verify?: boolean;
}

/** After how much it is told how far the hashing has come. */
const progressBytes = 1024 ** 3;
const listenGrammar = /^[\w.:[\]/*-]+$/;

/** Adds the command that writes a configuration with which nginx serves images. What it needs is loaded by it alone. */
export function addNginxCommand(context: CommandContext): void {
  const { terminal, finish } = context;
  const about = "write a configuration with which nginx serves a folder of images";
  const nginx = addCommand(context, "nginx [folder]", about, [])
    .usage("[options] [FOLDER]")
    .option("--name-prefix <prefix>", "what stands before each repository's name, with a slash between")
    .option("--server-root <path>", "FOLDER as nginx sees it; may be or contain a variable of nginx")
    .option("--omit-constants", "leave out what is the same for all folders: for the second one in a server")
    .option("--only-constants", "write that alone")
    .option(
      "--server-listen <address>",
      "write a whole server that listens there: 80, host:port, [v6]:port or unix:/path",
    )
    .option("--out <file>", "write to this file, once all is known; else to standard output")
    .option("--verify", "hash all blobs, too; manifests always are")
    .addHelpText(
      "after",
      "\nFOLDER, the working directory by default, holds OCI image layouts and skopeo's dir: trees, at any depth. Without\n" +
        "--server-listen the output is to be included in a server { } of your own. It has to be made again when files come or go.\n" +
        "What cannot be served is left out and named on standard error; the exit code is 1 then.",
    )
    .action(async (folder: string = ".") => {
      const flags = nginx.opts<NginxFlags>();
      const options = readFlags(flags, resolve(folder));
      const prefix = readPrefix(flags.namePrefix);
      const left: string[] = [];
      const onLeftOut = (what: string): void => {
        left.push(what);
        terminal.err(`entrepot: left out: ${what}\n`);
      };
      try {
        const { formatConfiguration } = await import("../../nginx/configuration.ts");
        const repositories =
          options.parts === "constants"
            ? []
            : await read(resolve(folder), prefix, flags.verify === true, context, onLeftOut);
        const text = formatConfiguration(repositories, options);
        if (flags.out === undefined) terminal.out(text);
        else await replace(flags.out, text);
      } catch (error) {
        throw new CommandFailure(explain(error), { cause: error });
      }
      finish(left.length === 0 ? exitCodes.ok : exitCodes.failed);
    });
}

async function read(
  folder: string,
  prefix: Repository | undefined,
  verify: boolean,
  { terminal, stopSignal }: CommandContext,
  onLeftOut: (what: string) => void,
): Promise<readonly StaticRepository[]> {
  const { readTree } = await import("../../nginx/static-tree.ts");
  const { ForeignFolder } = await import("../../store/foreign-folder.ts");
  const { BufferPool } = await import("../../store/buffers.ts");
  let hashedBytes = 0;
  return readTree(await ForeignFolder.open(folder, new BufferPool()), {
    naming: { namespace: dockerHub, prefix },
    verify,
    signal: stopSignal(),
    onLeftOut,
    onHashed(bytes) {
      const before = Math.floor(hashedBytes / progressBytes);
      hashedBytes += bytes;
      if (Math.floor(hashedBytes / progressBytes) > before) terminal.err(`hashed ${formatBytes(hashedBytes)}\n`);
    },
  });
}

/** @throws {CommandFailure} */
function readFlags(flags: NginxFlags, folder: string): ConfigurationOptions {
  const { serverRoot = folder, omitConstants = false, onlyConstants = false, serverListen: listen } = flags;
  if (omitConstants && onlyConstants) throw usage("--omit-constants and --only-constants leave nothing");
  if (listen !== undefined && (omitConstants || onlyConstants))
    throw usage("--server-listen writes a whole server, of all parts");
  if (listen !== undefined && !listenGrammar.test(listen))
    throw usage("--server-listen takes an address, such as 127.0.0.1:5000");
  if (flags.serverRoot === undefined && folder.includes("$")) {
    throw usage(
      "nginx takes what is behind a $ for a variable: name the folder by --server-root, with one that holds it",
    );
  }
  const parts = onlyConstants ? "constants" : omitConstants ? "repositories" : "all";
  return { serverRoot: serverRoot.replace(/(?<=.)\/+$/, ""), parts, listen };
}

/** @throws {CommandFailure} */
function readPrefix(text: string | undefined): Repository | undefined {
  const prefix = text?.replaceAll(/^\/+|\/+$/g, "") ?? "";
  if (prefix === "") return undefined;
  if (isRepository(prefix)) return prefix;
  throw usage("--name-prefix takes lower-case letters, digits and separators, in parts joined by /");
}

function usage(message: string): CommandFailure {
  return new CommandFailure(message, { exitCode: exitCodes.usage });
}

/** Writes a file, which nginx may be reading, all at once. */
async function replace(path: string, text: string): Promise<void> {
  const staged = `${path}.new`;
  try {
    await writeFile(staged, text);
    await rename(staged, path);
  } catch (error) {
    await rm(staged, { force: true });
    throw error;
  }
}
