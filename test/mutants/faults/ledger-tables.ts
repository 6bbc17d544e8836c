import { type Fault, faultsOf } from "../fault.ts";

export const ledgerTables: readonly Fault[] = [
  ...faultsOf(
    "ledger/database",
    ["doubt", "bounds", "schema", "pins-in-ledger", "listings", "database", "full-disk", "reconcile"].map(
      (name) => `unit/ledger/${name}`,
    ),
    [
      {
        name: "files-held",
        find: "if (this.isHolding) throw this.#unwritable;",
        replace: "",
        breaks: "all that the files say is not held in memory",
      },
      {
        name: "half-a-store-known-by-tags",
        find: 'case "holding":\n        this.#expectReady();',
        replace: 'case "holding":',
        breaks: "nobody removes a manifest before all tags that stand for it are known",
        tests: ["unit/ledger/doubt", "unit/ledger/client"],
      },
      {
        name: "lost-removals-believed",
        find: 'this.#reason = "not complete";',
        replace: 'this.#reason ??= "not complete";',
        breaks: "a removal that was lost is found out when the files are read",
        tests: ["unit/ledger/keeper"],
      },
      {
        name: "doubtful-and-believed",
        find: "this.#isComplete = false;",
        replace: "",
        breaks: "nothing is said of a store that is not known",
      },
      {
        name: "files-believed",
        find: "if (told === undefined) applyChange(this.#sql, change);",
        replace: "if (told === undefined || told.used === null) applyChange(this.#sql, change);",
        breaks: "what was told during a scan is not undone by it",
      },
      {
        name: "use-during-a-scan-lost",
        find: "Math.max(change.at, told.used)",
        replace: "change.at",
        breaks: "a use during a scan is not undone by it",
      },
      {
        name: "future-of-files-believed",
        find: '"at" in found && found.at > now ? { ...found, at: now } : found',
        replace: "found",
        breaks: "a file of a wrong clock is not the youngest for ever",
      },
      {
        name: "told-not-noted",
        find: "if (this.#isScanning) this.#noteTold(change);",
        replace: "",
        breaks: "what was told during a scan is not undone by it",
      },
      {
        name: "loose-content-of-a-doubtful-ledger",
        find: "findCandidates(this.#sql, wanted, this.#reason === undefined)",
        replace: "findCandidates(this.#sql, wanted, true)",
        breaks: "content whose link may have been lost is no candidate",
      },
      {
        name: "evicts-while-it-is-built",
        find: "this.#expectReady();\n        clampTimes",
        replace: "clampTimes",
        breaks: "nothing is evicted before it is known what is stored",
      },
      {
        name: "purges-while-it-is-built",
        find: "this.#expectReady();\n        return planPurge",
        replace: "return planPurge",
        breaks: "nothing is purged before it is known what is stored",
      },
      {
        name: "wrong-clock-believed",
        find: "clampTimes(this.#sql, this.#now());",
        replace: "",
        breaks: "what was used in the future is not the youngest until then",
      },
      {
        name: "closed-while-doubtful",
        find: "if (this.#reason === undefined) this.#sql.run(\"UPDATE meta SET state = 'closed'",
        replace: "this.#sql.run(\"UPDATE meta SET state = 'closed'",
        breaks: "a ledger that is not right is not believed when it is opened again",
      },
      {
        name: "open-looks-closed",
        find: "this.#sql.run(\"UPDATE meta SET state = 'open' WHERE state = 'closed'\");",
        replace: "",
        breaks: "a ledger that was not closed is compared with the files",
      },
      {
        name: "children-of-everything-wanted",
        find: "content.manifest === 0 &&",
        replace: "",
        breaks: "a manifest whose children are known is not read again",
      },
      {
        name: "pins-of-the-list-stale",
        find: "refreshPinned(this.#sql, query.parameters[0].pins);",
        replace: "",
        breaks: "the list of tags says what is pinned now",
      },
      {
        name: "pins-of-the-sum-stale",
        find: "refreshPinned(this.#sql, ...query.parameters);",
        replace: "",
        breaks: "the sum of what is pinned is that of the pins of now",
      },
    ],
  ),
  ...faultsOf(
    "ledger/changes",
    ["database", "pins-in-ledger", "bounds", "listings", "schema"].map((name) => `unit/ledger/${name}`),
    [
      {
        name: "link-twice",
        find: "INSERT OR IGNORE INTO links",
        replace: "INSERT OR REPLACE INTO links",
        breaks: "what is told twice counts once",
      },
      {
        name: "child-older-than-its-parent",
        find: "Math.max(packTime(at), leastTime(sql, repository.id, content.id))",
        replace: "packTime(at)",
        breaks: "a candidate is never older than what refers to it",
      },
      {
        name: "children-of-a-new-link-old",
        find: "else if (content.manifest !== 0) rejuvenateChildren(sql, repository.id, content.id, used);",
        replace: "",
        breaks: "what a manifest refers to is as young as its new link",
      },
      {
        name: "found-children-old",
        find: "for (const { repository, used } of holders) rejuvenateChildren(sql, repository, content.id, used);",
        replace: "",
        breaks: "what a manifest is found to refer to is as young as it",
      },
      {
        name: "used-without-link",
        find: "if (sql.get(link, repository, content) === undefined) return;",
        replace: "void link;",
        breaks: "a use of what is gone changes nothing",
      },
      {
        name: "tag-use-lost",
        find: "if (tag !== undefined) {\n    sql.run",
        replace: "if (tag === null) {\n    sql.run",
        breaks: "a tag that was used is as young as that",
      },
    ],
  ),
  ...faultsOf(
    "ledger/tables",
    ["database", "pins-in-ledger", "bounds", "listings", "schema"].map((name) => `unit/ledger/${name}`),
    [
      {
        name: "removed-link-leaves-pins",
        find: "},\n    spoils: true,",
        replace: '},\n    spoils: row === "new",',
        breaks: "what was pinned by a manifest that is gone is not pinned any more",
      },
      {
        name: "new-link-unpinned",
        find: "},\n    spoils: true,",
        replace: '},\n    spoils: row === "old",',
        breaks: "what comes to a pinned image is pinned",
      },
      {
        name: "moved-tag-leaves-pins",
        find: "    UPDATE repositories SET stale = 1 WHERE id = new.repository;\n",
        replace: "",
        breaks: "a pinned tag that is moved pins what it stands for now",
      },
      {
        name: "removed-tag-leaves-pins",
        find: "bytes: `-${recordBytes}`, files: -1, spoils: true",
        replace: "bytes: `-${recordBytes}`, files: -1, spoils: false",
        breaks: "a pinned tag that is gone pins nothing",
      },
      {
        name: "children-unpinned",
        find: "WHEN new.manifest <> old.manifest",
        replace: "WHEN new.manifest < old.manifest",
        breaks: "a pin reaches what its manifest is found to refer to",
      },
      {
        name: "removed-manifest-leaves-pins",
        find: "WHEN new.manifest <> old.manifest",
        replace: "WHEN new.manifest > old.manifest",
        breaks: "what is gone pins nothing that it referred to",
      },
      {
        name: "shared-content-counted-twice",
        find: "ofNamespace: `${content} * NOT ${isHeld}`",
        replace: 'ofNamespace: row === "new" ? content : `${content} * NOT ${isHeld}`',
        breaks: "content counts once in a namespace",
      },
      {
        name: "shared-content-uncounted",
        find: "ofNamespace: `${content} * NOT ${isHeld}`",
        replace: 'ofNamespace: row === "old" ? content : `${content} * NOT ${isHeld}`',
        breaks: "content counts as long as a repository of the namespace holds it",
      },
      {
        name: "late-content-uncounted",
        find: "new.bytes <> old.bytes AND new.holders > 0",
        replace: "new.bytes <> old.bytes AND new.holders > 1",
        breaks: "content that comes after its link counts where that is",
      },
      {
        name: "page-counted-twice",
        find: '"new.bytes - old.bytes"',
        replace: '"new.bytes"',
        breaks: "a page that is replaced counts once",
      },
      {
        name: "forgotten-rows-stay",
        find: "DELETE FROM contents WHERE id = ${content} AND bytes = 0",
        replace: "DELETE FROM contents WHERE id = ${content} AND bytes = -1",
        breaks: "nothing is left of what is gone",
      },
      {
        name: "unlinked-content-old",
        find: "used = max(used, old.used)",
        replace: "used = min(used, old.used)",
        breaks: "content that loses its last link is as young as that link",
      },
      {
        name: "empty-repository-stays",
        find: "DELETE FROM repositories WHERE id = ${repository} AND bytes = 0",
        replace: "DELETE FROM repositories WHERE id = ${repository} AND bytes = -1",
        breaks: "a repository that holds nothing is none",
      },
    ],
  ),
  ...faultsOf(
    "ledger/totals",
    ["unit/ledger/database", "unit/ledger/listings"],
    [
      {
        name: "empty-namespace-stays",
        find: 'if (bytes === 0) sql.run("DELETE FROM namespaces WHERE name = ?", name);',
        replace: "void name;\n",
        breaks: "a namespace that holds nothing is none",
      },
    ],
  ),
  ...faultsOf(
    "ledger/names",
    ["unit/ledger/database", "unit/ledger/listings"],
    [
      {
        name: "repository-use-lost",
        find: 'sql.run("UPDATE repositories SET used = ?1 WHERE id = ?2 AND used < ?1", used, found.id);',
        replace: "",
        breaks: "a repository says when it was used",
      },
    ],
  ),
  ...faultsOf(
    "ledger/transactions",
    ["unit/ledger/transactions"],
    [
      {
        name: "half-of-it",
        find: "if (this.#database.isTransaction) this.#database.exec(undo);",
        replace: "if (this.#database.isTransaction) this.#database.exec(end);",
        breaks: "a change takes effect as a whole, or not at all",
      },
      {
        name: "held-without-bound",
        find: "PRAGMA cache_size = -${heldKiB}",
        replace: "PRAGMA cache_size = -1048576",
        breaks: "what waits to be written takes bounded memory",
        tests: ["unit/ledger/full-disk"],
      },
      {
        name: "held-and-written",
        find: '? ["SAVEPOINT work"',
        replace: '? ["COMMIT; BEGIN; SAVEPOINT work"',
        breaks: "what is held needs no room on the disk",
        tests: ["unit/ledger/full-disk"],
      },
      {
        name: "held-in-temporary-files",
        find: "PRAGMA temp_store = MEMORY; ",
        replace: "",
        breaks: "what is held needs no room on the disk",
      },
      {
        name: "half-of-what-is-held",
        find: '"ROLLBACK TO work; RELEASE work"',
        replace: '"RELEASE work"',
        breaks: "what fails changes nothing of what is held",
      },
    ],
  ),
];
