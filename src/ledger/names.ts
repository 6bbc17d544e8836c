import type { Digest } from "../oci/digest.ts";
import type { RepositoryId } from "../store/layout.ts";
import { packDigest } from "./digest-bytes.ts";
import type { Statements } from "./statements.ts";

/** A repository's numbers in the database. */
export interface RepositoryRow {
  readonly id: number;
  readonly namespace: number;
}

/** A content's row. */
export interface ContentRow {
  readonly id: number;
  readonly bytes: number;
  readonly holders: number;
  readonly manifest: number;
  readonly used: number;
}

/** The number of a namespace, where it has one. */
export function findNamespace(sql: Statements, name: string): number | undefined {
  return sql.get<{ id: number }>("SELECT id FROM namespaces WHERE name = ?", name)?.id;
}

/** A repository that holds something. */
export function findRepository(sql: Statements, { namespace, repository }: RepositoryId): RepositoryRow | undefined {
  return sql.get<RepositoryRow>(
    `SELECT r.id, r.namespace FROM repositories r JOIN namespaces n ON n.id = r.namespace
     WHERE n.name = ? AND r.name = ?`,
    namespace,
    repository,
  );
}

/** A repository, with a row from now on, that was used at this time (packed). */
export function makeRepository(sql: Statements, id: RepositoryId, used: number): RepositoryRow {
  const found = findRepository(sql, id);
  if (found !== undefined) {
    sql.run("UPDATE repositories SET used = ?1 WHERE id = ?2 AND used < ?1", used, found.id);
    return found;
  }
  const namespace =
    findNamespace(sql, id.namespace) ??
    insert(sql, "INSERT INTO namespaces (name, bytes, changed) VALUES (?, 0, 0)", id.namespace);
  const repository = insert(
    sql,
    "INSERT INTO repositories (namespace, name, bytes, used, stale, pinned) VALUES (?, ?, 0, ?, 1, 0)",
    namespace,
    id.repository,
    used,
  );
  return { id: repository, namespace };
}

/** Content that something speaks of, stored or not. */
export function findContent(sql: Statements, digest: Digest): ContentRow | undefined {
  return sql.get<ContentRow>(
    "SELECT id, bytes, holders, manifest, used FROM contents WHERE digest = ?",
    packDigest(digest),
  );
}

/** Content, with a row from now on. */
export function makeContent(sql: Statements, digest: Digest): ContentRow {
  const found = findContent(sql, digest);
  if (found !== undefined) return found;
  const id = insert(
    sql,
    "INSERT INTO contents (digest, bytes, holders, manifest, used) VALUES (?, 0, 0, 0, 0)",
    packDigest(digest),
  );
  return { id, bytes: 0, holders: 0, manifest: 0, used: 0 };
}

function insert(sql: Statements, statement: string, ...values: (string | number | Uint8Array)[]): number {
  const row = sql.get<{ id: number }>(`${statement} RETURNING id`, ...values);
  if (row === undefined) throw new Error("a row was not made");
  return row.id;
}
