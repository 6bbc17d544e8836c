import { ConfigError } from "./config-error.ts";
import { addCredentials, type CredentialMap, readCredentials } from "./upstream-credentials.ts";
import { fileSchema, interpolatedKeys } from "./file-schema.ts";
import { type Environment, escapeReferences, interpolateKeys } from "./interpolation.ts";
import { check, formatPath, type Problem } from "./problems.ts";
import { checkNamedFiles, explainReading } from "./named-files.ts";
import { flagOf, isSwitch, type Option, options } from "./options.ts";
import { readProxyEnvironment } from "./proxy.ts";
import type { StorageType } from "./setting.ts";
import type { Config } from "./file-schema.ts";
import { decodeText } from "./text.ts";
import { type KeyPath, parseYamlFile, type YamlFile } from "./yaml-file.ts";

/** Where settings come from: flags beat the environment, which beats the file. */
export interface ConfigSources {
  /** Values of flags that were given, by the option's name (`options`); a switch is `true`. */
  readonly flags: Readonly<Record<string, string | boolean | undefined>>;
  /** The subcommand that says where the content is kept, where one was given; it beats the file, too. */
  readonly command?: StorageType | undefined;
  /** The environment. A variable that is empty counts as unset. */
  readonly env: Environment;
  /** Reads a file whole; its error's `code` goes into the message. */
  readFile(path: string): Uint8Array;
}

/** A flag's or a variable's value with the name that messages call it by. */
interface Given {
  readonly label: string;
  readonly value: string | boolean;
}

type Plain = Record<string, unknown>;

/**
 * Puts the configuration together and checks it.
 *
 * @throws {ConfigError} With everything that is wrong.
 */
export function loadConfig(sources: ConfigSources): Config {
  const given = new Map<string, Given>();
  for (const option of options) {
    const found = lookUp(option, sources);
    if (found !== undefined) {
      given.set(option.name, found);
    }
  }
  const problems: string[] = [];
  const main = attempt(problems, () => openFile(given.get("config"), sources));
  const list = attempt(problems, () => openFile(given.get("upstreamConfigFile"), sources));
  const credentials = attempt(problems, () => credentialsOf(given.get("upstreamCredentials")));
  const { proxies, problems: proxyProblems } = readProxyEnvironment(sources.env);
  problems.push(...proxyProblems.map(({ path, message }) => `${formatPath(path)}: ${message}`));
  if (problems.length > 0) {
    throw new ConfigError(problems);
  }

  const raw = asMapping(main?.value);
  if (list !== undefined && isPlain(raw)) {
    raw["upstreams"] = upstreamsOf(list, problems);
  }
  const labels = isPlain(raw) ? overlay(raw, given, sources.command, problems) : new Map<string, string>();
  const addProblems = (found: readonly Problem[]): void => {
    const placed = found.map(({ path, message }) => {
      const label = labels.get(formatPath(path));
      return label === undefined ? place(path, message, main, list) : { line: 0, text: `${label}: ${message}` };
    });
    problems.push(...placed.sort((a, b) => a.line - b.line).map(({ text }) => text));
  };
  const filled = interpolateKeys(raw, interpolatedKeys, sources.env);
  const checked = check(fileSchema, filled.value);
  addProblems([...filled.problems, ...("problems" in checked ? besides(filled.problems, checked.problems) : [])]);
  if (problems.length > 0 || "problems" in checked) {
    throw new ConfigError(problems);
  }
  addProblems(
    checkNamedFiles(fromFile(checked.value, raw), checked.value.storage.s3, (path) => sources.readFile(path)),
  );
  const config = { ...addCredentials(checked.value, credentials ?? new Map()), proxyEnvironment: proxies };
  addProblems(findUnservedDefaults(config));
  if (problems.length > 0) {
    throw new ConfigError(problems);
  }
  return config;
}

/** The problems that stand elsewhere than those that are known. */
function besides(known: readonly Problem[], problems: readonly Problem[]): Problem[] {
  const places = new Set(known.map(({ path }) => formatPath(path)));
  return problems.filter(({ path }) => !places.has(formatPath(path)));
}

/** The upstreams that stand in the file, without the one that was added before them. */
function fromFile({ upstreams }: Config, raw: unknown): Config["upstreams"] {
  const written = isPlain(raw) && Array.isArray(raw["upstreams"]) ? raw["upstreams"].length : 0;
  return upstreams.slice(upstreams.length - written);
}

function lookUp(option: Option, { flags, env }: ConfigSources): Given | undefined {
  const flag = flags[option.name];
  if (flag !== undefined) {
    return { label: flagOf(option), value: flag };
  }
  for (const { name, read } of [{ name: option.env, read: undefined }, ...option.aliases]) {
    const variable = env[name];
    if (variable !== undefined && variable !== "") {
      return { label: name, value: read === undefined ? variable : read(variable, env) };
    }
  }
  return undefined;
}

