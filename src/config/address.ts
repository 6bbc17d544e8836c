import { NamePattern } from "../oci/name-pattern.ts";
import { OciError } from "../oci/errors.ts";
import { canonicalNamespace, isDnsName, type Namespace, parseNamespace } from "../oci/reference.ts";
import { ValueError } from "./config-error.ts";

/** Where the server listens. TCP port 0 means any free port, and an empty host all addresses. */
export type ListenAddress =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

const host = String.raw`\[[0-9a-fA-F:.]+\]|[a-zA-Z0-9](?:[a-zA-Z0-9._-]*[a-zA-Z0-9])?`;
const hostPort = new RegExp(String.raw`^(?<host>${host})(?::(?<port>\d{1,5}))?$`);
const listened = new RegExp(String.raw`^(?<host>${host}|):(?<port>\d{1,5})$`);

/** The length of a Unix socket's path that every system takes, in bytes (Linux has room for 107 and a zero). */
const maxSocketPathBytes = 107;

/**
 * Reads `host:port`, `[v6]:port`, `:port` or `unix:/path`.
 *
 * @throws {ValueError}
 */
export function parseListen(text: string): ListenAddress {
  if (text.startsWith("unix:")) {
    const path = text.slice("unix:".length);
    if (path === "" || path.includes("\0") || Buffer.byteLength(path) > maxSocketPathBytes) {
      throw new ValueError(`expected unix:/path with a path of 1 to ${maxSocketPathBytes} bytes`);
    }
    return { kind: "unix", path };
  }
  const expected = `expected host:port, [v6]:port, :port or unix:/path, got ${JSON.stringify(text)}`;
  const bare = /^[:*]*(\d{1,5})$/.exec(text)?.[1];
  if (bare !== undefined && text !== `:${bare}`) {
    throw new ValueError(`${expected}; write :${bare} for all addresses, 127.0.0.1:${bare} for this machine only`);
  }
  const groups = listened.exec(text)?.groups as { readonly [key in "host" | "port"]: string } | undefined;
  if (groups === undefined) {
    throw new ValueError(expected);
  }
  const port = Number(groups.port);
  if (port > 65_535) {
    throw new ValueError(`${port} is no port; ports go up to 65535`);
  }
  return { kind: "tcp", host: groups.host.replaceAll(/[[\]]/g, ""), port };
}

/** Writes an address so that `parseListen` reads it back. */
export function formatListen(address: ListenAddress): string {
  if (address.kind === "unix") {
    return `unix:${address.path}`;
  }
  return `${address.host.includes(":") ? `[${address.host}]` : address.host}:${address.port}`;
}

/**
 * Reads `host[:port]`, without scheme or path, in lower case. The message for a URL says what to write instead.
 *
 * @throws {ValueError}
 */
export function parseHost(text: string): string {
  if (text.includes("@")) {
    // What stands before the @ may be a password, so the value is not repeated.
    throw new ValueError("expected host[:port]; credentials go to `username` and `password`");
  }
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(text)?.[1]?.toLowerCase();
  const bare = text.replace(/^[a-z][a-z0-9+.-]*:\/\//i, "").replace(/[/?#].*$/s, "");
  if (scheme !== undefined && hostPort.test(bare)) {
    const hint = scheme === "http" ? `\`host: ${bare}\` and \`tls: false\`` : `\`host: ${bare}\``;
    throw new ValueError(`a host has no scheme: write ${hint}`);
  }
  if (bare !== text && hostPort.test(bare)) {
    throw new ValueError(`a host has no path: write \`host: ${bare}\``);
  }
  const groups = hostPort.exec(text)?.groups;
  const port = Number(groups?.["port"] ?? 443);
  if (groups === undefined || port < 1 || port > 65_535) {
    throw new ValueError(`expected host[:port] such as registry.example.com:5000, got ${JSON.stringify(text)}`);
  }
  return text.toLowerCase();
}

/**
 * Reads a namespace (the name by which clients know a registry: `quay.io`, `localhost:5000`), in lower case. One
 * registry has one name: Docker Hub's are all `docker.io`, and port 443 is left out.
 *
 * @throws {ValueError}
 */
export function parseCanonicalNamespace(text: string): Namespace {
  try {
    return canonicalNamespace(parseNamespace(text));
  } catch (error) {
    if (!(error instanceof OciError)) throw error;
    const got = text.includes("@") ? "" : `, got ${JSON.stringify(text)}`;
    throw new ValueError(`expected a registry's name such as quay.io, without scheme or path${got}`);
  }
}

/**
 * Reads one pattern of `allow_unlisted`: a DNS name, or `*.` and a DNS name, which stands for every name below it.
 *
 * @throws {ValueError}
 */
export function parseUnlistedPattern(text: string): NamePattern {
  const lower = text.toLowerCase();
  if (lower === "*") {
    throw new ValueError("write `allow_unlisted: true` for every registry");
  }
  const name = lower.replace(/^\*\./, "");
  if (!isDnsName(name) || !name.includes(".") || /\.\d+$/.test(name) || lower.length > 255) {
    throw new ValueError(`expected a name such as quay.io or *.example.com, got ${JSON.stringify(text)}`);
  }
  return new NamePattern(lower);
}
