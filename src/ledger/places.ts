import type { SQLInputValue } from "node:sqlite";
import type { Namespace, Repository, Tag } from "../oci/reference.ts";
import type { PageKind, Place, RepositoryId } from "../store/layout.ts";
import { unpackTime } from "./age.ts";
import { unpackDigest } from "./digest-bytes.ts";
import type { LedgerChange } from "./ledger.ts";
import type { Statements } from "./statements.ts";

interface Named {
  readonly repository: number;
  readonly namespace: Namespace;
  readonly name: Repository;
}

/**
 * All objects that the ledger knows of, at most `limit` at a time. Between two parts anything may be changed: what is
 * there all the time is among them.
 */
export function* walkPlaces(sql: Statements, limit: number): Generator<Place[]> {
  const contents = walk<{ id: number; digest: Uint8Array }>(
    sql,
    "SELECT id, digest FROM contents WHERE id > ? AND bytes > 0 ORDER BY id LIMIT ?",
    [0],
    ({ id }) => [id],
    limit,
  );
  for (const rows of contents) yield rows.map(({ digest }) => ({ kind: "content", digest: unpackDigest(digest) }));
  const links = walk<Named & { content: number; digest: Uint8Array }>(
    sql,
    `SELECT x.repository, x.content, c.digest, ${named("links")} JOIN contents c ON c.id = x.content
     WHERE (x.repository, x.content) > (?, ?) ORDER BY x.repository, x.content LIMIT ?`,
    [0, 0],
    ({ repository, content }) => [repository, content],
    limit,
  );
  for (const rows of links) {
    yield rows.map((row) => ({ kind: "link", id: idOf(row), digest: unpackDigest(row.digest) }));
  }
  for (const rows of walkTags(sql, limit)) yield rows.map((row) => ({ kind: "tag", id: idOf(row), tag: row.tag }));
  const pages = walk<Named & { page: PageKind; page_name: string }>(
    sql,
    `SELECT x.repository, x.page, x.name AS page_name, ${named("pages")}
     WHERE (x.repository, x.page, x.name) > (?, ?, ?) ORDER BY x.repository, x.page, x.name LIMIT ?`,
    [0, "", ""],
    (row) => [row.repository, row.page, row.page_name],
    limit,
  );
  for (const rows of pages) {
    yield rows.map((row) => ({ kind: "page", id: idOf(row), page: row.page, name: row.page_name }));
  }
}

/** All tags, each as a use of what it stands for; in parts, as above. */
export function* walkTagUses(sql: Statements, limit: number): Generator<LedgerChange[]> {
  for (const rows of walkTags(sql, limit)) {
    yield rows.map((row) => ({
      kind: "use",
      id: idOf(row),
      digest: unpackDigest(row.digest),
      tag: row.tag,
      at: unpackTime(row.used),
    }));
  }
}

function walkTags(
  sql: Statements,
  limit: number,
): Generator<(Named & { readonly tag: Tag; readonly digest: Uint8Array; readonly used: number })[]> {
  return walk(
    sql,
    `SELECT x.repository, x.tag, x.used, c.digest, ${named("tags")} CROSS JOIN contents c ON c.id = x.content
     WHERE (x.repository, x.tag) > (?, ?) ORDER BY x.repository, x.tag LIMIT ?`,
    [0, ""],
    ({ repository, tag }) => [repository, tag],
    limit,
  );
}

/** The rows of a query that takes a key, after which they come in order, and how many there are to be. */
function* walk<Row>(
  sql: Statements,
  query: string,
  first: readonly SQLInputValue[],
  keyOf: (row: Row) => readonly SQLInputValue[],
  limit: number,
): Generator<Row[]> {
  for (let key = first; ;) {
    const rows = sql.all<Row>(query, ...key, limit);
    const last = rows.at(-1);
    if (last === undefined) return;
    key = keyOf(last);
    yield rows;
  }
}

/** The columns of `Named` but the first, and the tables that they come from; `x` is the one that is walked over. */
function named(table: "links" | "tags" | "pages"): string {
  return `r.name, n.name AS namespace FROM ${table} x
    CROSS JOIN repositories r ON r.id = x.repository CROSS JOIN namespaces n ON n.id = r.namespace`;
}

function idOf({ namespace, name }: Named): RepositoryId {
  return { namespace, repository: name };
}
