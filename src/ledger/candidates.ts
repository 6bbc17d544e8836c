import type { Namespace } from "../oci/reference.ts";
import type { PageKind, RepositoryId } from "../store/layout.ts";
import { packTime, unpackTime } from "./age.ts";
import { recordBytes } from "./tables.ts";
import { unpackDigest } from "./digest-bytes.ts";
import type { Candidate, CandidateQuery } from "./ledger.ts";
import { findNamespace } from "./names.ts";
import type { Statements } from "./statements.ts";

/** A candidate with the time that it is sorted by. */
interface Found {
  readonly used: number;
  readonly candidate: Candidate;
}

/** Where links and pages are looked for, as conditions of SQL with a value: in one namespace, or in all but some. */
interface Scope {
  readonly links: string;
  readonly pages: string;
  readonly value: number | string;
}

/** How many namespaces are looked into side by side. */
const maxScopes = 256;

/**
 * The least recently used, in order. What is pinned is up to date.
 *
 * @param withLoose Whether content that nobody holds is among them.
 */
export function findCandidates(sql: Statements, query: CandidateQuery, withLoose: boolean): Candidate[] {
  const { limit, usedFrom = 0 } = query;
  const from = packTime(usedFrom);
  const before = packTime(Math.min(query.usedBefore, Number.MAX_SAFE_INTEGER / 8));
  const looks = scopesOf(sql, query, from, before).flatMap((scope) => [
    (last: number) => links(sql, scope, from, last, limit),
    (last: number) => pages(sql, scope, from, last, limit),
  ]);
  if (withLoose && query.only === undefined) looks.push((last) => contents(sql, from, last, limit));
  let found: Found[] = [];
  for (const look of looks) {
    // When there are enough, only what is older than the last of them is read.
    const last = found.length < limit ? before : (found.at(-1)?.used ?? before);
    found = [...found, ...look(last)].toSorted((one, other) => one.used - other.used).slice(0, limit);
  }
  return found.map(({ candidate }) => candidate);
}

/** Never many, however many namespaces there are. */
function scopesOf(
  sql: Statements,
  { only, except = [], limit }: CandidateQuery,
  from: number,
  before: number,
): Scope[] {
  const numbers = (names: readonly Namespace[]): number[] => names.flatMap((name) => findNamespace(sql, name) ?? []);
  if (only !== undefined) {
    return numbers([...new Set(only)].filter((name) => !except.includes(name))).map(inNamespace);
  }
  const excluded = JSON.stringify(numbers(except));
  if (excluded === "[]" || limit > maxScopes) return [inOthers(excluded)];
  // What is excluded stays, and comes to be the oldest: it is not read. As many namespaces as candidates are wanted, of
  // those whose oldest is the oldest, have them all.
  return sql
    .all<{ id: number }>(
      `SELECT id FROM (
         SELECT n.id, min(
           ifnull((SELECT l.used FROM links l INDEXED BY links_by_use
                   WHERE l.namespace = n.id AND l.pinned = 0 AND l.used >= ?4 ORDER BY l.used LIMIT 1), ?1),
           ifnull((SELECT p.used FROM pages p INDEXED BY pages_by_use
                   CROSS JOIN repositories r ON r.id = p.repository AND r.pinned < 2
                   WHERE p.namespace = n.id AND p.used >= ?4 ORDER BY p.used LIMIT 1), ?1)) AS used
         FROM namespaces n WHERE n.id NOT IN (SELECT value FROM json_each(?2)))
       WHERE used < ?1 ORDER BY used LIMIT ?3`,
      before,
      excluded,
      limit,
      from,
    )
    .map(({ id }) => inNamespace(id));
}

function inNamespace(value: number): Scope {
  const of = (table: string): string => `${table} INDEXED BY ${table}_by_use WHERE namespace = ?1`;
  return { links: of("links"), pages: of("pages"), value };
}

function inOthers(value: string): Scope {
  const others = "namespace NOT IN (SELECT value FROM json_each(?1))";
  const of = (table: string): string => `${table} INDEXED BY ${table}_by_age WHERE ${others}`;
  return { links: of("links"), pages: of("pages"), value };
}

function links(sql: Statements, scope: Scope, from: number, before: number, limit: number): Found[] {
  const rows = sql.all<RepositoryId & { digest: Uint8Array; bytes: number; holders: number; used: number }>(
    `SELECT n.name AS namespace, r.name AS repository, c.digest, c.bytes, c.holders, l.used
     FROM (SELECT * FROM ${scope.links} AND pinned = 0 AND used >= ?2 AND used < ?3 ORDER BY used LIMIT ?4) l
     CROSS JOIN repositories r ON r.id = l.repository CROSS JOIN namespaces n ON n.id = r.namespace
     CROSS JOIN contents c ON c.id = l.content`,
    scope.value,
    from,
    before,
    limit,
  );
  return rows.map(({ namespace, repository, digest, bytes, holders, used }) => ({
    used,
    candidate: {
      kind: "link",
      id: { namespace, repository },
      digest: unpackDigest(digest),
      usedAt: unpackTime(used),
      freesBytes: recordBytes + (holders === 1 ? bytes : 0),
    },
  }));
}

function pages(sql: Statements, scope: Scope, from: number, before: number, limit: number): Found[] {
  const rows = sql.all<RepositoryId & { page: PageKind; name: string; bytes: number; used: number }>(
    `SELECT n.name AS namespace, r.name AS repository, p.page, p.name, p.bytes, p.used
     FROM (SELECT * FROM ${scope.pages} AND used >= ?2 AND used < ?3) p
     CROSS JOIN repositories r ON r.id = p.repository AND r.pinned < 2
     CROSS JOIN namespaces n ON n.id = p.namespace ORDER BY p.used LIMIT ?4`,
    scope.value,
    from,
    before,
    limit,
  );
  return rows.map(({ namespace, repository, page, name, bytes, used }) => ({
    used,
    candidate: {
      kind: "page",
      id: { namespace, repository },
      page,
      name,
      usedAt: unpackTime(used),
      freesBytes: bytes,
    },
  }));
}

function contents(sql: Statements, from: number, before: number, limit: number): Found[] {
  const rows = sql.all<{ digest: Uint8Array; bytes: number; used: number }>(
    `SELECT digest, bytes, used FROM contents INDEXED BY loose_contents
     WHERE holders = 0 AND bytes > 0 AND used >= ? AND used < ? ORDER BY used LIMIT ?`,
    from,
    before,
    limit,
  );
  return rows.map(({ digest, bytes, used }) => ({
    used,
    candidate: { kind: "content", digest: unpackDigest(digest), usedAt: unpackTime(used), freesBytes: bytes },
  }));
}
