import { isDigest } from "../oci/digest.ts";
import { parseRepositoryPattern, type RepositoryPattern } from "../upstream/credentials/repository-pattern.ts";

/** Something that a pin may mean. Without tag and digest: a repository with all that it holds. */
export interface Pinnable {
  readonly namespace: string;
  readonly repository: string;
  readonly tag?: string;
  readonly digest?: string;
}

/** A pattern of what must stay in the store. */
export interface Pin {
  readonly pattern: string;
  /** Whether it means all that a repository holds, some of its tags, or a digest of it. */
  readonly of: "repository" | "tags" | "digest";
  /** Whether it means something in this repository. */
  matchesRepository(id: Pinnable): boolean;
  /** Whether it means this itself. What it only reaches, as a manifest's blobs, is not known here. */
  matches(what: Pinnable): boolean;
}

/** A pattern that cannot be read; the message says why, and may be shown. */
export class PinError extends Error {
  override readonly name = "PinError";
}

const namespaceGrammar = /^[a-z0-9.*:[\]_-]+$/;
const partGrammar = /^[a-z0-9._*-]+$/;
const tagGrammar = /^[a-zA-Z0-9_*][a-zA-Z0-9._*-]{0,127}$/;
const maxLength = 1_024;

/**
 * Reads `<namespace>/<repository>[:<tag>|@<digest>]`. `*` stands for anything within a part, and as a part of the
 * repository `**` for any number of parts, none included. Without tag or digest it means everything that the
 * repository holds, also blobs and what has no tag.
 *
 * @throws {PinError}
 */
export function parsePin(pattern: string): Pin {
  const slash = pattern.indexOf("/");
  const namespaceText = pattern.slice(0, Math.max(0, slash));
  // A tag has no slash and a digest no second @, but a namespace may have a colon, for its port.
  const [, repositoryText = "", mark = "", reference = ""] =
    /^([^:@]*)(?:([:@])(.*))?$/s.exec(pattern.slice(slash + 1)) ?? [];
  const parts = repositoryText.split("/");
  if (pattern.length > maxLength || !namespaceGrammar.test(namespaceText) || !parts.every(isPart)) {
    throw new PinError(
      `a pin must look like docker.io/library/*:lts, quay.io/team/** or quay.io/app@sha256:…, got ${quote(pattern)}`,
    );
  }
  if (mark === ":" && !tagGrammar.test(reference)) throw new PinError(`${quote(reference)} in a pin is no tag`);
  if (mark === "@" && !isDigest(reference)) throw new PinError(`${quote(reference)} in a pin is no digest`);
  const namespace = parseRepositoryPattern(namespaceText);
  const repository = parts.map((part) => (part === "**" ? undefined : parseRepositoryPattern(part)));
  const tag = mark === ":" ? parseRepositoryPattern(reference) : undefined;
  const digest = mark === "@" ? reference : undefined;
  const matchesRepository = (id: Pinnable): boolean =>
    namespace.matches(id.namespace) && fits(repository, id.repository.split("/"));
  return {
    pattern,
    of: tag !== undefined ? "tags" : digest !== undefined ? "digest" : "repository",
    matchesRepository,
    matches(what) {
      if (!matchesRepository(what)) return false;
      if (tag !== undefined) return what.tag !== undefined && tag.matches(what.tag);
      return digest === undefined || what.digest === digest;
    },
  };
}

function isPart(text: string): boolean {
  return text === "**" || (partGrammar.test(text) && !text.includes("**"));
}

/** Follows all ways through the pattern at once; `undefined` is `**`. */
function fits(pattern: readonly (RepositoryPattern | undefined)[], parts: readonly string[]): boolean {
  let reached = withSkips(pattern, new Set([0]));
  for (const part of parts) {
    const next = new Set<number>();
    for (const position of reached) {
      if (position === pattern.length) continue;
      const expected = pattern[position];
      if (expected === undefined) next.add(position);
      else if (expected.matches(part)) next.add(position + 1);
    }
    reached = withSkips(pattern, next);
  }
  return reached.has(pattern.length);
}

function withSkips(pattern: readonly (RepositoryPattern | undefined)[], positions: Set<number>): Set<number> {
  for (const position of positions) {
    if (position < pattern.length && pattern[position] === undefined) positions.add(position + 1);
  }
  return positions;
}

function quote(text: string): string {
  return JSON.stringify(text.slice(0, 128));
}
