import type { Digest } from "../oci/digest.ts";
import type { Namespace, Repository, Tag } from "../oci/reference.ts";
import type { PageKind, RepositoryId } from "../store/layout.ts";
import { recordBytes } from "./tables.ts";
import { unpackDigest } from "./digest-bytes.ts";
import type { PurgePlan, PurgeTarget } from "./ledger.ts";
import { type ContentRow, findContent, findNamespace, findRepository } from "./names.ts";
import { childrenIn, reach } from "./reach.ts";
import type { Statements } from "./statements.ts";

/** About how many objects a plan has at most, so that it fits into memory; also one repository may hold a million. */
const maxPlanned = 20_000;

/** See `LedgerQueries`. */
export function planPurge(sql: Statements, target: PurgeTarget): PurgePlan {
  const plan = new Plan(sql);
  switch (target.kind) {
    case "namespace": {
      const namespace = findNamespace(sql, target.namespace) ?? 0;
      const ids = sql.all<{ id: number }>("SELECT id FROM repositories WHERE namespace = ? ORDER BY name", namespace);
      for (const { id } of ids) {
        plan.addRepository(id);
        if (plan.isFull) break;
      }
      break;
    }
    case "repository":
      plan.addRepository(findRepository(sql, target.id)?.id ?? 0);
      break;
    case "tag":
      plan.addTag(findRepository(sql, target.id)?.id ?? 0, target.tag);
      break;
    case "digest": {
      const content = findContent(sql, target.digest);
      if (content !== undefined) plan.addDigest(findRepository(sql, target.id)?.id ?? 0, content);
      break;
    }
    case "content": {
      const content = findContent(sql, target.digest);
      if (content !== undefined) plan.addEverywhere(content);
      break;
    }
  }
  return plan.finish();
}

interface TagRow {
  readonly repository: number;
  readonly tag: Tag;
  readonly content: number;
  readonly digest: Uint8Array;
}

class Plan {
  readonly #sql: Statements;
  readonly #tags: PurgePlan["tags"][number][] = [];
  readonly #links: PurgePlan["links"][number][] = [];
  readonly #pages: PurgePlan["pages"][number][] = [];
  /** How many links to each content go. */
  readonly #unheld = new Map<number, number>();
  #freesBytes = 0;
  #isFull = false;

  constructor(sql: Statements) {
    this.#sql = sql;
  }

  /** Whether more is to be planned when this is done. */
  get isFull(): boolean {
    return this.#isFull;
  }

  /** All that a repository holds, or as much as there is room for: tags first, then links by age. */
  addRepository(repository: number): void {
    const id = this.#idOf(repository);
    if (id === undefined) return;
    this.#addTags("t.repository = ?", repository);
    this.#addLinks(repository, undefined);
    if (this.#noteIfFull()) return;
    const pages = this.#sql.all<{ page: PageKind; name: string; bytes: number }>(
      "SELECT page, name, bytes FROM pages WHERE repository = ?",
      repository,
    );
    for (const { page, name, bytes } of pages) {
      this.#pages.push({ id, page, name });
      this.#freesBytes += bytes;
    }
  }

