import { type Digest, isDigest } from "../oci/digest.ts";
import type { Namespace, Repository, Tag } from "../oci/reference.ts";
import { parsePin, type Pin } from "../oci/pin.ts";
import type { RepositoryId } from "../store/layout.ts";
import { unpackTime } from "./age.ts";
import { packDigest, unpackDigest } from "./digest-bytes.ts";
import type { Holding, LedgerQueries, ListPart, NamespaceUsage, RepositoryUsage, TagUsage } from "./ledger.ts";
import { findContent, findRepository } from "./names.ts";
import { reach } from "./reach.ts";
import type { Statements } from "./statements.ts";

/** See `LedgerQueries`. */
export function findHolding(sql: Statements, id: RepositoryId, digest: Digest): Holding {
  const content = findContent(sql, digest);
  if (content === undefined) return { usedAt: undefined, tags: [], otherHolders: 0 };
  const repository = findRepository(sql, id)?.id ?? 0;
  const link = sql.get<{ used: number }>(
    "SELECT used FROM links WHERE repository = ? AND content = ?",
    repository,
    content.id,
  );
  const tags = sql.all<{ tag: Tag }>(
    "SELECT tag FROM tags WHERE content = ? AND repository = ? ORDER BY tag",
    content.id,
    repository,
  );
  return {
    usedAt: link && unpackTime(link.used),
    tags: tags.map(({ tag }) => tag),
    otherHolders: content.holders - (link === undefined ? 0 : 1),
  };
}

/** See `LedgerQueries`. */
export function listHolders(sql: Statements, digest: Digest): RepositoryId[] {
  const content = findContent(sql, digest);
  if (content === undefined || content.holders === 0) return [];
  const rows = sql.all<RepositoryId>(
    `SELECT n.name AS namespace, r.name AS repository FROM links l
     CROSS JOIN repositories r ON r.id = l.repository CROSS JOIN namespaces n ON n.id = r.namespace
     WHERE l.content = ?`,
    content.id,
  );
  return rows.map(({ namespace, repository }) => ({ namespace, repository }));
}

/** See `LedgerQueries`. What is pinned is up to date. */
export function sumPinned(sql: Statements): number {
  const row = sql.get<{ bytes: number | null }>(
    `SELECT sum(bytes) AS bytes FROM contents WHERE id IN
     (SELECT l.content FROM namespaces n CROSS JOIN links l ON l.namespace = n.id AND l.pinned = 1)`,
  );
  return row?.bytes ?? 0;
}

/** See `LedgerQueries`. */
export function listNamespaces(sql: Statements): NamespaceUsage[] {
  return sql
    .all<{ namespace: Namespace; bytes: number; repositories: number; used: number }>(
      `SELECT n.name AS namespace, n.bytes, count(*) AS repositories, max(r.used) AS used
       FROM namespaces n JOIN repositories r ON r.namespace = n.id GROUP BY n.id ORDER BY n.name`,
    )
    .map(({ used, ...namespace }) => ({ ...namespace, usedAt: knownTime(used) }));
}

/** See `LedgerQueries`. The place in the list is `<namespace>/<repository>`. */
export function listRepositories(
  sql: Statements,
  { namespace, after = "", limit }: Parameters<LedgerQueries["repositories"]>[0],
): ListPart<RepositoryUsage> {
  const slash = after.indexOf("/");
  const [afterNamespace, afterName] = slash < 0 ? ["", ""] : [after.slice(0, slash), after.slice(slash + 1)];
  const rows = sql.all<{ namespace: Namespace; repository: Repository; bytes: number; tags: number; used: number }>(
    `SELECT n.name AS namespace, r.name AS repository, r.bytes, r.used,
       (SELECT count(*) FROM tags t WHERE t.repository = r.id) AS tags
     FROM namespaces n CROSS JOIN repositories r ON r.namespace = n.id
     WHERE n.name >= ?1 AND (n.name > ?1 OR r.name > ?2) AND (?3 IS NULL OR n.name = ?3)
     ORDER BY n.name, r.name LIMIT ?4`,
    afterNamespace,
    afterName,
    namespace ?? null,
    limit + 1,
  );
  const items = rows.map(({ used, ...row }) => ({ ...row, usedAt: knownTime(used) }));
  return part(items, limit, (last) => `${last.namespace}/${last.repository}`);
}