/** Runs one step; what it finds wrong is kept, so that the next step can still look. */
function attempt<T>(problems: string[], step: () => T): T | undefined {
  try {
    return step();
  } catch (error) {
    if (!(error instanceof ConfigError)) {
      throw error;
    }
    problems.push(...error.problems);
    return undefined;
  }
}

function openFile(given: Given | undefined, sources: ConfigSources): YamlFile | undefined {
  if (given === undefined) {
    return undefined;
  }
  const path = String(given.value);
  let content: string;
  try {
    content = decodeText(sources.readFile(path));
  } catch (error) {
    throw new ConfigError([`${given.label}: ${path} cannot be read: ${explainReading(error)}`]);
  }
  return parseYamlFile(path, content);
}

function credentialsOf(given: Given | undefined): CredentialMap {
  return given === undefined ? new Map() : readCredentials(given.label, String(given.value));
}

function isPlain(value: unknown): value is Plain {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The file's mapping; a bare list is the list of upstreams. Anything else is left for the schema to refuse. */
function asMapping(value: unknown): unknown {
  if (value === undefined) {
    return {};
  }
  return Array.isArray(value) ? { upstreams: value } : isPlain(value) ? { ...value } : value;
}

function upstreamsOf(list: YamlFile, problems: string[]): unknown {
  const value = list.value ?? [];
  if (!isPlain(value)) {
    return value;
  }
  for (const key of Object.keys(value).filter((name) => name !== "upstreams")) {
    problems.push(
      `${list.name}:${list.lineOf([key])}: ${formatPath([key])}: only \`upstreams\` is read from this file; use --config for the rest`,
    );
  }
  return value["upstreams"] ?? [];
}

/** Lays flags and environment over the file's values, and says which keys now come from where. */
function overlay(
  raw: Plain,
  given: ReadonlyMap<string, Given>,
  command: StorageType | undefined,
  problems: string[],
): Map<string, string> {
  const labels = new Map<string, string>();
  if (command !== undefined) Object.assign(raw, withValue(raw, ["storage", "type"], command));
  const { storage } = raw;
  const type = isPlain(storage) && storage["type"] === "s3" ? "s3" : "filesystem";
  for (const option of options) {
    const found = given.get(option.name);
    const isOfOther = option.commands.length > 0 && !option.commands.includes(type);
    if (found === undefined || option.key === undefined || isOfOther) {
      continue;
    }
    const value = isSwitch(option) ? toBoolean(found.value) : found.value;
    if (value === undefined) {
      problems.push(`${found.label}: expected true, false, 1 or 0, got ${JSON.stringify(found.value)}`);
      continue;
    }
    // Only the file's texts may hold variables.
    const literal = typeof value === "string" && interpolatedKeys.has(String(option.key.at(-1)));
    Object.assign(raw, withValue(raw, option.key.map(String), literal ? escapeReferences(value) : value));
    labels.set(formatPath(option.key), found.label);
  }
  return labels;
}

/** The mapping with a value at a path. What is no mapping on the way is the file's mistake, and stays to be seen. */
function withValue(mapping: Plain, [key = "", ...rest]: readonly string[], value: unknown): Plain {
  if (rest.length === 0) return { ...mapping, [key]: value };
  const inner = mapping[key] ?? {};
  return { ...mapping, [key]: isPlain(inner) ? withValue(inner, rest, value) : inner };
}

function toBoolean(value: string | boolean): boolean | undefined {
  const known: Record<string, boolean> = { true: true, "1": true, false: false, "0": false };
  return typeof value === "boolean" ? value : known[value];
}

/** Says where in which file a problem stands. */
function place(
  path: KeyPath,
  message: string,
  main: YamlFile | undefined,
  list: YamlFile | undefined,
): { line: number; text: string } {
  const file = list !== undefined && path[0] === "upstreams" ? list : main;
  const key = path.length === 0 ? "" : `${formatPath(path)}: `;
  if (file === undefined) {
    return { line: 0, text: `${key}${message}` };
  }
  const inFile = Array.isArray(file.value) && path[0] === "upstreams" ? path.slice(1) : path;
  const line = file.lineOf(inFile);
  return { line, text: `${file.name}:${line}: ${key}${message}` };
}

/** A default that could never be served is a mistake. */
function findUnservedDefaults(config: Config): Problem[] {
  const listed = new Set(config.upstreams.map((upstream) => upstream.namespace));
  const defaults = [
    { key: "default_namespace", namespace: config.defaultNamespace },
    { key: "default_upstream_namespace", namespace: config.defaultUpstreamNamespace },
  ].filter(({ namespace }) => config.allowUnlisted === false && !listed.has(namespace));
  return defaults.map(({ key, namespace }) => {
    return { path: [key], message: `${namespace} is not among the upstreams, and allow_unlisted is false` };
  });
}
