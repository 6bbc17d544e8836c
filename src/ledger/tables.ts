import { chargedBytes } from "./ledger.ts";

/** Goes up with every change of what the tables are, or mean. */
export const version = 4;

/** What a link or a tag is counted as. */
export const recordBytes: number = chargedBytes(0);

/**
 * The tables. Times of use are `ms * 4 + depth`: what a manifest refers to is a little younger than the manifest, so that
 * among equally old links parents come first. Bytes are charged bytes; content of 0 bytes is not stored.
 */
const tables = `
  -- state: "building" while not all of the store is known, "open" while in use, "closed"; pins: JSON, of links.pinned;
  -- what folders take: files: how many objects there are; blobs: of these, content; folders: those of repositories
  CREATE TABLE meta (
    state TEXT NOT NULL, bytes INTEGER NOT NULL, pins TEXT NOT NULL, files INTEGER NOT NULL, blobs INTEGER NOT NULL,
    folders INTEGER NOT NULL);
  INSERT INTO meta VALUES ('building', 0, '[]', 0, 0, 0);

  -- changed: its bytes are others than those that were told last
  CREATE TABLE namespaces (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, bytes INTEGER NOT NULL, changed INTEGER NOT NULL);
  CREATE INDEX changed_namespaces ON namespaces (changed) WHERE changed = 1;

  -- pinned: 0 nothing of it, 1 some, 2 all; stale: that, and links.pinned, may be wrong
  CREATE TABLE repositories (
    id INTEGER PRIMARY KEY, namespace INTEGER NOT NULL, name TEXT NOT NULL, bytes INTEGER NOT NULL,
    used INTEGER NOT NULL, stale INTEGER NOT NULL, pinned INTEGER NOT NULL, UNIQUE (namespace, name));
  CREATE INDEX stale_repositories ON repositories (stale) WHERE stale = 1;

  -- holders: links to it; manifest: its children are known
  CREATE TABLE contents (
    id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, bytes INTEGER NOT NULL, holders INTEGER NOT NULL,
    manifest INTEGER NOT NULL, used INTEGER NOT NULL);
  CREATE INDEX loose_contents ON contents (used) WHERE holders = 0 AND bytes > 0;
  CREATE TABLE children (parent INTEGER NOT NULL, child INTEGER NOT NULL, PRIMARY KEY (parent, child)) WITHOUT ROWID;
  CREATE INDEX children_by_child ON children (child);

  CREATE TABLE links (
    repository INTEGER NOT NULL, content INTEGER NOT NULL, namespace INTEGER NOT NULL, pinned INTEGER NOT NULL,
    used INTEGER NOT NULL, PRIMARY KEY (repository, content)) WITHOUT ROWID;
  CREATE INDEX links_by_use ON links (namespace, pinned, used);
  CREATE INDEX links_by_age ON links (used) WHERE pinned = 0;
  CREATE INDEX links_by_content ON links (content, namespace);

  CREATE TABLE tags (
    repository INTEGER NOT NULL, tag TEXT NOT NULL, content INTEGER NOT NULL, used INTEGER NOT NULL,
    PRIMARY KEY (repository, tag)) WITHOUT ROWID;
  CREATE INDEX tags_by_content ON tags (content, repository);

  CREATE TABLE pages (
    repository INTEGER NOT NULL, page TEXT NOT NULL, name TEXT NOT NULL, namespace INTEGER NOT NULL,
    bytes INTEGER NOT NULL, used INTEGER NOT NULL, PRIMARY KEY (repository, page, name)) WITHOUT ROWID;
  CREATE INDEX pages_by_use ON pages (namespace, used);
  CREATE INDEX pages_by_age ON pages (used);

  -- What was told while the store is read, by its key: of that the files say nothing new. used: only a use was told.
  CREATE TABLE told (key TEXT PRIMARY KEY, used INTEGER) WITHOUT ROWID;

  PRAGMA user_version = ${version};
`;

/** What a folder is of each part of a repository's name, of links, tags and two sorts of pages, and of the namespace. */
const folders = (name: string): string => `(8 + length(${name}) - length(replace(${name}, '/', '')))`;

/** What a row of links, tags or pages adds to the sums, or takes from them. */
interface Weight {
  readonly row: "new" | "old";
  readonly bytes: string;
  readonly files: 1 | 0 | -1;
  /** What the row's repository and namespace hold by it besides. */
  readonly content?: { readonly ofRepository: string; readonly ofNamespace: string };
  /** Whether pins may hold something else in the repository now. */
  readonly spoils: boolean;
}

const weigh = ({ row, bytes, files, content, spoils }: Weight): string => `
    UPDATE meta SET bytes = bytes + ${bytes}, files = files + ${files};
    UPDATE repositories SET bytes = bytes + ${bytes} ${content?.ofRepository ?? ""} ${spoils ? ", stale = 1" : ""}
      WHERE id = ${row}.repository;
    UPDATE namespaces SET bytes = bytes + ${bytes} ${content?.ofNamespace ?? ""}, changed = 1
      WHERE id = (SELECT namespace FROM repositories WHERE id = ${row}.repository);`;

