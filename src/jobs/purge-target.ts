import { parseDigest } from "../oci/digest.ts";
import { OciError } from "../oci/errors.ts";
import { canonicalNamespace, type Namespace, parseNamespace, parseRepository, parseTag } from "../oci/reference.ts";
import type { RepositoryId } from "../store/layout.ts";
import type { PurgeTarget } from "../ledger/ledger.ts";
import { type NamespaceRules, selectRepository } from "../registry/namespaces.ts";

const targetGrammar = /^([^@]*?)(?::([^:/@]*))?(?:@(.*))?$/s;

/**
 * Reads what somebody wants to have removed: `docker.io/` (a namespace, with its slash), `docker.io/library/alpine` (a
 * repository), `docker.io/library/alpine:3` and `…@sha256:…` (a tag, a manifest or blob of a repository), `sha256:…` (a
 * digest wherever it is). Where there are tag and digest the digest counts. Which registry a name without one means is
 * decided as for a pull.
 *
 * @throws {OciError} NAME_INVALID, TAG_INVALID, DIGEST_INVALID
 */
export function parsePurgeTarget(text: string, rules: NamespaceRules): PurgeTarget {
  if (/^sha(?:256|512):/.test(text)) return { kind: "content", digest: parseDigest(text) };
  const slash = text.indexOf("/");
  if (slash > 0 && slash === text.length - 1) {
    return { kind: "namespace", namespace: readNamespace(text.slice(0, slash)) };
  }
  if (slash < 0 && looksLikeNamespace(text, rules)) {
    throw new OciError(
      "NAME_INVALID",
      `${JSON.stringify(text)} may be a registry: write ${text}/ for all that is cached of it`,
    );
  }
  // A port's colon stands before the first slash, a tag's behind the last.
  const registry = /[:[A-Z]/.test(text.slice(0, Math.max(0, slash))) ? text.slice(0, slash) : undefined;
  const [, name = "", tag, digest] = targetGrammar.exec(registry === undefined ? text : text.slice(slash + 1)) ?? [];
  const id = selectRepository({ prefix: [], ns: registry, name: parseRepository(name) }, undefined, rules);
  if (digest !== undefined) return { kind: "digest", id, digest: parseDigest(digest) };
  return tag === undefined ? { kind: "repository", id } : { kind: "tag", id, tag: parseTag(tag) };
}

/** Names a target for people, so that `parsePurgeTarget` reads it. */
export function formatPurgeTarget(target: PurgeTarget): string {
  switch (target.kind) {
    case "namespace":
      return `${target.namespace}/`;
    case "repository":
      return formatRepository(target.id);
    case "tag":
      return `${formatRepository(target.id)}:${target.tag}`;
    case "digest":
      return `${formatRepository(target.id)}@${target.digest}`;
    case "content":
      return target.digest;
  }
}

/**
 * A registry by any of its names.
 *
 * @throws {OciError} NAME_INVALID
 */
export function readNamespace(text: string): Namespace {
  return canonicalNamespace(parseNamespace(text));
}

/**
 * A repository of a registry; `library/` is added to Docker Hub's names of one segment.
 *
 * @throws {OciError} NAME_INVALID
 */
export function readRepository(namespace: string, repository: string, rules: NamespaceRules): RepositoryId {
  const name = parseRepository(repository);
  return selectRepository({ prefix: [], ns: readNamespace(namespace), name }, undefined, rules);
}

function formatRepository(id: RepositoryId): string {
  return `${id.namespace}/${id.repository}`;
}

function looksLikeNamespace(text: string, rules: NamespaceRules): boolean {
  if (/[:@]/.test(text)) return false;
  return text.includes(".") || text === "localhost" || rules.isListed(text as Namespace);
}
