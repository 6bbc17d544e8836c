import type { Command } from "commander";
import { formatListen, parseListen } from "../../config/address.ts";
import { ValueError } from "../../config/config-error.ts";
import { parseDuration } from "../../config/duration.ts";
import type { Endpoint, NodeSettings, Wanted } from "../../nodes/settings.ts";
import { OciError } from "../../oci/errors.ts";
import { parseNamespace } from "../../oci/reference.ts";
import { CommandFailure, exitCodes, type Terminal } from "../terminal.ts";

interface NodeOption {
  readonly value: string;
  readonly about: string;
  readonly fallback?: string;
}

/** The options of the commands of `node`. Each has a variable, too: `ENTREPOT_NODE_HOST_ROOT` for `--host-root`. */
const nodeOptions = {
  mirror: { value: "url", about: "the mirror, as the runtimes are to reach it: http://host:port" },
  relay: {
    value: "listen=target",
    about:
      "listen at an address of the node and pass connections on, 127.0.0.1:6500=host:port; the mirror is " +
      "http://127.0.0.1:6500 then",
  },
  registry: {
    value: "name",
    about:
      "a registry that is to be pulled through the mirror, such as docker.io, or * for containerd's _default; may be repeated",
  },
  owner: { value: "name", about: "whose files they are; nothing of another owner is touched", fallback: "entrepot" },
  "containerd-config": {
    value: "file",
    about: "containerd's configuration, which says where it looks; it is only read",
    fallback: "/etc/containerd/config.toml",
  },
  "containerd-hosts": {
    value: "folder",
    about: "write there, wherever containerd looks; none for no files of containerd",
  },
  crio: { value: "folder", about: "write a file for CRI-O and podman there, in /etc/containers/registries.conf.d" },
  "host-root": {
    value: "folder",
    about: "where the node's / is, or those folders of it that are mounted",
    fallback: "/",
  },
  "probe-listen": { value: "address", about: "where /healthz and /readyz are" },
  interval: { value: "time", about: "how often the mirror and the files are looked at", fallback: "10s" },
} as const satisfies Readonly<Record<string, NodeOption>>;

export type NodeOptionName = keyof typeof nodeOptions;

/** As long as a namespace and a name in it; it becomes a part of names of files. */
const ownerName = /^[a-z0-9](?:[a-z0-9.-]{0,125}[a-z0-9])?$/;

/** Adds some of them to a command. */
export function addNodeOptions(command: Command, names: readonly NodeOptionName[]): Command {
  for (const name of names) {
    const { value, about, fallback }: NodeOption = nodeOptions[name];
    const text = `${about} [env: ${variableOf(name)}]${fallback === undefined ? "" : ` [default: ${fallback}]`}`;
    command.option(`--${name} <${value}>`, text, (next: string, before?: string) =>
      before === undefined || name !== "registry" ? next : `${before},${next}`,
    );
  }
  return command;
}

function variableOf(name: NodeOptionName): string {
  return `ENTREPOT_NODE_${name.replaceAll("-", "_").toUpperCase()}`;
}

/** What a command was given: by its flags, then by the environment, then the defaults. Wrong values are refused here. */
export class NodeOptions {
  readonly #flags: Readonly<Record<string, string | undefined>>;
  readonly #env: Terminal["env"];

  constructor(command: Command, { env }: Terminal) {
    this.#flags = command.opts();
    this.#env = env;
  }

  has(name: NodeOptionName): boolean {
    return this.#text(name) !== undefined;
  }

  /** @throws {CommandFailure} As each of them does. */
  settings(): NodeSettings {
    const owner = this.#text("owner") ?? "";
    if (!ownerName.test(owner))
      refuse("owner", `expected a name of a-z, 0-9, "-" and ".", got ${JSON.stringify(owner)}`);
    return {
      owner,
      hostRoot: this.#path("host-root") ?? "/",
      containerdConfig: this.#path("containerd-config") ?? "",
      containerdHosts: this.#text("containerd-hosts") === "none" ? "none" : this.#path("containerd-hosts"),
      crio: this.#path("crio"),
    };
  }

