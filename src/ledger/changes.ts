import type { Digest } from "../oci/digest.ts";
import type { RepositoryId } from "../store/layout.ts";
import { leastTime, packTime, rejuvenate, rejuvenateChildren } from "./age.ts";
import { chargedBytes, type LedgerChange } from "./ledger.ts";
import type { TotalsPart } from "./messages.ts";
import {
  type ContentRow,
  findContent,
  findRepository,
  makeContent,
  makeRepository,
  type RepositoryRow,
} from "./names.ts";
import type { Statements } from "./statements.ts";
import { Sums } from "./sums.ts";

/** What a link or a tag is counted as. */
export const recordBytes: number = chargedBytes(0);

type Change<Kind extends LedgerChange["kind"]> = Extract<LedgerChange, { kind: Kind }>;

/**
 * Brings changes into the tables, with what they mean for sums and ages. It is used for one transaction: `finish`
 * writes the sums, and comes before the commit.
 */
export class Changes {
  readonly #sql: Statements;
  readonly #sums: Sums;

  constructor(sql: Statements) {
    this.#sql = sql;
    this.#sums = new Sums(sql);
  }

  apply(change: LedgerChange): void {
    switch (change.kind) {
      case "content":
        this.#setContent(makeContent(this.#sql, change.digest), chargedBytes(change.sizeBytes), packTime(change.at));
        break;
      case "content-removed":
        this.#removeContent(change.digest);
        break;
      case "link":
        this.#addLink(change);
        break;
      case "link-removed":
        this.#removeLink(change);
        break;
      case "tag":
        this.#setTag(change);
        break;
      case "tag-removed":
        this.#removeTag(change);
        break;
      case "page":
        this.#setPage(change);
        break;
      case "page-removed":
        this.#removePage(change);
        break;
      case "children":
        this.#setChildren(change);
        break;
      case "use":
        this.#use(change);
        break;
    }
  }

  /** Writes the sums. Returns the new totals. */
  finish(): TotalsPart {
    return this.#sums.write();
  }

