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
        name: "doubtful-and-believed",
        find: "this.#isComplete = false;",
        replace: "",
        breaks: "nothing is said of a store that is not known",
      },
      {
        name: "files-believed",
        find: "if (told === undefined) applied.apply(change);",
        replace: "if (told === undefined || told.used === null) applied.apply(change);",
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
        name: "removed-link-leaves-pins",
        find: "this.#sums.addLinked(repository, -content.bytes);\n    this.#sums.noteStale(repository);",
        replace: "this.#sums.addLinked(repository, -content.bytes);",
        breaks: "what was pinned by a manifest that is gone is not pinned any more",
      },
      {
        name: "new-link-unpinned",
        find: "this.#sums.addLinked(repository, content.bytes);\n    this.#sums.noteStale(repository);",
        replace: "this.#sums.addLinked(repository, content.bytes);",
        breaks: "what comes to a pinned image is pinned",
      },
      {
        name: "moved-tag-leaves-pins",
        find: "if (before === content.id) return;\n    this.#sums.noteStale(repository);",
        replace: "if (before === content.id) return;",
        breaks: "a pinned tag that is moved pins what it stands for now",
      },
      {
        name: "removed-tag-leaves-pins",
        find: "this.#sums.noteStale(repository);\n    this.#forget(content);",
        replace: "this.#forget(content);",
        breaks: "a pinned tag that is gone pins nothing",
      },
      {
        name: "children-unpinned",
        find: "}\n    this.#spoil(content.id);\n    const holders",
        replace: "}\n    const holders",
        breaks: "a pin reaches what its manifest is found to refer to",
      },
      {
        name: "removed-manifest-leaves-pins",
        find: "this.#spoil(content.id);\n      sql.run",
        replace: "sql.run",
        breaks: "what is gone pins nothing that it referred to",
      },
      {
        name: "shared-content-counted-twice",
        find: "if (isNewHere) this.#sums.addHeld",
        replace: "this.#sums.addHeld",
        breaks: "content counts once in a namespace",
      },
      {
        name: "shared-content-uncounted",
        find: "if (!this.#isHeldIn(repository.namespace, content.id)) this",
        replace: "this",
        breaks: "content counts as long as a repository of the namespace holds it",
      },
      {
        name: "link-twice",
        find: "if (this.#hasLink(repository.id, content.id)) {\n      rejuvenate",
        replace:
          "if (this.#hasLink(repository.id, content.id)) {\n      this.#sums.addRecord(repository, recordBytes);\n      rejuvenate",
        breaks: "what is told twice counts once",
      },
      {
        name: "page-counted-twice",
        find: "bytes - (before ?? 0)",
        replace: "bytes",
        breaks: "a page that is replaced counts once",
      },
      {
        name: "child-older-than-its-parent",
        find: "Math.max(packTime(at), leastTime(sql, repository.id, content.id))",
        replace: "packTime(at)",
        breaks: "a candidate is never older than what refers to it",
      },
      {
        name: "children-of-a-new-link-old",
        find: "if (content.manifest !== 0) rejuvenateChildren(sql, repository.id, content.id, used);",
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
        find: " || !this.#hasLink(repository.id, content.id)) return;",
        replace: ") return;",
        breaks: "a use of what is gone changes nothing",
      },
      {
        name: "tag-use-lost",
        find: "if (tag !== undefined) {\n      sql.run",
        replace: "if (tag === null) {\n      sql.run",
        breaks: "a tag that was used is as young as that",
      },
      {
        name: "forgotten-rows-stay",
        find: "DELETE FROM contents WHERE id = ?1 AND bytes = 0 AND holders = 0",
        replace: "DELETE FROM contents WHERE id = ?1 AND bytes = -1 AND holders = 0",
        breaks: "nothing is left of what is gone",
      },
      {
        name: "unlinked-content-old",
        find: "holders = holders - 1, used = max(used, ?)",
        replace: "holders = holders - 1, used = min(used, ?)",
        breaks: "content that loses its last link is as young as that link",
      },
    ],
  ),
  ...faultsOf(
    "ledger/sums",
    ["unit/ledger/database", "unit/ledger/listings"],
    [
      {
        name: "empty-repository-stays",
        find: "DELETE FROM repositories WHERE id = ? AND bytes = 0 RETURNING name",
        replace: "DELETE FROM repositories WHERE id = ? AND bytes = -1 RETURNING name",
        breaks: "a repository that holds nothing is none",
      },
      {
        name: "empty-namespace-stays",
        find: 'sql.run("DELETE FROM namespaces WHERE id = ? AND bytes = 0", id);',
        replace: "",
        breaks: "a namespace that holds nothing is none",
      },
      {
        name: "repository-use-lost",
        find: "sum.used = Math.max(sum.used, used);",
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
        find: "`PRAGMA cache_size = -${heldKiB}`",
        replace: '"PRAGMA cache_spill = OFF"',
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
        name: "half-of-what-is-held",
        find: '"ROLLBACK TO work; RELEASE work"',
        replace: '"RELEASE work"',
        breaks: "what fails changes nothing of what is held",
      },
    ],
  ),
];