  /** A tag, and what only it reaches. */
  addTag(repository: number, tag: Tag): void {
    const [row] = this.#addTags("t.repository = ? AND t.tag = ?", repository, tag);
    if (row === undefined) return;
    const others = this.#sql.all<{ tag: Tag }>(
      "SELECT tag FROM tags WHERE repository = ? AND content = ? AND tag <> ?",
      repository,
      row.content,
      tag,
    );
    if (others.length > 0) return;
    this.#addLinks(repository, this.#onlyReachedFrom(repository, row.content, false));
  }

  /** A manifest with its tags and what only it reaches, or a blob. */
  addDigest(repository: number, { id, manifest }: Pick<ContentRow, "id" | "manifest">): void {
    this.#addTags("t.repository = ? AND t.content = ?", repository, id);
    this.#addLinks(repository, manifest === 0 ? new Set([id]) : this.#onlyReachedFrom(repository, id, true));
  }

  addEverywhere(content: ContentRow): void {
    const repositories = this.#sql.all<{ id: number }>(
      "SELECT repository AS id FROM links WHERE content = ?1 UNION SELECT repository FROM tags WHERE content = ?1",
      content.id,
    );
    for (const { id } of repositories) this.addDigest(id, content);
    // Also what nobody holds.
    this.#unheld.set(content.id, content.holders);
  }

  finish(): PurgePlan {
    const contents: Digest[] = [];
    for (const [id, unheld] of this.#unheld) {
      const row = this.#sql.get<{ digest: Uint8Array; bytes: number; holders: number }>(
        "SELECT digest, bytes, holders FROM contents WHERE id = ?",
        id,
      );
      if (row === undefined || row.bytes === 0 || row.holders > unheld) continue;
      contents.push(unpackDigest(row.digest));
      this.#freesBytes += row.bytes;
    }
    return {
      tags: this.#tags,
      links: this.#links,
      pages: this.#pages,
      contents,
      freesBytes: this.#freesBytes,
      more: this.#isFull,
    };
  }

  get #room(): number {
    return Math.max(0, maxPlanned - this.#tags.length - this.#links.length - this.#pages.length);
  }

  #noteIfFull(): boolean {
    this.#isFull ||= this.#room === 0;
    return this.#isFull;
  }

  #addTags(condition: string, ...values: (string | number)[]): TagRow[] {
    const rows = this.#sql.all<TagRow>(
      `SELECT t.repository, t.tag, t.content, c.digest FROM tags t JOIN contents c ON c.id = t.content
       WHERE ${condition} ORDER BY t.tag LIMIT ?`,
      ...values,
      this.#room,
    );
    for (const { repository, tag, digest } of rows) {
      const id = this.#idOf(repository);
      if (id !== undefined) this.#tags.push({ id, tag, digest: unpackDigest(digest) });
    }
    this.#freesBytes += rows.length * recordBytes;
    return rows;
  }

  /** Links of a repository to these contents, or all. By age, parents come before their children. */
  #addLinks(repository: number, contents: ReadonlySet<number> | undefined): void {
    const id = this.#idOf(repository);
    if (id === undefined) return;
    const list = contents && JSON.stringify([...contents]);
    const rows = this.#sql.all<{ content: number; digest: Uint8Array }>(
      `SELECT l.content, c.digest FROM links l JOIN contents c ON c.id = l.content
       WHERE l.repository = ?1 AND (?2 IS NULL OR l.content IN (SELECT value FROM json_each(?2)))
       ORDER BY l.used, c.manifest DESC LIMIT ?3`,
      repository,
      list ?? null,
      // What a manifest reaches is never left in part.
      contents === undefined ? this.#room : contents.size,
    );
    for (const { content, digest } of rows) {
      this.#links.push({ id, digest: unpackDigest(digest) });
      this.#unheld.set(content, (this.#unheld.get(content) ?? 0) + 1);
    }
    this.#freesBytes += rows.length * recordBytes;
  }

  /**
   * What is reached from a manifest, and not from a tag or an untagged manifest besides. The manifest itself is in it,
   * where it is `forced` in any case.
   */
  #onlyReachedFrom(repository: number, root: number, forced: boolean): Set<number> {
    const reached = reach(this.#sql, repository, [root]);
    const kept: number[] = [];
    for (const content of reached) {
      if (
        content === root
          ? !forced && this.#hasOtherParent(repository, content, reached)
          : this.#isKept(repository, content, reached)
      ) {
        kept.push(content);
      }
    }
    for (const content of kept) {
      if (!reached.delete(content)) continue;
      for (const child of childrenIn(this.#sql, repository, content)) if (child !== root || !forced) kept.push(child);
    }
    return reached;
  }

  #isKept(repository: number, content: number, reached: ReadonlySet<number>): boolean {
    const tag = "SELECT 1 FROM tags WHERE content = ? AND repository = ?";
    return this.#sql.get(tag, content, repository) !== undefined || this.#hasOtherParent(repository, content, reached);
  }

  /** Whether a manifest refers to it that is not among these: that one has a tag, is part of one that has, or has none. */
  #hasOtherParent(repository: number, content: number, reached: ReadonlySet<number>): boolean {
    const parents = this.#sql.iterate<{ parent: number }>(
      `SELECT c.parent FROM children c CROSS JOIN links l ON l.repository = ? AND l.content = c.parent
       WHERE c.child = ?`,
      repository,
      content,
    );
    for (const { parent } of parents) if (!reached.has(parent)) return true;
    return false;
  }

  #idOf(repository: number): RepositoryId | undefined {
    const row = this.#sql.get<{ namespace: Namespace; repository: Repository }>(
      `SELECT n.name AS namespace, r.name AS repository FROM repositories r
       JOIN namespaces n ON n.id = r.namespace WHERE r.id = ?`,
      repository,
    );
    return row && { namespace: row.namespace, repository: row.repository };
  }
}
