import type { Statements } from "./statements.ts";

/** What can be come to from `roots` by what manifests refer to, through a repository's links; with the roots it has. */
export function reach(sql: Statements, repository: number, roots: Iterable<number>): Set<number> {
  const reached = new Set<number>();
  const linked = (content: number): boolean =>
    sql.get("SELECT 1 FROM links WHERE repository = ? AND content = ?", repository, content) !== undefined;
  for (const root of roots) if (linked(root)) reached.add(root);
  // The loop comes to what it adds, too.
  for (const content of reached) for (const child of childrenIn(sql, repository, content)) reached.add(child);
  return reached;
}

/** What a manifest refers to, as far as the repository has it. */
export function childrenIn(sql: Statements, repository: number, content: number): number[] {
  return sql
    .all<{ child: number }>(
      `SELECT c.child FROM children c CROSS JOIN links l ON l.repository = ? AND l.content = c.child
       WHERE c.parent = ?`,
      repository,
      content,
    )
    .map(({ child }) => child);
}
