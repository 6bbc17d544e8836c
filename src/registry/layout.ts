import { createHash } from "node:crypto";
import { algorithmOf, type Digest, hexOf } from "../oci/digest.ts";
import type { Namespace, Repository, Tag } from "../oci/reference.ts";
import type { Key } from "../store/object-store.ts";

/*
 * Every key of the store, drawn as a tree. Nothing else makes keys.
 *
 *   blobs/<algorithm>/<2 hex>/<rest of hex>                       content, manifests included
 *   repositories/<namespace>/<repository>/
 *     _links/<algorithm>/<hex>                                    Link: this repository contains this digest
 *     _tags/<tag>                                                 TagRecord
 *     _pages/<kind>/<sha256 of the slot>                          a listing, for the time the upstream is away
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

/** A place for one of a repository's pages of that kind. */
export function pageKey(id: RepositoryId, kind: PageKind, slot: string): Key {
  return `${repositoryKey(id)}/_pages/${kind}/${createHash("sha256").update(slot).digest("hex")}` as Key;
}

function repositoryKey(id: RepositoryId): string {
  return `repositories/${id.namespace.replaceAll(":", "+")}/${id.repository}`;
}
