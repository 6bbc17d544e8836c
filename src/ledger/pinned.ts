import type { Digest } from "../oci/digest.ts";
import type { Namespace, Repository, Tag } from "../oci/reference.ts";
import { type Pin, parsePin } from "../oci/pin.ts";
import { findContent } from "./names.ts";
import { reach } from "./reach.ts";
import type { Statements } from "./statements.ts";

/** A repository in which pins may hold something else than they did. */
interface StaleRepository {
  readonly id: number;
  readonly namespace: Namespace;
  readonly repository: Repository;
  readonly pinned: number;
}

/**
 * Brings `links.pinned` and `repositories.pinned` up to date with the pins: what changed since is looked at, and all
 * where the pins did. To be run in a transaction.
 *
 * @throws {PinError}
 */
export function refreshPinned(sql: Statements, patterns: readonly string[]): void {
  const sorted = [...new Set(patterns)].toSorted();
  const pins = sorted.map(parsePin);
  const text = JSON.stringify(sorted);
  if (sql.run("UPDATE meta SET pins = ?1 WHERE pins <> ?1", text) > 0) sql.run("UPDATE repositories SET stale = 1");
  const stale = sql.all<StaleRepository>(
    `SELECT r.id, n.name AS namespace, r.name AS repository, r.pinned FROM repositories r
     JOIN namespaces n ON n.id = r.namespace WHERE r.stale = 1`,
  );
  for (const repository of stale) {
    const pinned = refresh(sql, repository, pins);
    sql.run("UPDATE repositories SET stale = 0, pinned = ? WHERE id = ?", pinned, repository.id);
  }
}

/** What is pinned of a repository: 0 nothing, 1 some, 2 all. */
function refresh(sql: Statements, repository: StaleRepository, pins: readonly Pin[]): number {
  const matching = pins.filter((pin) => pin.matchesRepository(repository));
  if (matching.some((pin) => pin.of === "repository")) {
    sql.run("UPDATE links SET pinned = 1 WHERE repository = ? AND pinned = 0", repository.id);
    return 2;
  }
  if (matching.length === 0 && repository.pinned === 0) return 0;
  const wanted = reach(sql, repository.id, roots(sql, repository, matching));
  const links = sql.all<{ content: number; pinned: number }>(
    "SELECT content, pinned FROM links WHERE repository = ?",
    repository.id,
  );
  for (const { content, pinned } of links) {
    if (wanted.has(content) === (pinned === 1)) continue;
    sql.run("UPDATE links SET pinned = 1 - pinned WHERE repository = ? AND content = ?", repository.id, content);
  }
  return wanted.size > 0 ? 1 : 0;
}

/** What the pins mean in a repository themselves. */
function roots(sql: Statements, repository: StaleRepository, pins: readonly Pin[]): Set<number> {
  const found = new Set<number>();
  if (pins.some((pin) => pin.of === "tags")) {
    const tags = sql.iterate<{ tag: Tag; content: number }>(
      "SELECT tag, content FROM tags WHERE repository = ?",
      repository.id,
    );
    for (const { tag, content } of tags) {
      if (pins.some((pin) => pin.of === "tags" && pin.matches({ ...repository, tag }))) found.add(content);
    }
  }
  for (const pin of pins) {
    if (pin.of !== "digest") continue;
    const content = findContent(sql, pin.pattern.slice(pin.pattern.indexOf("@") + 1) as Digest);
    if (content !== undefined) found.add(content.id);
  }
  return found;
}
