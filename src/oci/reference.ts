import { type Digest, isDigest, parseDigest } from "./digest.ts";
import { OciError } from "./errors.ts";

/** A repository name that passed `parseRepository`, without a registry host: `library/alpine`. */
export type Repository = string & { readonly __brand: "Repository" };

/** A tag that passed `parseTag`. */
export type Tag = string & { readonly __brand: "Tag" };

/** What a manifest is asked for by (distribution-spec, "Pulling manifests"). */
export type Reference = Tag | Digest;

const component = "[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*";
const repositoryGrammar = new RegExp(`^${component}(?:/${component})*$`);
const tagGrammar = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/;

/** Longest repository name that is accepted; clients stop at 255 for host and name together. */
export const maxRepositoryLength = 255;

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
