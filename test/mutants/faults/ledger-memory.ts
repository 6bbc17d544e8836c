import { type Fault, faultsOf } from "../fault.ts";

export const ledgerMemory: readonly Fault[] = [
  ...faultsOf(
    "ledger/uses",
    ["unit/ledger/uses"],
    [
      {
        name: "older-use-counts",
        find: "use.at = Math.max(use.at, at);",
        replace: "use.at = at;",
        breaks: "a use never makes anything older",
      },
      {
        name: "tags-forgotten",
        find: "if (tag !== undefined) use.tags.add(tag);",
        replace: "",
        breaks: "a tag that was used is as young as that",
      },
      {
        name: "unseen-unbounded",
        find: "if (this.#unseen.size + this.#noted.size > maxUnseen) {",
        replace: "if (this.#unseen.size < 0) {",
        breaks: "uses that nobody asks about take bounded memory",
      },
      {
        name: "forgotten-are-not-pending",
        find: "this.#forgotten > 0 || ",
        replace: "",
        breaks: "where it is not known any more what was used, everything counts as such",
      },
      {
        name: "forgotten-for-ever",
        find: "if (this.#forgotten <= taken) this.#forgotten = 0;",
        replace: "",
        breaks: "an answer that has seen everything ends that",
      },
      {
        name: "later-use-seen-too",
        find: "if (number <= taken) this",
        replace: "this",
        breaks: "an answer has seen what was told before its question",
      },
      {
        name: "noted-is-not-pending",
        find: "this.#noted.has(key) || ",
        replace: "",
        breaks: "a use that is not told yet is pending",
      },
    ],
  ),
  ...faultsOf(
    "ledger/recent-changes",
    ["unit/ledger/recent-changes"],
    [
      {
        name: "removed-stays",
        find: "this.#changes.delete(key);\n    if",
        replace: "if",
        breaks: "what was removed is not told as stored",
      },
      {
        name: "unbounded",
        find: "if (this.#changes.size > maxChanges) {",
        replace: "if (this.#changes.size > 1e12) {",
        breaks: "what is remembered for a scan takes bounded memory",
      },
    ],
  ),
  ...faultsOf(
    "ledger/known-totals",
    ["unit/ledger/known-totals"],
    [
      {
        name: "empty-namespace-stays",
        find: "if (held > 0) this.#totals.namespaces.set(namespace, held);\n      else this.#totals.namespaces.delete(namespace);",
        replace: "this.#totals.namespaces.set(namespace, held);",
        breaks: "a namespace that holds nothing is none",
      },
      {
        name: "namespaces-not-told",
        find: "if (held > 0) this.#totals.namespaces.set(namespace, held);",
        replace: "if (held > 0) void held;",
        breaks: "a namespace's limit is kept",
      },
    ],
  ),
  ...faultsOf(
    "ledger/reconcile",
    ["unit/ledger/reconcile"],
    [
      {
        name: "absent-stays",
        find: "if (knewBefore) {",
        replace: "if (!knewBefore) {",
        breaks: "what is not found in the store is not in the ledger",
      },
      {
        name: "recent-forgotten",
        find: "database.apply(recent);",
        replace: "",
        breaks: "what was told and is not written yet outlasts a scan",
      },
      {
        name: "unreadable-is-absent",
        find: "onUnreadable();\n        }",
        replace: "absent.push(removalOf(place));\n        }",
        breaks: "what cannot be looked up is as it was known",
      },
      {
        name: "tags-rejuvenate-nothing",
        find: "yield step(0, uses);",
        replace: "yield step(0, []);",
        breaks: "what a tag stands for is as young as the tag",
      },
    ],
  ),
  ...faultsOf(
    "ledger/places",
    ["unit/ledger/database", "unit/ledger/reconcile"],
    [
      {
        name: "only-the-first-places",
        find: "    key = keyOf(last);\n    yield rows;",
        replace: "    yield rows;\n    return;",
        breaks: "all that is not found in the store goes",
      },
    ],
  ),
  ...faultsOf(
    "ledger/scan",
    ["unit/ledger/scan", "unit/ledger/reconcile"],
    [
      {
        name: "use-of-content-ignored",
        find: "Math.max(at, content?.usedAt ?? 0)",
        replace: "at",
        breaks: "a link is as young as its content",
      },
      {
        name: "unreadable-file-ends-it",
        find: "orUnreadable(files, () => files.reader.head(blobKey(place.digest)))",
        replace: "files.reader.head(blobKey(place.digest))",
        breaks: "one file that cannot be looked up does not keep the ledger from the others",
      },
      {
        name: "unreadable-object-ends-it",
        find: "if (!(error instanceof StoreError)) throw error;",
        replace: "throw error;",
        breaks: "one file that cannot be read does not keep the ledger from the others",
      },
      {
        name: "untagged-manifests-unread",
        find: "if (!isLink(link) || !isManifestMediaType(link.mediaType)) return undefined;",
        replace: "return undefined;",
        breaks: "what an untagged manifest refers to is known",
      },
    ],
  ),
  ...faultsOf(
    "ledger/schema",
    ["unit/ledger/schema", "unit/ledger/damage"],
    [
      {
        name: "another-version-used",
        find: "if (found === version && readSchema(database) === expectedSchema()) {",
        replace: "if (found !== 0) {",
        breaks: "tables of another version are made anew",
      },
      {
        name: "not-closed-believed",
        find: 'if (state === "open") return { database, reason: "not closed" };',
        replace: 'if (state === "open") return { database, reason: undefined };',
        breaks: "a ledger that was not closed is compared with the files",
      },
      {
        name: "locked-is-damaged",
        find: "if (!isDamage(error)) {\n      database?.close();\n      throw error;\n    }",
        replace: "",
        breaks: "a ledger that cannot be read is not thrown away",
      },
      {
        name: "moved-is-unwritable",
        find: " || result === 1032;",
        replace: ";",
        breaks: "a ledger whose file is gone is made anew",
      },
      {
        name: "locked-is-lost",
        find: "[5, 8, 10, 13].includes",
        replace: "[8, 10, 13].includes",
        breaks: "a ledger that somebody has locked loses nothing",
      },
      {
        name: "other-tables-used",
        find: " && readSchema(database) === expectedSchema()",
        replace: "",
        breaks: "a database without our tables is made anew",
      },
      {
        name: "log-left",
        find: '["", "-wal", "-shm", "-journal"]',
        replace: '[""]',
        breaks: "the log of a ledger that is gone is not brought into the next",
      },
    ],
  ),
];