  #setContent(content: ContentRow, bytes: number, used: number): void {
    this.#sql.run("UPDATE contents SET bytes = ?, used = max(used, ?) WHERE id = ?", bytes, used, content.id);
    const more = bytes - content.bytes;
    if (more === 0) return;
    this.#sums.addStored(more);
    this.#sums.addBlobs(Math.sign(bytes) - Math.sign(content.bytes));
    if (content.holders === 0) return;
    const holders = this.#sql.all<{ repository: number; namespace: number }>(
      "SELECT repository, namespace FROM links WHERE content = ?",
      content.id,
    );
    for (const namespace of new Set(holders.map((link) => link.namespace))) this.#sums.addHeld(namespace, more);
    for (const { repository, namespace } of holders) this.#sums.addLinked({ id: repository, namespace }, more);
  }

  #makeRepository(id: RepositoryId): RepositoryRow {
    const found = findRepository(this.#sql, id);
    if (found !== undefined) return found;
    this.#sums.addRepository(id);
    return makeRepository(this.#sql, id);
  }

  #removeContent(digest: Digest): void {
    const sql = this.#sql;
    const content = findContent(sql, digest);
    if (content === undefined) return;
    this.#setContent(content, 0, 0);
    if (content.manifest !== 0) {
      // What is gone refers to nothing; when it comes again, that is told again.
      const children = this.#childrenOf(content.id);
      this.#spoil(content.id);
      sql.run("DELETE FROM children WHERE parent = ?", content.id);
      sql.run("UPDATE contents SET manifest = 0 WHERE id = ?", content.id);
      for (const child of children) this.#forget(child);
    }
    this.#forget(content.id);
  }

  #addLink({ id, digest, at }: Change<"link">): void {
    const sql = this.#sql;
    const repository = this.#makeRepository(id);
    const content = makeContent(sql, digest);
    const used = Math.max(packTime(at), leastTime(sql, repository.id, content.id));
    this.#sums.noteUse(repository, packTime(at));
    if (this.#hasLink(repository.id, content.id)) {
      rejuvenate(sql, repository.id, content.id, used);
      return;
    }
    const isNewHere = !this.#isHeldIn(repository.namespace, content.id);
    sql.run(
      "INSERT INTO links (repository, content, namespace, pinned, used) VALUES (?, ?, ?, 0, ?)",
      repository.id,
      content.id,
      repository.namespace,
      used,
    );
    sql.run("UPDATE contents SET holders = holders + 1 WHERE id = ?", content.id);
    this.#sums.addRecord(repository, recordBytes, 1);
    this.#sums.addLinked(repository, content.bytes);
    this.#sums.noteStale(repository);
    if (isNewHere) this.#sums.addHeld(repository.namespace, content.bytes);
    if (content.manifest !== 0) rejuvenateChildren(sql, repository.id, content.id, used);
  }

  #removeLink({ id, digest }: Change<"link-removed">): void {
    const sql = this.#sql;
    const repository = findRepository(sql, id);
    const content = findContent(sql, digest);
    if (repository === undefined || content === undefined) return;
    const removed = sql.get<{ used: number }>(
      "DELETE FROM links WHERE repository = ? AND content = ? RETURNING used",
      repository.id,
      content.id,
    );
    if (removed === undefined) return;
    sql.run("UPDATE contents SET holders = holders - 1, used = max(used, ?) WHERE id = ?", removed.used, content.id);
    this.#sums.addRecord(repository, -recordBytes, -1);
    this.#sums.addLinked(repository, -content.bytes);
    this.#sums.noteStale(repository);
    if (!this.#isHeldIn(repository.namespace, content.id)) this.#sums.addHeld(repository.namespace, -content.bytes);
    this.#forget(content.id);
  }

  #setTag({ id, tag, digest, at }: Change<"tag">): void {
    const sql = this.#sql;
    const repository = this.#makeRepository(id);
    const content = makeContent(sql, digest);
    const used = packTime(at);
    this.#sums.noteUse(repository, used);
    const before = this.#tag(repository.id, tag);
    if (before === undefined) {
      sql.run("INSERT INTO tags VALUES (?, ?, ?, ?)", repository.id, tag, content.id, used);
      this.#sums.addRecord(repository, recordBytes, 1);
    } else {
      sql.run(
        "UPDATE tags SET content = ?, used = max(used, ?) WHERE repository = ? AND tag = ?",
        content.id,
        used,
        repository.id,
        tag,
      );
    }
    if (before === content.id) return;
    this.#sums.noteStale(repository);
    if (before !== undefined) this.#forget(before);
  }

  #removeTag({ id, tag }: Change<"tag-removed">): void {
    const repository = findRepository(this.#sql, id);
    const content = repository && this.#tag(repository.id, tag);
    if (repository === undefined || content === undefined) return;
    this.#sql.run("DELETE FROM tags WHERE repository = ? AND tag = ?", repository.id, tag);
    this.#sums.addRecord(repository, -recordBytes, -1);
    this.#sums.noteStale(repository);
    this.#forget(content);
  }

  #setPage({ id, page, name, sizeBytes, at }: Change<"page">): void {
    const repository = this.#makeRepository(id);
    const bytes = chargedBytes(sizeBytes);
    const before = this.#pageBytes(repository.id, page, name);
    this.#sql.run(
      `INSERT INTO pages VALUES (?, ?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET bytes = excluded.bytes, used = max(used, excluded.used)`,
      repository.id,
      page,
      name,
      repository.namespace,
      bytes,
      packTime(at),
    );
    this.#sums.addRecord(repository, bytes - (before ?? 0), before === undefined ? 1 : 0);
    this.#sums.noteUse(repository, packTime(at));
  }

  #removePage({ id, page, name }: Change<"page-removed">): void {
    const repository = findRepository(this.#sql, id);
    const bytes = repository && this.#pageBytes(repository.id, page, name);
    if (repository === undefined || bytes === undefined) return;
    this.#sql.run("DELETE FROM pages WHERE repository = ? AND page = ? AND name = ?", repository.id, page, name);
    this.#sums.addRecord(repository, -bytes, -1);
  }

  #setChildren({ digest, children }: Change<"children">): void {
    const sql = this.#sql;
    const content = findContent(sql, digest);
    // It says nothing of content that is not stored: that is told when the content comes.
    if (content === undefined || content.bytes === 0 || content.manifest !== 0) return;
    sql.run("UPDATE contents SET manifest = 1 WHERE id = ?", content.id);
    for (const child of children) {
      sql.run("INSERT OR IGNORE INTO children VALUES (?, ?)", content.id, makeContent(sql, child).id);
    }
    this.#spoil(content.id);
    const holders = sql.all<{ repository: number; used: number }>(
      "SELECT repository, used FROM links WHERE content = ?",
      content.id,
    );
    for (const { repository, used } of holders) rejuvenateChildren(sql, repository, content.id, used);
  }

  #use({ id, digest, tag, at }: Change<"use">): void {
    const sql = this.#sql;
    const repository = findRepository(sql, id);
    const content = findContent(sql, digest);
    if (repository === undefined || content === undefined || !this.#hasLink(repository.id, content.id)) return;
    const used = packTime(at);
    rejuvenate(sql, repository.id, content.id, used);
    this.#sums.noteUse(repository, used);
    if (tag !== undefined) {
      sql.run("UPDATE tags SET used = max(used, ?) WHERE repository = ? AND tag = ?", used, repository.id, tag);
    }
  }

  /** Notes that what is pinned may be another in all repositories that hold this manifest. */
  #spoil(content: number): void {
    const holders = this.#sql.all<RepositoryRow>(
      "SELECT repository AS id, namespace FROM links WHERE content = ?",
      content,
    );
    for (const repository of holders) this.#sums.noteStale(repository);
  }

  /** Removes the row of content that nothing speaks of any more. */
  #forget(content: number): void {
    this.#sql.run(
      `DELETE FROM contents WHERE id = ?1 AND bytes = 0 AND holders = 0
       AND NOT EXISTS (SELECT 1 FROM tags WHERE content = ?1) AND NOT EXISTS (SELECT 1 FROM children WHERE child = ?1)`,
      content,
    );
  }

  #hasLink(repository: number, content: number): boolean {
    return this.#sql.get("SELECT 1 FROM links WHERE repository = ? AND content = ?", repository, content) !== undefined;
  }

  #isHeldIn(namespace: number, content: number): boolean {
    return this.#sql.get("SELECT 1 FROM links WHERE content = ? AND namespace = ?", content, namespace) !== undefined;
  }

  #tag(repository: number, tag: string): number | undefined {
    return this.#sql.get<{ content: number }>(
      "SELECT content FROM tags WHERE repository = ? AND tag = ?",
      repository,
      tag,
    )?.content;
  }

  #pageBytes(repository: number, page: string, name: string): number | undefined {
    return this.#sql.get<{ bytes: number }>(
      "SELECT bytes FROM pages WHERE repository = ? AND page = ? AND name = ?",
      repository,
      page,
      name,
    )?.bytes;
  }

  #childrenOf(content: number): number[] {
    return this.#sql
      .all<{ child: number }>("SELECT child FROM children WHERE parent = ?", content)
      .map(({ child }) => child);
  }
}
