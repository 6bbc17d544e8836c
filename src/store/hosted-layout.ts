import { algorithmOf, type Digest, hexOf, parseDigest } from "../oci/digest.ts";
import { OciError } from "../oci/errors.ts";
import { type Namespace, parseNamespace, parseRepository, type Repository, type Tag } from "../oci/reference.ts";
import type { RepositoryId } from "./layout.ts";
import type { Key } from "./object-store.ts";

/*
 * Every key of what is hosted, drawn as a tree: in a folder beside what is cached, in a bucket as well. Nothing that is
 * cached has a key below `hosted`, so that nothing that evicts, scrubs or purges a cache ever comes upon it.
 *
 *   hosted/
 *     blobs/<algorithm>/<2 hex>/<rest of hex>                   content, manifests included; in a bucket a record that
 *                                                               names where its bytes lie
 *     data/<name>                                               bytes, in a bucket
 *     uploads/<session>                                         what was received of an upload; in a bucket a record that
 *                                                               names where its bytes lie
 *     names/<namespace>/<repository with + for />               that there is such a repository
 *     repositories/<namespace>/<repository>/
 *       _links/<algorithm>/<hex>                                HostedLink: this repository contains this digest
 *       _tags/<tag>                                             HostedTag
 *       _referrers/<algorithm>/<hex>/<algorithm>-<hex>          HostedReferrer of the subject, by its own digest
 *     state/<name>                                              what all instances on a bucket have in common
 */

/** Below this lies all that is hosted. */
export const hostedPrefix: Key = "hosted" as Key;
/** Below these lie its parts. */
export const hostedBlobsPrefix: Key = `${hostedPrefix}/blobs` as Key;
export const hostedDataPrefix: Key = `${hostedPrefix}/data` as Key;
export const hostedUploadsPrefix: Key = `${hostedPrefix}/uploads` as Key;
export const hostedRepositoriesPrefix: Key = `${hostedPrefix}/repositories` as Key;

/** The content with this digest. */
export function hostedBlobKey(digest: Digest): Key {
  const hex = hexOf(digest);
  return `${hostedBlobsPrefix}/${algorithmOf(digest)}/${hex.slice(0, 2)}/${hex.slice(2)}` as Key;
}

/** The digest of which this is the content's key; `undefined` for another key. */
export function digestOfHostedBlob(key: Key): Digest | undefined {
  const [algorithm, start, rest] = key.slice(hostedBlobsPrefix.length + 1).split("/");
  return readOrNot(() => parseDigest(`${algorithm}:${start}${rest}`));
}

/** Bytes in a bucket, by a name that nothing else has. */
export function hostedDataKey(name: string): Key {
  return `${hostedDataPrefix}/${name}` as Key;
}

/** What was received of an upload. */
export function hostedUploadKey(session: string): Key {
  return `${hostedUploadsPrefix}/${session}` as Key;
}

/** That there is a repository. */
export function hostedNameKey({ namespace, repository }: RepositoryId): Key {
  return `${hostedNamesPrefix(namespace)}/${repository.replaceAll("/", "+")}` as Key;
}

/** Below this lie the names of a namespace's repositories, which are listed in the order of these keys. */
export function hostedNamesPrefix(namespace: Namespace): Key {
  return `${hostedPrefix}/names/${namespace.replaceAll(":", "+")}` as Key;
}

/** The repository of which this is the name's key; `undefined` for another key. */
export function repositoryOfHostedName(key: Key): RepositoryId | undefined {
  const [namespace = "", repository = ""] = key.slice(`${hostedPrefix}/names/`.length).split("/");
  return readOrNot(() => ({
    namespace: parseNamespace(namespace.replaceAll("+", ":")),
    repository: parseRepository(repository.replaceAll("+", "/")),
  }));
}

/** That a repository contains a digest. */
export function hostedLinkKey(id: RepositoryId, digest: Digest): Key {
  return `${hostedLinksPrefix(id)}/${algorithmOf(digest)}/${hexOf(digest)}` as Key;
}

/** Below this lies what a repository contains. */
export function hostedLinksPrefix(id: RepositoryId): Key {
  return `${repositoryKey(id)}/_links` as Key;
}

/** The digest that a link is for; `undefined` for another key. */
export function digestOfHostedLink(key: Key): Digest | undefined {
  const [part, algorithm, hex] = key.split("/").slice(-3);
  if (part !== "_links") return undefined;
  return readOrNot(() => parseDigest(`${algorithm}:${hex}`));
}

/** What a tag stands for. */
export function hostedTagKey(id: RepositoryId, tag: Tag): Key {
  return `${hostedTagsPrefix(id)}/${tag}` as Key;
}

/** Below this lie a repository's tags, in the order in which they are listed. */
export function hostedTagsPrefix(id: RepositoryId): Key {
  return `${repositoryKey(id)}/_tags` as Key;
}

/** That a manifest refers to a subject. */
export function hostedReferrerKey(id: RepositoryId, subject: Digest, digest: Digest): Key {
  return `${hostedReferrersPrefix(id, subject)}/${algorithmOf(digest)}-${hexOf(digest)}` as Key;
}

/** Below this lies what refers to a subject; without one, to any of the repository. */
export function hostedReferrersPrefix(id: RepositoryId, subject?: Digest): Key {
  const root = `${repositoryKey(id)}/_referrers`;
  return (subject === undefined ? root : `${root}/${algorithmOf(subject)}/${hexOf(subject)}`) as Key;
}

/** The digest of the manifest that refers to a subject, by the key that says so. */
export function digestOfHostedReferrer(key: Key): Digest | undefined {
  return readOrNot(() => parseDigest(key.slice(key.lastIndexOf("/") + 1).replace("-", ":")));
}

/** What all instances on a bucket have in common, and a process over its restarts. */
export function hostedStateKey(name: "collected" | "collection" | "upload-secret"): Key {
  return `${hostedPrefix}/state/${name}` as Key;
}

function repositoryKey({ namespace, repository }: { namespace: Namespace; repository: Repository }): string {
  return `${hostedRepositoriesPrefix}/${namespace.replaceAll(":", "+")}/${repository}`;
}

/** What `read` reads of a key, `undefined` where somebody else has made it. */
function readOrNot<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof OciError) return undefined;
    throw error;
  }
}
