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
  /** The subcommand that the flag belongs to; without one it is for all. The environment variable always counts. */
  readonly command?: "filesystem";
}

/** Every flag with its environment variable, in the order of the help. */
export const options: readonly Option[] = [
  {
    name: "config",
    flag: "--config <file>",
    env: "CONFIG",
    key: undefined,
    description: "YAML or JSON file with all settings (see example.yaml)",
    fallback: undefined,
  },
  {
    name: "listen",
    flag: "--listen <address>",
    env: "LISTEN",
    key: ["listen"],
    description: "where clients connect: host:port, [v6]:port or unix:/path",
    fallback: "127.0.0.1:8080",
  },
  {
    name: "adminListen",
    flag: "--admin-listen <address>",
    env: "ADMIN_LISTEN",
    key: ["admin_listen"],
    description: "second address, which then has the metrics, the probes' details and the administration",
    fallback: undefined,
  },
  {
    name: "adminTokenFile",
    flag: "--admin-token-file <file>",
    env: "ADMIN_TOKEN_FILE",
    key: ["admin_token_file"],
    description: "file with the token of the administration API, which is then served at --listen, too",
    fallback: undefined,
  },
  {
    name: "defaultNamespace",
    flag: "--default-namespace <namespace>",
    env: "DEFAULT_NAMESPACE",
    key: ["default_namespace"],
    description: "registry that a request without namespace is for",
    fallback: "docker.io",
  },
  {
    name: "defaultUpstreamNamespace",
    flag: "--default-upstream-namespace <namespace>",
    env: "DEFAULT_UPSTREAM_NAMESPACE",
    key: ["default_upstream_namespace"],
    description: "registry that a request with an empty ?ns= is for",
    fallback: "docker.io",
  },
  {
    name: "checkCacheDigest",
    flag: "--check-cache-digest",
    env: "CHECK_CACHE_DIGEST",
    key: ["check_cache_digest"],
    description: "hash each cached blob while it is served",
    fallback: "false",
  },
  {
    name: "maxSize",
    flag: "--max-size <size>",
    env: "MAX_SIZE",
    key: ["storage", "max_size"],
    description: "what the content may take: 500GiB, a share of the volume, or none for no limit",
    fallback: "90%",
  },
  {
    name: "minFree",
    flag: "--min-free <size>",
    env: "MIN_FREE",
    key: ["storage", "min_free"],
    description: "what is left free on the volume: 50GiB, or a share of it",
    fallback: "5%",
  },
  {
    name: "maxObjectSize",
    flag: "--max-object-size <size>",
    env: "MAX_OBJECT_SIZE",
    key: ["storage", "max_object_size"],
    description: "larger blobs are passed on without being stored",
    fallback: "none",
  },
  {
    name: "upstreamConfigFile",
    flag: "--upstream-config-file <file>",
    env: "UPSTREAM_CONFIG_FILE",
    key: undefined,
    description: "YAML or JSON file with the list of upstreams, in place of the list in --config",
    fallback: undefined,
  },
  {
    name: "upstreamCredentials",
    flag: "--upstream-credentials <json>",
    env: "UPSTREAM_CREDENTIALS",
    key: undefined,
    description:
      'credentials by namespace, {"docker.io": {"username": "…", "password": "…"}}, over those of the files; others can see a flag, so prefer the variable',
    fallback: undefined,
  },
  {
    name: "logLevel",
    flag: "--log-level <level>",
    env: "LOG_LEVEL",
    key: ["log", "level"],
    description: "trace, debug, info, warn, error or silent",
    fallback: "info",
  },
  {
    name: "logFormat",
    flag: "--log-format <format>",
    env: "LOG_FORMAT",
    key: ["log", "format"],
    description: "json or pretty",
    fallback: "json",
  },
  {
    name: "root",
    flag: "--root <folder>",
    env: "FILESYSTEM_ROOT",
    key: ["storage", "root"],
    description: "folder of the content; made when it is missing",
    fallback: "./data",
    command: "filesystem",
  },
];

/** Whether the option is a switch, which is true or false. */
export function isSwitch(option: Option): boolean {
  return !option.flag.includes("<");
}

/** The flag alone, without its argument: `--listen`. */
export function flagOf(option: Option): string {
  return option.flag.replace(/ .*/, "");
}
