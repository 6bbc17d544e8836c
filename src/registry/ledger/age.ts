import type { Statements } from "./statements.ts";

const maxDepth = 3;
const step = maxDepth + 1;
/** How many parents are looked up one by one; of content that more refer to, the repository's manifests are. */
const fewParents = 64;

/** The time of use as the database keeps it, of what was used itself. */
export function packTime(ms: number): number {
  return Math.max(0, Math.floor(ms)) * step;
}

/** In milliseconds. */
export function unpackTime(used: number): number {
  return Math.floor(used / step);
}

/** The least that the children of what was used then have. */
export function youngerThan(used: number): number {
  return used % step === maxDepth ? used : used + 1;
}

/** Gives a link, and all that it refers to in its repository, at least this time: a child is never older than a parent. */
export function rejuvenate(sql: Statements, repository: number, content: number, used: number): void {
  const raised = sql.run(
    "UPDATE links SET used = ? WHERE repository = ? AND content = ? AND used < ?",
    used,
    repository,
    content,
    used,
  );
  // One that was younger has younger children already; so a circle ends, too.
  if (raised > 0) rejuvenateChildren(sql, repository, content, used);
}

/** The same for what a link refers to, where the link has that time. */
export function rejuvenateChildren(sql: Statements, repository: number, content: number, used: number): void {
  const children = sql.all<{ child: number }>("SELECT child FROM children WHERE parent = ?", content);
  for (const { child } of children) rejuvenate(sql, repository, child, youngerThan(used));
}

/** The least time that a link of this content must have in the repository, for what refers to it there. */
export function leastTime(sql: Statements, repository: number, content: number): number {
  const parents = sql.all("SELECT parent FROM children WHERE child = ? LIMIT ?", content, fewParents + 1).length;
  if (parents === 0) return 0;
  // Each way is quick where the other one is slow: content that everybody uses, or a repository of many links.
  const row =
    parents > fewParents
      ? sql.get<{ used: number | null }>(
          `SELECT max(l.used) AS used FROM links l CROSS JOIN children c ON c.parent = l.content AND c.child = ?
           WHERE l.repository = ?`,
          content,
          repository,
        )
      : sql.get<{ used: number | null }>(
          `SELECT max(l.used) AS used FROM children c CROSS JOIN links l ON l.repository = ? AND l.content = c.parent
           WHERE c.child = ?`,
          repository,
          content,
        );
  return typeof row?.used === "number" ? youngerThan(row.used) : 0;
}
