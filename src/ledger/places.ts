import type { Namespace, Repository, Tag } from "../oci/reference.ts";
import type { PageKind, Place } from "../store/layout.ts";
import { unpackTime } from "./age.ts";
import { unpackDigest } from "./digest-bytes.ts";
import type { LedgerChange } from "./ledger.ts";
import type { Statements } from "./statements.ts";

/** How far a walk over all objects has come: in the tables in this order, by their primary keys. */
export type PlaceCursor =
  | { readonly table: "contents"; readonly id: number }
  | { readonly table: "links"; readonly repository: number; readonly content: number }
  | { readonly table: "tags"; readonly repository: number; readonly tag: string }
  | { readonly table: "pages"; readonly repository: number; readonly page: string; readonly name: string };

/** Objects that the ledger knows of, and where to go on; without `next` these are the last. */
export interface Places {
  readonly places: readonly Place[];
  readonly next: PlaceCursor | undefined;
}

interface Named {
  readonly repository: number;
  readonly namespace: Namespace;
  readonly name: Repository;
}

/** At most `limit` objects after a place; also none, where one table ends there and others follow. */
export function placesAfter(sql: Statements, after: PlaceCursor | undefined, limit: number): Places {
  const from = after ?? { table: "contents", id: 0 };
  switch (from.table) {
    case "contents": {
      const rows = sql.all<{ id: number; digest: Uint8Array }>(
        "SELECT id, digest FROM contents WHERE id > ? AND bytes > 0 ORDER BY id LIMIT ?",
        from.id,
        limit,
      );
      const last = rows.at(-1);
      return {
        places: rows.map(({ digest }) => ({ kind: "content", digest: unpackDigest(digest) })),
        next: last ? { table: "contents", id: last.id } : { table: "links", repository: 0, content: 0 },
      };
    }
    case "links": {
      const rows = sql.all<Named & { content: number; digest: Uint8Array }>(
        `SELECT x.repository, x.content, c.digest, ${named("links")} JOIN contents c ON c.id = x.content
         WHERE (x.repository, x.content) > (?, ?) ORDER BY x.repository, x.content LIMIT ?`,
        from.repository,
        from.content,
        limit,
      );
      const last = rows.at(-1);
      return {
        places: rows.map((row) => ({ kind: "link", id: idOf(row), digest: unpackDigest(row.digest) })),
        next: last
          ? { table: "links", repository: last.repository, content: last.content }
          : { table: "tags", repository: 0, tag: "" },
      };
    }
    case "tags": {
      const rows = sql.all<Named & { tag: Tag }>(
        `SELECT x.repository, x.tag, ${named("tags")} WHERE (x.repository, x.tag) > (?, ?)
         ORDER BY x.repository, x.tag LIMIT ?`,
        from.repository,
        from.tag,
        limit,
      );
      const last = rows.at(-1);
      return {
        places: rows.map((row) => ({ kind: "tag", id: idOf(row), tag: row.tag })),
        next: last
          ? { table: "tags", repository: last.repository, tag: last.tag }
          : { table: "pages", repository: 0, page: "", name: "" },
      };
    }
    case "pages": {
      const rows = sql.all<Named & { page: PageKind; page_name: string }>(
        `SELECT x.repository, x.page, x.name AS page_name, ${named("pages")}
         WHERE (x.repository, x.page, x.name) > (?, ?, ?)
         ORDER BY x.repository, x.page, x.name LIMIT ?`,
        from.repository,
        from.page,
        from.name,
        limit,
      );
      const last = rows.at(-1);
      return {
        places: rows.map((row) => ({ kind: "page", id: idOf(row), page: row.page, name: row.page_name })),
        next: last && { table: "pages", repository: last.repository, page: last.page, name: last.page_name },
      };
    }
  }
}

/** How far a walk over tags has come. */
export type TagCursor = Extract<PlaceCursor, { table: "tags" }>;

/** At most `limit` tags after a place, as uses of what they stand for; and where to go on, where there are more. */
export function tagUsesAfter(
  sql: Statements,
  after: TagCursor | undefined,
  limit: number,
): { readonly uses: readonly LedgerChange[]; readonly next: TagCursor | undefined } {
  const rows = sql.all<Named & { tag: Tag; digest: Uint8Array; used: number }>(
    `SELECT x.repository, x.tag, x.used, c.digest, r.name, n.name AS namespace FROM tags x
     CROSS JOIN repositories r ON r.id = x.repository CROSS JOIN namespaces n ON n.id = r.namespace
     CROSS JOIN contents c ON c.id = x.content
     WHERE (x.repository, x.tag) > (?, ?) ORDER BY x.repository, x.tag LIMIT ?`,
    after?.repository ?? 0,
    after?.tag ?? "",
    limit,
  );
  const last = rows.at(-1);
  return {
    uses: rows.map((row) => ({
      kind: "use",
      id: idOf(row),
      digest: unpackDigest(row.digest),
      tag: row.tag,
      at: unpackTime(row.used),
    })),
    next: last && { table: "tags", repository: last.repository, tag: last.tag },
  };
}

/** The columns of `Named` but the first, and the tables that they come from; `x` is the one that is walked over. */
function named(table: "links" | "tags" | "pages"): string {
  return `r.name, n.name AS namespace FROM ${table} x
    CROSS JOIN repositories r ON r.id = x.repository CROSS JOIN namespaces n ON n.id = r.namespace`;
}

function idOf({ namespace, name }: Named): { namespace: Namespace; repository: Repository } {
  return { namespace, repository: name };
}
