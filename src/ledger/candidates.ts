import type { Namespace } from "../oci/reference.ts";
import type { PageKind, RepositoryId } from "../store/layout.ts";
import { packTime, unpackTime } from "./age.ts";
import { recordBytes } from "./tables.ts";
import { unpackDigest } from "./digest-bytes.ts";
import type { Candidate, CandidateQuery } from "./ledger.ts";
import { findNamespace } from "./names.ts";
import type { Statements } from "./statements.ts";

interface Row {
  readonly used: number;
}

/** A row with what it takes to make it a candidate. */
interface Found {
  readonly used: number;
  candidate(): Candidate;
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
  const before = packTime(Math.min(query.usedBefore, Number.MAX_SAFE_INTEGER / 8));
  // Each source is in order and read only as far as it is needed: what is left out costs nothing.
  const sources = [
    ...scopesOf(sql, query, before).flatMap((scope) => [links(sql, scope, before), pages(sql, scope, before)]),
    ...(withLoose && query.only === undefined ? [contents(sql, before)] : []),
  ];
  const candidates: Candidate[] = [];
  for (const found of merge(sources)) {
    if (candidates.length >= query.limit) break;
    candidates.push(found.candidate());
  }
  return candidates;
}

/** Never many, however many namespaces there are. */
function scopesOf(sql: Statements, { only, except = [], limit }: CandidateQuery, before: number): Scope[] {
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
                   WHERE l.namespace = n.id AND l.pinned = 0 ORDER BY l.used LIMIT 1), ?1),
           ifnull((SELECT p.used FROM pages p INDEXED BY pages_by_use
                   CROSS JOIN repositories r ON r.id = p.repository AND r.pinned < 2
                   WHERE p.namespace = n.id ORDER BY p.used LIMIT 1), ?1)) AS used
         FROM namespaces n WHERE n.id NOT IN (SELECT value FROM json_each(?2)))
       WHERE used < ?1 ORDER BY used LIMIT ?3`,
      before,
      excluded,
      limit,
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

function* links(sql: Statements, scope: Scope, before: number): Generator<Found> {
  const rows = sql.iterate<Row & { repository: number; content: number }>(
    `SELECT repository, content, used FROM ${scope.links} AND pinned = 0 AND used < ?2 ORDER BY used`,
    scope.value,
    before,
  );
  for (const { repository, content, used } of rows) {
    yield {
      used,
      candidate: () => {
        const id = sql.get<RepositoryId>(
          `SELECT n.name AS namespace, r.name AS repository FROM repositories r
           JOIN namespaces n ON n.id = r.namespace WHERE r.id = ?`,
          repository,
        );
        const row = sql.get<{ digest: Uint8Array; bytes: number; holders: number }>(
          "SELECT digest, bytes, holders FROM contents WHERE id = ?",
          content,
        );
        if (id === undefined || row === undefined) throw new Error("a link has no repository or content");
        return {
          kind: "link",
          id: { ...id },
          digest: unpackDigest(row.digest),
          usedAt: unpackTime(used),
          freesBytes: recordBytes + (row.holders === 1 ? row.bytes : 0),
        };
      },
    };
  }
}

function* pages(sql: Statements, scope: Scope, before: number): Generator<Found> {
  const rows = sql.iterate<Row & RepositoryId & { page: PageKind; name: string; bytes: number }>(
    `SELECT n.name AS namespace, r.name AS repository, p.page, p.name, p.bytes, p.used
     FROM (SELECT * FROM ${scope.pages} AND used < ?2) p
     CROSS JOIN repositories r ON r.id = p.repository AND r.pinned < 2
     CROSS JOIN namespaces n ON n.id = p.namespace ORDER BY p.used`,
    scope.value,
    before,
  );
  for (const { namespace, repository, page, name, bytes, used } of rows) {
    yield {
      used,
      candidate: () => ({
        kind: "page",
        id: { namespace, repository },
        page,
        name,
        usedAt: unpackTime(used),
        freesBytes: bytes,
      }),
    };
  }
}

function* contents(sql: Statements, before: number): Generator<Found> {
  const rows = sql.iterate<Row & { digest: Uint8Array; bytes: number }>(
    `SELECT digest, bytes, used FROM contents INDEXED BY loose_contents
     WHERE holders = 0 AND bytes > 0 AND used < ? ORDER BY used`,
    before,
  );
  for (const { digest, bytes, used } of rows) {
    yield {
      used,
      candidate: () => ({
        kind: "content",
        digest: unpackDigest(digest),
        usedAt: unpackTime(used),
        freesBytes: bytes,
      }),
    };
  }
}

/** One order from several; whoever leaves early closes them all. */
function* merge(sources: readonly Generator<Found>[]): Generator<Found> {
  try {
    const heads: { readonly source: Generator<Found>; value: Found }[] = [];
    for (const source of sources) {
      const first = source.next();
      if (first.done !== true) heads.push({ source, value: first.value });
    }
    while (heads.length > 0) {
      const [first, ...others] = heads.keys();
      let least = first ?? 0;
      for (const index of others) if ((heads[index]?.value.used ?? 0) < (heads[least]?.value.used ?? 0)) least = index;
      const head = heads[least];
      if (head === undefined) return;
      yield head.value;
      const next = head.source.next();
      if (next.done === true) heads.splice(least, 1);
      else head.value = next.value;
    }
  } finally {
    for (const source of sources) source.return(undefined);
  }
}
