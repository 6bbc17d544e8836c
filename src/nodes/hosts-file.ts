import { isDeepStrictEqual } from "node:util";
import { parse, type TomlTable } from "smol-toml";
import { findParts, formatPart, type Left, type Made, putIn, takeOut, withoutParts } from "./owned-part.ts";

/** What is to be in a `hosts.toml` of containerd. */
export interface MirrorHost {
  readonly owner: string;
  /** `http://127.0.0.1:6500`. */
  readonly mirror: string;
  readonly certificates: Certificates;
  /** What does not exist yet, and is made with the file. */
  readonly made: readonly Made[];
}

/**
 * The certificates in a registry's folder, as Docker lays them out. containerd reads them only where there is no
 * `hosts.toml`, so that a new one has to name them: the registry itself is still what the runtime falls back to.
 */
export interface Certificates {
  readonly ca: readonly string[];
  /** Certificate and key. */
  readonly client: readonly (readonly [string, string])[];
}

/**
 * What a `hosts.toml` becomes when a mirror is tried first for its registry. All else in it means what it did; there is
 * no `server`, so that the registry itself comes last, as without a file.
 *
 * `dial_timeout` is known from containerd 2.1 on; earlier ones ignore it.
 *
 * @param current What the file is; `undefined` where there is none.
 */
export function addMirror(current: string | undefined, wanted: MirrorHost): { readonly text: string } | Left {
  const { owner, mirror, certificates } = wanted;
  const own = takeOut(current ?? "", owner);
  if ("why" in own) return own;
  const { rest } = own;
  const before = readToml(rest);
  if ("why" in before) return before;
  if (hostsOf(before.table).some((host) => isSameHost(host, mirror))) {
    return { why: `${mirror} is one of its hosts already, written by somebody else` };
  }
  const rootKeys = withoutParts(rest) === "" ? formatCertificates(certificates, before.table) : [];
  const body = [
    ...rootKeys,
    `[host.${JSON.stringify(mirror)}]`,
    '  capabilities = ["pull", "resolve"]',
    '  dial_timeout = "2s"',
  ].join("\n");
  const part = formatPart(owner, current === undefined ? wanted.made : own.made, body);
  const last = findPlace(rest);
  // It stays where it is where that will do: two owners that both want to be first would never end.
  for (const at of own.at === undefined || own.at > last ? [last] : [own.at, last]) {
    const text = putIn(rest, at, part);
    if (meansTheSame(before.table, text, mirror, rootKeys)) return { text };
  }
  return { why: "there is no place in it where a host can be added without changing what the rest means" };
}

/** Reads a text as TOML, or says why that is not possible. */
export function readToml(text: string): { readonly table: TomlTable } | Left {
  // One at the beginning would end up in the middle.
  if (text.startsWith("\uFEFF")) return { why: "it begins with a byte order mark" };
  try {
    return { table: parse(text) };
  } catch (error) {
    return { why: `it is no valid TOML: ${(error as Error).message.split("\n")[0]}` };
  }
}

/** Before the first table of somebody else, as what follows a table's name belongs to it; with that table's comment behind. */
function findPlace(rest: string): number {
  const parts = findParts(rest);
  for (const match of rest.matchAll(/(?:^|\n)[ \t]*\[/g)) {
    const at = match.index + (match[0].startsWith("\n") ? 1 : 0);
    const isOurs = parts.some(({ start, end }) => at >= start && at < end);
    // Within a list or a string, what is before does not end.
    if (isOurs || !isWhole(rest.slice(0, at))) continue;
    const floor = Math.max(0, ...parts.filter(({ end }) => end <= at).map(({ end }) => end));
    const comment = /(?:^|\n)((?:[ \t]*#[^\n]*\n)+)$/.exec(rest.slice(floor, at))?.[1] ?? "";
    return isWhole(rest.slice(0, at - comment.length)) ? at - comment.length : at;
  }
  return rest.length;
}

function isWhole(text: string): boolean {
  return "table" in readToml(text);
}

function meansTheSame(before: TomlTable, text: string, mirror: string, rootKeys: readonly string[]): boolean {
  const read = readToml(text);
  if ("why" in read) return false;
  const { table } = read;
  const { host } = table;
  if (typeof host !== "object" || !(mirror in host)) return false;
  delete (host as TomlTable)[mirror];
  if (Object.keys(host).length === 0 && !("host" in before)) delete table["host"];
  for (const line of rootKeys) delete table[line.replace(/ .*/s, "")];
  return isDeepStrictEqual(before, table);
}

function hostsOf(table: TomlTable): readonly string[] {
  const { host } = table;
  return typeof host === "object" ? Object.keys(host) : [];
}

function isSameHost(a: string, b: string): boolean {
  return originOf(a) === originOf(b);
}

function originOf(url: string): string {
  const full = url.startsWith("http") ? url : `https://${url}`;
  return URL.canParse(full) ? new URL(full).origin : url;
}

function formatCertificates({ ca, client }: Certificates, present: TomlTable): string[] {
  return [
    ...(ca.length > 0 && !("ca" in present) ? [`ca = ${JSON.stringify(ca)}`] : []),
    ...(client.length > 0 && !("client" in present) ? [`client = ${JSON.stringify(client)}`] : []),
  ];
}