/** A link's content counts in its repository, and once in its namespace. */
const weighLink = (row: "new" | "old", sign: "+" | "-"): string => {
  const content = `${sign} (SELECT bytes FROM contents WHERE id = ${row}.content)`;
  const isHeld = `EXISTS (SELECT 1 FROM links
        WHERE content = ${row}.content AND namespace = ${row}.namespace AND repository <> ${row}.repository)`;
  return weigh({
    row,
    bytes: `${sign}${recordBytes}`,
    files: sign === "+" ? 1 : -1,
    content: { ofRepository: content, ofNamespace: `${content} * NOT ${isHeld}` },
    spoils: true,
  });
};

/** A repository that holds nothing any more is none. */
const leave = (repository: string): string => `DELETE FROM repositories WHERE id = ${repository} AND bytes = 0;`;

/** Content that nothing speaks of any more needs no row. */
const forget = (content: string): string => `
    DELETE FROM contents WHERE id = ${content} AND bytes = 0 AND holders = 0
      AND NOT EXISTS (SELECT 1 FROM tags WHERE content = ${content})
      AND NOT EXISTS (SELECT 1 FROM children WHERE child = ${content});`;

/** They keep the sums, and the rows that others stand for: whoever changes a table need not think of that. */
const triggers = `
  CREATE TRIGGER repository_added AFTER INSERT ON repositories BEGIN
    UPDATE meta SET folders = folders + ${folders("new.name")};
  END;
  CREATE TRIGGER repository_removed AFTER DELETE ON repositories BEGIN
    UPDATE meta SET folders = folders - ${folders("old.name")};
  END;

  CREATE TRIGGER content_sized AFTER UPDATE OF bytes ON contents WHEN new.bytes <> old.bytes BEGIN
    UPDATE meta SET bytes = bytes + new.bytes - old.bytes, files = files + (new.bytes > 0) - (old.bytes > 0),
      blobs = blobs + (new.bytes > 0) - (old.bytes > 0);
  END;
  CREATE TRIGGER held_content_sized AFTER UPDATE OF bytes ON contents
  WHEN new.bytes <> old.bytes AND new.holders > 0 BEGIN
    UPDATE repositories SET bytes = bytes + new.bytes - old.bytes
      WHERE id IN (SELECT repository FROM links WHERE content = new.id);
    UPDATE namespaces SET bytes = bytes + new.bytes - old.bytes, changed = 1
      WHERE id IN (SELECT namespace FROM links WHERE content = new.id);
  END;
  CREATE TRIGGER content_read AFTER UPDATE OF manifest ON contents WHEN new.manifest <> old.manifest BEGIN
    UPDATE repositories SET stale = 1 WHERE id IN (SELECT repository FROM links WHERE content = new.id);
  END;
  CREATE TRIGGER content_removed AFTER UPDATE OF bytes ON contents WHEN new.bytes = 0 BEGIN
    ${forget("new.id")}
  END;
  CREATE TRIGGER child_removed AFTER DELETE ON children BEGIN
    ${forget("old.child")}
  END;

  CREATE TRIGGER link_added AFTER INSERT ON links BEGIN
    UPDATE contents SET holders = holders + 1 WHERE id = new.content;
    ${weighLink("new", "+")}
  END;
  CREATE TRIGGER link_removed AFTER DELETE ON links BEGIN
    UPDATE contents SET holders = holders - 1, used = max(used, old.used) WHERE id = old.content;
    ${weighLink("old", "-")}
    ${leave("old.repository")}
    ${forget("old.content")}
  END;

  CREATE TRIGGER tag_added AFTER INSERT ON tags BEGIN
    ${weigh({ row: "new", bytes: `${recordBytes}`, files: 1, spoils: true })}
  END;
  CREATE TRIGGER tag_moved AFTER UPDATE OF content ON tags WHEN new.content <> old.content BEGIN
    UPDATE repositories SET stale = 1 WHERE id = new.repository;
    ${forget("old.content")}
  END;
  CREATE TRIGGER tag_removed AFTER DELETE ON tags BEGIN
    ${weigh({ row: "old", bytes: `-${recordBytes}`, files: -1, spoils: true })}
    ${leave("old.repository")}
    ${forget("old.content")}
  END;

  CREATE TRIGGER page_added AFTER INSERT ON pages BEGIN
    ${weigh({ row: "new", bytes: "new.bytes", files: 1, spoils: false })}
  END;
  CREATE TRIGGER page_sized AFTER UPDATE OF bytes ON pages WHEN new.bytes <> old.bytes BEGIN
    ${weigh({ row: "new", bytes: "new.bytes - old.bytes", files: 0, spoils: false })}
  END;
  CREATE TRIGGER page_removed AFTER DELETE ON pages BEGIN
    ${weigh({ row: "old", bytes: "-old.bytes", files: -1, spoils: false })}
    ${leave("old.repository")}
  END;
`;

/** All that the database consists of. */
export const schema: string = `${tables} ${triggers}`;
