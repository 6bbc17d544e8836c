import { createHash } from "node:crypto";
import { algorithmOf, type Digest, hexOf, parseDigest } from "../oci/digest.ts";
import { OciError } from "../oci/errors.ts";
import {
  type Namespace,
  parseNamespace,
  parseRepository,
  parseTag,
  type Repository,
  type Tag,
} from "../oci/reference.ts";
import type { Key } from "./object-store.ts";

/*
 * Every key of what is cached, drawn as a tree; `hosted-layout` has those of what is hosted. Nothing else makes keys.
 *
 *   blobs/<algorithm>/<2 hex>/<rest of hex>                       content, manifests included
 *   repositories/<namespace>/<repository>/
 *     _links/<algorithm>/<hex>                                    Link: this repository contains this digest
 *     _tags/<tag>                                                 TagRecord
 *     _pages/<kind>/<sha256 of the slot>                          a listing, for the time the upstream is away
 *   quarantine/<algorithm>/<hex>                                  content that was found not to have its digest
 *   state/<name>                                                  what the program remembers of its own
 *
 * No component of a repository's name begins with `_`, so names and folders cannot meet. A port's `:` in a namespace
 * becomes `+`, which no namespace has.
 */

/** A repository of an upstream: what access, tags and links belong to. */
export interface RepositoryId {
  readonly namespace: Namespace;
  readonly repository: Repository;
}

/** The listings that are cached. */
export type PageKind = "tags" | "referrers";

/** The content with this digest. */
export function blobKey(digest: Digest): Key {
  const hex = hexOf(digest);
  return `blobs/${algorithmOf(digest)}/${hex.slice(0, 2)}/${hex.slice(2)}` as Key;
}

/** That a repository contains a digest. */
export function linkKey(id: RepositoryId, digest: Digest): Key {
  return `${repositoryKey(id)}/_links/${algorithmOf(digest)}/${hexOf(digest)}` as Key;
}

/** What a tag stands for. */
export function tagKey(id: RepositoryId, tag: Tag): Key {
  return `${repositoryKey(id)}/_tags/${tag}` as Key;
}

/**
 * Where the answer to a request for a listing is stored. Clients can make up any number of requests that an upstream
 * answers, so places are few and shared; but none shares the plain list's.
 */
export function pageKey(id: RepositoryId, page: PageKind, request: string): Key {
  return formatPlace({ kind: "page", id, page, name: pageName(request) });
}

/** The last part of a page's key. */
export function pageName(request: string): string {
  return sha256(request === "" ? "" : sha256(request).slice(0, 2));
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** Where damaged content is moved to. */
export function quarantineKey(digest: Digest): Key {
  return `${quarantinePrefix}/${algorithmOf(digest)}/${hexOf(digest)}` as Key;
}

/**
 * What the program remembers across restarts: pins that were added, when the last scrub ended, the name by which others
 * that share a bucket know it, which notices of theirs it has obeyed; `pins-damaged` is a list of pins that could not be
 * read as one.
 */
export function stateKey(name: "instance" | "notices" | "pins" | "pins-damaged" | "verified"): Key {
  return `state/${name}` as Key;
}

/** Below these lies everything, for `ObjectStore.list`. */
export const blobsPrefix: Key = "blobs" as Key;
export const repositoriesPrefix: Key = "repositories" as Key;
export const quarantinePrefix: Key = "quarantine" as Key;

/**
 * Below these lies all that is recorded of a namespace; or of one repository, tags first, and nothing of those whose names
 * begin with its.
 */
export function recordPrefixes(namespace: Namespace, repository?: Repository): readonly Key[] {
  if (repository === undefined) return [`${repositoriesPrefix}/${namespace.replaceAll(":", "+")}` as Key];
  const key = repositoryKey({ namespace, repository });
  return ["_tags", "_links", "_pages"].map((kind) => `${key}/${kind}` as Key);
}

/** What an object of the store is, by its key. */
export type Place =
  | { readonly kind: "content"; readonly digest: Digest }
  | { readonly kind: "link"; readonly id: RepositoryId; readonly digest: Digest }
  | { readonly kind: "tag"; readonly id: RepositoryId; readonly tag: Tag }
  | { readonly kind: "page"; readonly id: RepositoryId; readonly page: PageKind; readonly name: string };

/** Reads a key below `blobs` or `repositories`; `undefined` for one that none of the functions above makes. */
export function parseKey(key: Key): Place | undefined {
  try {
    const place = readPlace(key.split("/"));
    // What is read from a name that is written in another way is not what its key would lead to.
    return place !== undefined && formatPlace(place) === key ? place : undefined;
  } catch (error) {
    if (error instanceof OciError) return undefined;
    throw error;
  }
}

/** The key of an object of the store. */
export function formatPlace(place: Place): Key {
  switch (place.kind) {
    case "content":
      return blobKey(place.digest);
    case "link":
      return linkKey(place.id, place.digest);
    case "tag":
      return tagKey(place.id, place.tag);
    case "page":
      return `${repositoryKey(place.id)}/_pages/${place.page}/${place.name}` as Key;
  }
}

function readPlace(parts: readonly string[]): Place | undefined {
  if (parts[0] === blobsPrefix) return { kind: "content", digest: parseDigest(`${parts[1]}:${parts[2]}${parts[3]}`) };
  const mark = parts.findIndex((part) => part.startsWith("_"));
  if (parts[0] !== repositoriesPrefix || mark < 0) return undefined;
  const [, namespace = "", ...names] = parts.slice(0, mark);
  const id = {
    namespace: parseNamespace(namespace.replaceAll("+", ":")),
    repository: parseRepository(names.join("/")),
  };
  const [kind, first = "", second = ""] = parts.slice(mark);
  switch (kind) {
    case "_tags":
      return { kind: "tag", id, tag: parseTag(first) };
    case "_links":
      return { kind: "link", id, digest: parseDigest(`${first}:${second}`) };
    case "_pages": {
      const isPage = (first === "tags" || first === "referrers") && /^[0-9a-f]{64}$/.test(second);
      return isPage ? { kind: "page", id, page: first, name: second } : undefined;
    }
    case undefined:
    default:
      return undefined;
  }
}

function repositoryKey(id: RepositoryId): string {
  return `repositories/${id.namespace.replaceAll(":", "+")}/${id.repository}`;
}
