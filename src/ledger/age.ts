import type { Statements } from "./statements.ts";

const maxDepth = 3;
const step = maxDepth + 1;
/** How many parents are looked up one by one; of content that more refer to, the repository's manifests are. */
const fewParents = 64;
/** How many children one use looks at: more than images have, and few enough to keep nobody waiting. */
const maxChildren = 10_000;
/** How far ahead a time of use may be without harm. */
const toleranceMs = 3_600_000;

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

/**
 * Gives a link, and what it refers to in its repository, at least this time: a child is never older than a parent. That
 * goes down as far as `maxDepth`, which is more than an index of images has, and to `maxChildren` objects.
 */
export function rejuvenate(sql: Statements, repository: number, content: number, used: number): void {
  const raised = sql.run(
    "UPDATE links SET used = ? WHERE repository = ? AND content = ? AND used < ?",
    used,
    repository,
    content,
    used,
  );
  // One that was younger has younger children already.
  if (raised > 0) rejuvenateChildren(sql, repository, content, used);
}

/** The same for what a link refers to, where the link has that time. */
export function rejuvenateChildren(sql: Statements, repository: number, content: number, used: number): void {
  let parents = [content];
  let left = maxChildren;
  for (let time = used; time % step < maxDepth && parents.length > 0 && left > 0;) {
    const children = sql.all<{ child: number }>(
      "SELECT child FROM children WHERE parent IN (SELECT value FROM json_each(?)) LIMIT ?",
      JSON.stringify(parents),
      left,
    );
    left -= children.length;
    time = youngerThan(time);
    const raised = sql.all<{ content: number }>(
      `UPDATE links SET used = ?1 WHERE repository = ?2 AND used < ?1 AND content IN (SELECT value FROM json_each(?3))
       RETURNING content`,
      time,
      repository,
      JSON.stringify(children.map(({ child }) => child)),
    );
    parents = raised.map((link) => link.content);
  }
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

/**
 * Makes times of use that lie ahead of `now` the present: the clock was wrong, and what was used then would be the
 * youngest until they have come. Looks at indexes only, unless there are such times. To be run in a transaction.
 */
export function clampTimes(sql: Statements, now: number): void {
  const ahead = sql.get(
    `SELECT 1 WHERE EXISTS (SELECT 1 FROM links INDEXED BY links_by_age WHERE pinned = 0 AND used > ?1)
       OR EXISTS (SELECT 1 FROM pages INDEXED BY pages_by_age WHERE used > ?1)
       OR EXISTS (SELECT 1 FROM contents INDEXED BY loose_contents WHERE holders = 0 AND bytes > 0 AND used > ?1)`,
    packTime(now + toleranceMs),
  );
  if (ahead === undefined) return;
  for (const table of ["links", "tags", "pages", "contents", "repositories"]) {
    // What makes children younger than their parents stays.
    sql.run(`UPDATE ${table} SET used = ?1 + used % ${step} WHERE used >= ?1 + ${step}`, packTime(now));
  }
}
