import { isDigest } from "./digest.ts";
import { isObject } from "./document.ts";
import { OciError } from "./errors.ts";
import { canonicalNamespace, dockerHub, maxRepositoryLength, parseNamespace } from "./reference.ts";
import { fits, NamePattern } from "./name-pattern.ts";

/** Something that a pin may mean. Without tag and digest: a repository with all that it holds. */
export interface Pinnable {
  readonly namespace: string;
  readonly repository: string;
  readonly tag?: string;
  readonly digest?: string;
}

/** A pattern of what must stay in the store. */
export interface Pin {
  /** In its one form: the namespace by its canonical name, and `library/` before Docker Hub's repositories of one part. */
  readonly pattern: string;
  /** Whether it means all that a repository holds, some of its tags, or a digest of it. */
  readonly of: "repository" | "tags" | "digest";
  /** Whether it means something in this repository. */
  matchesRepository(id: Pinnable): boolean;
  /** Whether it means this itself. What it only reaches, as a manifest's blobs, is not known here. */
  matches(what: Pinnable): boolean;
}

/** Whether a value that was read holds the patterns of pins, as they are written down in a folder and in a bucket. */
export function isPatterns(value: unknown): value is { readonly patterns: readonly string[] } {
  if (!isObject(value) || !Array.isArray(value["patterns"])) return false;
  return value["patterns"].every((pattern) => typeof pattern === "string");
}

/** A pattern that cannot be read; the message says why, and may be shown. */
export class PinError extends Error {
  override readonly name = "PinError";
}

const repositoryGrammar = /^(?:\*\*|[a-z0-9._*-]+)(?:\/(?:\*\*|[a-z0-9._*-]+))*$/;
const tagGrammar = /^[a-zA-Z0-9_*][a-zA-Z0-9._*-]{0,127}$/;
const namespaceGrammar = /^[a-z0-9*][a-z0-9*.-]*(?::[0-9*]+)?$/;

/**
 * Reads `<namespace>/<repository>[:<tag>|@<digest>]`. `*` stands for anything within a part, and as a part of the
 * repository `**` for any number of parts, none included. Without tag or digest it means everything that the
 * repository holds, also blobs and what has no tag.
 *
 * @throws {PinError}
 */
export function parsePin(text: string): Pin {
  const slash = text.indexOf("/");
  const first = text.slice(0, Math.max(0, slash));
  if (!/[.:*]/.test(first) && first.toLowerCase() !== "localhost") {
    throw new PinError(
      `a pattern begins with a registry's name, such as docker.io/library/alpine or quay.io/team/**, got ${quote(text)}`,
    );
  }
  const namespaceText = readNamespace(first);
  // A tag has no slash and a digest no second @, but a namespace may have a colon, for its port.
  const [, path = "", mark = "", reference = ""] = /^([^:@]*)([:@]?)(.*)$/s.exec(text.slice(slash + 1)) ?? [];
  if (!repositoryGrammar.test(path) || /\*\*[^/]|[^/]\*\*/.test(path) || path.length > maxRepositoryLength) {
    const hint = /[A-Z]/.test(path) ? "; names of repositories have no capital letters" : "";
    throw new PinError(
      `expected a repository behind ${namespaceText}/, such as team/app, team/* or **, got ${quote(path)}${hint}`,
    );
  }
  if (mark === ":" && !tagGrammar.test(reference)) {
    const hint = reference.includes("@") ? ": either a tag or a digest" : " such as 1.2 or 1.*";
    throw new PinError(`expected a tag${hint}, got ${quote(reference)}`);
  }
  if (mark === "@" && !isDigest(reference)) {
    throw new PinError(`expected a digest such as sha256:<64 hex digits>, got ${quote(reference)}`);
  }
  const isOfLibrary = namespaceText === dockerHub && !path.includes("/") && path !== "**";
  const repositoryText = isOfLibrary ? `library/${path}` : path;
  const parts = repositoryText.split("/");
  const namespace = new NamePattern(namespaceText);
  const repository = parts.map((part) => (part === "**" ? undefined : new NamePattern(part)));
  const tag = mark === ":" ? new NamePattern(reference) : undefined;
  const digest = mark === "@" ? reference : undefined;
  const matchesRepository = (id: Pinnable): boolean =>
    namespace.matches(id.namespace) &&
    fits(
      repository,
      id.repository.split("/"),
      (part) => part === undefined,
      (part, name) => part?.matches(name) ?? true,
    );
  return {
    pattern: `${namespaceText}/${repositoryText}${mark}${reference}`,
    of: tag !== undefined ? "tags" : digest !== undefined ? "digest" : "repository",
    matchesRepository,
    matches(what) {
      if (!matchesRepository(what)) return false;
      if (tag !== undefined) return what.tag !== undefined && tag.matches(what.tag);
      return digest === undefined || what.digest === digest;
    },
  };
}

function readNamespace(text: string): string {
  if (!text.includes("*")) {
    try {
      return canonicalNamespace(parseNamespace(text));
    } catch (error) {
      if (!(error instanceof OciError)) throw error;
      const got = text.includes("@") ? "" : `, got ${quote(text)}`;
      throw new PinError(`expected a registry's name such as quay.io, without scheme or path${got}`);
    }
  }
  const lower = text.toLowerCase();
  if (!namespaceGrammar.test(lower) || lower.includes("**") || lower.length > 255) {
    throw new PinError(`expected a registry's name such as quay.io or *.example.com, got ${quote(text)}`);
  }
  return lower;
}

function quote(text: string): string {
  return JSON.stringify(text);
}