  relay(): { readonly listen: Endpoint; readonly target: Endpoint } | undefined {
    const text = this.#text("relay");
    if (text === undefined) return undefined;
    const [listen = "", target, ...others] = text.split("=");
    if (target === undefined || others.length > 0) {
      refuse(
        "relay",
        `expected LISTEN=TARGET such as 127.0.0.1:6500=mirror.example.com:8080, got ${JSON.stringify(text)}`,
      );
    }
    return { listen: parseEndpoint("relay", listen), target: parseEndpoint("relay", target) };
  }

  /** @param relay By which runtimes are to reach the mirror, if at all. */
  wanted(relay?: { readonly listen: Endpoint }): Wanted {
    const text = this.#text("mirror");
    const relayed = relay === undefined ? undefined : `http://${formatListen({ kind: "tcp", ...relay.listen })}`;
    if (relayed !== undefined && text !== undefined)
      refuse("mirror", "with --relay it is where the relay listens: leave it out");
    const url = relayed ?? text ?? refuse("mirror", "is needed: http://host:port");
    const { origin, href } = URL.canParse(url) ? new URL(url) : { origin: "", href: "" };
    // What else is in it may be a password.
    if (!/^https?:/.test(origin) || href !== `${origin}/`)
      refuse("mirror", "expected http://host:port, with nothing before or behind it");
    const why = refuseAsHost(origin);
    if (why !== undefined) refuse(relayed === undefined ? "mirror" : "relay", why);
    const names = (this.#text("registry") ?? "").split(/[\s,]+/).filter((name) => name !== "");
    if (names.length === 0) refuse("registry", "is needed, once for each registry: --registry docker.io");
    return { mirror: origin, registries: [...new Set(names.map(parseRegistry))] };
  }

  probeListen(): Endpoint | undefined {
    const text = this.#text("probe-listen");
    return text === undefined ? undefined : parseEndpoint("probe-listen", text);
  }

  intervalMs(): number {
    const ms = parseValue("interval", () => parseDuration(this.#text("interval") ?? ""));
    return ms < 1_000 ? refuse("interval", "expected 1s at least") : ms;
  }

  #text(name: NodeOptionName): string | undefined {
    const flag = this.#flags[name.replaceAll(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())];
    const variable = this.#env[variableOf(name)];
    const { fallback }: NodeOption = nodeOptions[name];
    return flag ?? (variable === "" ? undefined : variable) ?? fallback;
  }

  #path(name: NodeOptionName): string | undefined {
    const path = this.#text(name);
    if (path?.startsWith("/") === false) refuse(name, `expected an absolute path, got ${JSON.stringify(path)}`);
    return path?.replace(/(?<=.)\/+$/, "");
  }
}

function parseEndpoint(name: NodeOptionName, text: string): Endpoint {
  const address = parseValue(name, () => parseListen(text));
  return address.kind === "unix" || address.host === ""
    ? refuse(name, `expected host:port, got ${JSON.stringify(text)}`)
    : address;
}

function parseRegistry(name: string): string {
  return name === "*" ? name : parseValue("registry", () => parseNamespace(name));
}

function parseValue<T>(name: NodeOptionName, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    if (error instanceof ValueError || error instanceof OciError) refuse(name, error.message);
    throw error;
  }
}

function refuse(name: NodeOptionName, why: string): never {
  throw new CommandFailure(`--${name}: ${why}`, { exitCode: exitCodes.usage });
}

/** Why a URL cannot be written as a host's name in a `hosts.toml`, with what to do; `undefined` where it can. */
function refuseAsHost(mirror: string): string | undefined {
  if (!mirror.includes("[")) return undefined;
  return (
    "containerd 1.x cannot read a hosts.toml with an IPv6 address in brackets, and ignores the file: name a host " +
    "(http://mirror.example.com:8080), or use --relay 127.0.0.1:6500=HOST:PORT, whose target may have IPv6 alone"
  );
}
