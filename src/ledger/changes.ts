import { packTime, rejuvenate, rejuvenateChildren, leastTime } from "./age.ts";
import { chargedBytes, type LedgerChange } from "./ledger.ts";
import { findContent, findRepository, makeContent, makeRepository } from "./names.ts";
import type { Statements } from "./statements.ts";

type Change<Kind extends LedgerChange["kind"]> = Extract<LedgerChange, { kind: Kind }>;

/** Brings a change into the tables, with what it means for ages; what it means for sums the tables see to themselves. */
export function applyChange(sql: Statements, change: LedgerChange): void {
  switch (change.kind) {
    case "content":
      sql.run(
        "UPDATE contents SET bytes = ?, used = max(used, ?) WHERE id = ?",
        chargedBytes(change.sizeBytes),
        packTime(change.at),
        makeContent(sql, change.digest).id,
      );
      break;
    case "link":
      addLink(sql, change);
      break;
    case "tag":
      sql.run(
        `INSERT INTO tags VALUES (?, ?, ?, ?)
         ON CONFLICT DO UPDATE SET content = excluded.content, used = max(used, excluded.used)`,
        makeRepository(sql, change.id, packTime(change.at)).id,
        change.tag,
        makeContent(sql, change.digest).id,
        packTime(change.at),
      );
      break;
    case "page":
      setPage(sql, change);
      break;
    case "children":
      setChildren(sql, change);
      break;
    case "use":
      use(sql, change);
      break;
    case "content-removed": {
      // What is gone refers to nothing; when it comes again, that is told again.
      const content = findContent(sql, change.digest)?.id ?? 0;
      sql.run("DELETE FROM children WHERE parent = ?", content);
      sql.run("UPDATE contents SET manifest = 0, bytes = 0 WHERE id = ?", content);
      break;
    }
    case "link-removed": {
      const repository = findRepository(sql, change.id)?.id ?? 0;
      const content = findContent(sql, change.digest)?.id ?? 0;
      sql.run("DELETE FROM links WHERE repository = ? AND content = ?", repository, content);
      break;
    }
    case "tag-removed": {
      const repository = findRepository(sql, change.id)?.id ?? 0;
      sql.run("DELETE FROM tags WHERE repository = ? AND tag = ?", repository, change.tag);
      break;
    }
    case "page-removed": {
      const { id, page, name } = change;
      const repository = findRepository(sql, id)?.id ?? 0;
      sql.run("DELETE FROM pages WHERE repository = ? AND page = ? AND name = ?", repository, page, name);
      break;
    }
  }
}

function addLink(sql: Statements, { id, digest, at }: Change<"link">): void {
  const repository = makeRepository(sql, id, packTime(at));
  const content = makeContent(sql, digest);
  const used = Math.max(packTime(at), leastTime(sql, repository.id, content.id));
  const isNew = sql.run(
    "INSERT OR IGNORE INTO links (repository, content, namespace, pinned, used) VALUES (?, ?, ?, 0, ?)",
    repository.id,
    content.id,
    repository.namespace,
    used,
  );
  if (isNew === 0) rejuvenate(sql, repository.id, content.id, used);
  else if (content.manifest !== 0) rejuvenateChildren(sql, repository.id, content.id, used);
}

function setPage(sql: Statements, { id, page, name, sizeBytes, at }: Change<"page">): void {
  const repository = makeRepository(sql, id, packTime(at));
  sql.run(
    `INSERT INTO pages VALUES (?, ?, ?, ?, ?, ?)
     ON CONFLICT DO UPDATE SET bytes = excluded.bytes, used = max(used, excluded.used)`,
    repository.id,
    page,
    name,
    repository.namespace,
    chargedBytes(sizeBytes),
    packTime(at),
  );
}

function setChildren(sql: Statements, { digest, children }: Change<"children">): void {
  const content = findContent(sql, digest);
  // It says nothing of content that is not stored: that is told when the content comes.
  if (content === undefined || content.bytes === 0 || content.manifest !== 0) return;
  for (const child of children) {
    sql.run("INSERT OR IGNORE INTO children VALUES (?, ?)", content.id, makeContent(sql, child).id);
  }
  sql.run("UPDATE contents SET manifest = 1 WHERE id = ?", content.id);
  const holders = sql.all<{ repository: number; used: number }>(
    "SELECT repository, used FROM links WHERE content = ?",
    content.id,
  );
  for (const { repository, used } of holders) rejuvenateChildren(sql, repository, content.id, used);
}

function use(sql: Statements, { id, digest, tag, at }: Change<"use">): void {
  const repository = findRepository(sql, id)?.id;
  const content = findContent(sql, digest)?.id;
  if (repository === undefined || content === undefined) return;
  const link = "SELECT 1 FROM links WHERE repository = ? AND content = ?";
  if (sql.get(link, repository, content) === undefined) return;
  const used = packTime(at);
  rejuvenate(sql, repository, content, used);
  makeRepository(sql, id, used);
  if (tag !== undefined) {
    sql.run("UPDATE tags SET used = max(used, ?) WHERE repository = ? AND tag = ?", used, repository, tag);
  }
}
