import { isIPv4, isIPv6 } from "node:net";
import { type Digest, isDigest, parseDigest } from "./digest.ts";
import { OciError } from "./errors.ts";

/** A repository name that passed `parseRepository`, without a registry host: `library/alpine`. */
export type Repository = string & { readonly __brand: "Repository" };

/** A tag that passed `parseTag`. */
export type Tag = string & { readonly __brand: "Tag" };

/** A registry's host, with a port where it has one, that passed `parseNamespace`: `docker.io`, `localhost:5000`. */
export type Namespace = string & { readonly __brand: "Namespace" };

/** What a manifest is asked for by (distribution-spec, "Pulling manifests"). */
export type Reference = Tag | Digest;

/** Docker Hub's namespace. */
export const dockerHub: Namespace = "docker.io" as Namespace;
const dockerHubNames: ReadonlySet<string> = new Set([dockerHub, "index.docker.io", "registry-1.docker.io"]);

const component = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*";
const repositoryGrammar = new RegExp(`^${component}(?:/${component})*$`);
const tagGrammar = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;

const label = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?";
const dnsNameGrammar = new RegExp(`^${label}(?:\\.${label})*$`);
const numericLabel = /^(?:[0-9]+|0x[0-9a-f]*)$/;
const portGrammar = /^[1-9][0-9]{0,4}$/;
const printableAscii = /^[\x21-\x7e]+$/;
const maxNamespaceLength = 255;

/** Longest repository name that is accepted; clients stop at 255 for host and name together. */
export const maxRepositoryLength = 255;

/** Whether a text is the name of a repository, or of a project that repositories are in. */
export function isRepository(text: string): text is Repository {
  return repositoryGrammar.test(text) && text.length <= maxRepositoryLength;
}

/**
 * Reads a repository name (distribution-spec, "Pulling manifests": `<name>`).
 *
 * @throws {OciError} NAME_INVALID
 */
export function parseRepository(text: string): Repository {
  if (text.length > maxRepositoryLength) {
    throw new OciError("NAME_INVALID", `a repository name has at most ${maxRepositoryLength} characters`);
  }
  if (!repositoryGrammar.test(text)) {
    throw new OciError(
      "NAME_INVALID",
      "a repository name is lower-case letters, digits and separators, in parts joined by /",
    );
  }
  return text as Repository;
}

/**
 * Reads a tag.
 *
 * @throws {OciError} TAG_INVALID
 */
export function parseTag(text: string): Tag {
  if (!tagGrammar.test(text)) {
    throw new OciError("TAG_INVALID", "a tag is at most 128 letters, digits, dots, underscores and dashes");
  }
  return text as Tag;
}

/**
 * Reads a tag or a digest. A tag has no colon, so the two cannot be confused.
 *
 * @throws {OciError} DIGEST_INVALID or TAG_INVALID
 */
export function parseReference(text: string): Reference {
  return text.includes(":") ? parseDigest(text) : parseTag(text);
}

/** Tells a digest from a tag. */
export function isDigestReference(reference: Reference): reference is Digest {
  return reference.includes(":") && isDigest(reference);
}

/**
 * Reads a registry's host with an optional port, as it stands before the repository in an image's name and in `?ns=`:
 * a DNS name, an IPv4 address or a bracketed IPv6 address. The result is in lower case; nothing else is changed, so
 * that other names of the same registry stay other names here.
 *
 * @throws {OciError} NAME_INVALID
 */
export function parseNamespace(text: string): Namespace {
  // Letters outside ASCII are refused before lower-casing, which would turn the Kelvin sign into a k.
  if (text.length > maxNamespaceLength || !printableAscii.test(text)) {
    throw invalidNamespace();
  }
  const lower = text.toLowerCase();
  const colon = lower.indexOf(":", lower.startsWith("[") ? lower.indexOf("]") : 0);
  const host = colon < 0 ? lower : lower.slice(0, colon);
  const port = colon < 0 ? undefined : lower.slice(colon + 1);
  if (!isHost(host) || (port !== undefined && !isPort(port))) {
    throw invalidNamespace();
  }
  return lower as Namespace;
}

/** One name for each registry: Docker Hub has three, and port 443 is the one that is meant without a port. */
export function canonicalNamespace(namespace: Namespace): Namespace {
  const name = namespace.endsWith(":443") ? (namespace.slice(0, -":443".length) as Namespace) : namespace;
  return dockerHubNames.has(name) ? dockerHub : name;
}

/** Whether a text is a DNS name, in lower case. */
export function isDnsName(text: string): boolean {
  return dnsNameGrammar.test(text);
}

function isPort(text: string): boolean {
  return portGrammar.test(text) && Number(text) <= 65_535;
}

function isHost(text: string): boolean {
  if (text.startsWith("[")) {
    const address = text.slice(1, -1);
    return text.endsWith("]") && !address.includes("%") && isIPv6(address);
  }
  // System resolvers read 127.1, 2130706433 and 0x7f.1 as IPv4 addresses, so a number at the end is a full address.
  const last = text.slice(text.lastIndexOf(".") + 1);
  return numericLabel.test(last) ? isIPv4(text) : isDnsName(text);
}

function invalidNamespace(): OciError {
  return new OciError("NAME_INVALID", "a registry is named by its host, with a port if it has one, like docker.io");
}