/** See `LedgerQueries`. The place in the list is the tag, and after all tags the digest. What is pinned is up to date. */
export function listTags(sql: Statements, query: Parameters<LedgerQueries["tags"]>[0]): ListPart<TagUsage> {
  const { namespace, repository: name, after = "", limit, pins } = query;
  const id: RepositoryId = { namespace, repository: name };
  const repository = findRepository(sql, id)?.id;
  if (repository === undefined) return { items: [], next: undefined };
  const rows: TagRow[] = isDigest(after) ? [] : taggedAfter(sql, repository, after, limit + 1);
  if (rows.length <= limit) {
    const digest = isDigest(after) ? after : undefined;
    rows.push(...untaggedAfter(sql, repository, digest, limit + 1 - rows.length));
  }
  const matching = pins.map(parsePin).filter((pin) => pin.matchesRepository(id));
  const items = rows.slice(0, limit + 1).map(({ tag, content, digest: packed, used }) => {
    const digest = unpackDigest(packed);
    return {
      ...id,
      tag: tag ?? undefined,
      digest,
      bytes: sumBytes(sql, reach(sql, repository, [content])),
      usedAt: knownTime(used),
      pinned: isPinned(sql, matching, repository, content, id, tag),
    };
  });
  return part(items, limit, (last) => last.tag ?? last.digest);
}

interface TagRow {
  readonly tag: Tag | null;
  readonly content: number;
  readonly digest: Uint8Array;
  readonly used: number;
}

function taggedAfter(sql: Statements, repository: number, after: string, limit: number): TagRow[] {
  return sql.all<TagRow>(
    `SELECT t.tag, t.content, c.digest, t.used FROM tags t JOIN contents c ON c.id = t.content
     WHERE t.repository = ? AND t.tag > ? ORDER BY t.tag LIMIT ?`,
    repository,
    after,
    limit,
  );
}

/** Manifests that have no tag, and are not part of an index here. */
function untaggedAfter(sql: Statements, repository: number, after: Digest | undefined, limit: number): TagRow[] {
  return sql.all<TagRow>(
    `SELECT NULL AS tag, c.id AS content, c.digest, l.used FROM links l JOIN contents c ON c.id = l.content
     WHERE l.repository = ?1 AND c.manifest = 1 AND c.digest > ?2
       AND NOT EXISTS (SELECT 1 FROM tags t WHERE t.content = c.id AND t.repository = ?1)
       AND NOT EXISTS (SELECT 1 FROM children x CROSS JOIN links p ON p.repository = ?1 AND p.content = x.parent
                       WHERE x.child = c.id)
     ORDER BY c.digest LIMIT ?3`,
    repository,
    after === undefined ? new Uint8Array(0) : packDigest(after),
    limit,
  );
}

/** Whether the link is; for a tag without one, whether the tag itself is meant. */
function isPinned(
  sql: Statements,
  pins: readonly Pin[],
  repository: number,
  content: number,
  id: RepositoryId,
  tag: Tag | null,
): boolean {
  if (tag !== null && pins.some((pin) => pin.matches({ ...id, tag }))) return true;
  const link = "SELECT 1 FROM links WHERE repository = ? AND content = ? AND pinned = 1";
  return sql.get(link, repository, content) !== undefined;
}

function sumBytes(sql: Statements, contents: Iterable<number>): number {
  let sum = 0;
  for (const id of contents)
    sum += sql.get<{ bytes: number }>("SELECT bytes FROM contents WHERE id = ?", id)?.bytes ?? 0;
  return sum;
}

function knownTime(used: number): number | undefined {
  return used > 0 ? unpackTime(used) : undefined;
}

/** What was found with a limit of one more, as a part of the list. */
function part<T>(found: readonly T[], limit: number, placeOf: (last: T) => string): ListPart<T> {
  const items = found.slice(0, limit);
  const last = items.at(-1);
  return { items, next: found.length > limit && last !== undefined ? placeOf(last) : undefined };
}
