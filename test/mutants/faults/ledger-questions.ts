import { type Fault, faultsOf } from "../fault.ts";

export const ledgerQuestions: readonly Fault[] = [
  ...faultsOf(
    "ledger/age",
    ["unit/ledger/database", "unit/ledger/bounds"],
    [
      {
        name: "children-as-old",
        find: "return used % step === maxDepth ? used : used + 1;",
        replace: "return used;",
        breaks: "among equally old ones parents go first",
      },
      {
        name: "one-level",
        find: "const maxDepth = 3;",
        replace: "const maxDepth = 1;",
        breaks: "a use reaches an index's blobs",
      },
      {
        name: "unbounded-use",
        find: "const maxChildren = 10_000;",
        replace: "const maxChildren = 1e9;",
        breaks: "one use keeps nobody waiting",
      },
      {
        name: "near-future-clamped",
        find: "packTime(now + toleranceMs)",
        replace: "packTime(now)",
        breaks: "a clock that is a little ahead costs nothing",
      },
      {
        name: "order-lost-with-a-wrong-clock",
        find: "used = ?1 + used % ${step}",
        replace: "used = ?1",
        breaks: "what makes children younger than their parents stays",
      },
    ],
  ),
  ...faultsOf(
    "ledger/candidates",
    ["database", "bounds", "pins-in-ledger"].map((name) => `unit/ledger/${name}`),
    [
      {
        name: "shared-content-frees",
        find: "recordBytes + (holders === 1 ? bytes : 0)",
        replace: "recordBytes + bytes",
        breaks: "what others hold frees nothing",
      },
      {
        name: "pinned-links",
        find: "FROM ${scope.links} AND pinned = 0",
        replace: "FROM ${scope.links} AND pinned < 2",
        breaks: "what is pinned is no candidate",
      },
      {
        name: "pages-of-pinned-repositories",
        find: "CROSS JOIN repositories r ON r.id = p.repository AND r.pinned < 2\n     CROSS JOIN namespaces",
        replace: "CROSS JOIN repositories r ON r.id = p.repository\n     CROSS JOIN namespaces",
        breaks: "the listings of a pinned repository stay",
      },
      {
        name: "loose-content-of-a-namespace",
        find: "withLoose && query.only === undefined",
        replace: "withLoose",
        breaks: "content of nobody is of no namespace",
      },
      {
        name: "stored-nowhere",
        find: "WHERE holders = 0 AND bytes > 0 AND used >= ?",
        replace: "WHERE holders = 0 AND used < ?",
        breaks: "what is not stored is no candidate",
      },
      {
        name: "out-of-order",
        find: ".toSorted((one, other) => one.used - other.used)",
        replace: "",
        breaks: "the least recently used comes first",
      },
      {
        name: "kept-namespace-of-a-question",
        find: ".filter((name) => !except.includes(name))",
        replace: "",
        breaks: "what is to be kept is no candidate, also where it is asked for",
      },
    ],
  ),
  ...faultsOf(
    "ledger/pinned",
    ["unit/ledger/pins-in-ledger", "unit/ledger/database"],
    [
      {
        name: "other-pins-not-looked-at",
        find: 'if (sql.run("UPDATE meta SET pins = ?1 WHERE pins <> ?1", text) > 0) sql',
        replace: 'if (sql.run("UPDATE meta SET pins = ?1 WHERE pins <> ?1", text) < 0) sql',
        breaks: "pins count as soon as they are given",
      },
      {
        name: "pins-never-end",
        find: "if (matching.length === 0 && repository.pinned === 0) return 0;",
        replace: "if (matching.length === 0) return 0;",
        breaks: "what a pin held is free when it is taken away",
      },
      {
        name: "pins-by-digest-ignored",
        find: 'if (pin.of !== "digest") continue;',
        replace: "continue;",
        breaks: "a pin may name a digest",
      },
    ],
  ),
  ...faultsOf(
    "ledger/reach",
    ["unit/ledger/pins-in-ledger", "unit/ledger/purge"],
    [
      {
        name: "beyond-the-repository",
        find: "for (const root of roots) if (linked(root)) reached.add(root);",
        replace: "for (const root of roots) if (linked(root) || root > 0) reached.add(root);",
        breaks: "a pin holds what its repository has",
      },
      {
        name: "one-level",
        find: "for (const content of reached) for",
        replace: "for (const content of [...reached]) for",
        breaks: "a pin holds an index's blobs",
      },
    ],
  ),
  ...faultsOf(
    "ledger/purge",
    ["unit/ledger/purge"],
    [
      {
        name: "shared-by-tags-removed",
        find: "if (others.length > 0) return;",
        replace: "",
        breaks: "what another tag stands for stays",
      },
      {
        name: "held-content-removed",
        find: " || row.holders > unheld) continue;",
        replace: ") continue;",
        breaks: "what others hold stays",
      },
      {
        name: "endless-plan",
        find: "const maxPlanned = 20_000;",
        replace: "const maxPlanned = 2_000_000;",
        breaks: "a plan fits into memory",
      },
      {
        name: "blobs-before-manifests",
        find: "ORDER BY l.used, c.manifest DESC LIMIT ?3",
        replace: "ORDER BY l.used DESC, c.manifest LIMIT ?3",
        breaks: "manifests go before what they refer to",
      },
      {
        name: "tagged-child-removed",
        find: "return this.#sql.get(tag, content, repository) !== undefined || this.#hasOtherParent",
        replace: "return this.#hasOtherParent",
        breaks: "what has a tag of its own stays",
      },
      {
        name: "shared-child-removed",
        find: "for (const { parent } of parents) if (!reached.has(parent)) return true;",
        replace: "",
        breaks: "what another manifest refers to stays",
      },
      {
        name: "blobs-of-what-is-kept-removed",
        find: "for (const child of childrenIn(this.#sql, repository, content)) if (child !== root || !forced) kept.push(child);",
        replace: "",
        breaks: "what is kept keeps what it refers to",
      },
      {
        name: "pages-stay",
        find: "this.#pages.push({ id, page, name });",
        replace: "",
        breaks: "a repository's listings go with it",
      },
    ],
  ),
  ...faultsOf(
    "ledger/listings",
    ["unit/ledger/listings", "unit/ledger/pins-in-ledger"],
    [
      {
        name: "holders-of-everything",
        find: "WHERE l.content = ?`,\n    content.id,",
        replace: "WHERE l.content >= ?`,\n    content.id,",
        breaks: "who holds a digest is who has a link to it",
        tests: ["unit/ledger/database"],
      },
      {
        name: "own-link-counted",
        find: "content.holders - (link === undefined ? 0 : 1)",
        replace: "content.holders",
        breaks: "content goes with its last link",
      },
      {
        name: "tags-of-other-repositories",
        find: "SELECT tag FROM tags WHERE content = ? AND repository = ? ORDER BY tag",
        replace: "SELECT tag FROM tags WHERE content = ? AND repository > -? ORDER BY tag",
        breaks: "only a repository's own tags go with its link",
      },
      {
        name: "list-never-ends",
        find: "next: found.length > limit && last !== undefined ? placeOf(last) : undefined",
        replace: "next: last !== undefined ? placeOf(last) : undefined",
        breaks: "the last part of a list says that it is",
      },
      {
        name: "list-cut",
        find: "next: found.length > limit && last !== undefined ? placeOf(last) : undefined",
        replace: "next: undefined",
        breaks: "a part of a list says where the next one begins",
      },
      {
        name: "tagged-listed-twice",
        find: "AND NOT EXISTS (SELECT 1 FROM tags t WHERE t.content = c.id AND t.repository = ?1)",
        replace: "",
        breaks: "what has a tag is listed by its tag",
      },
      {
        name: "children-listed",
        find: "WHERE x.child = c.id)",
        replace: "WHERE x.child = -c.id)",
        breaks: "a part of an index is not listed for itself",
      },
      {
        name: "tag-of-a-missing-link-unpinned",
        find: "if (tag !== null && pins.some((pin) => pin.matches({ ...id, tag }))) return true;",
        replace: "",
        breaks: "a pinned tag is said to be pinned",
      },
      {
        name: "pinned-counted-twice",
        find: "SELECT sum(bytes) AS bytes FROM contents WHERE id IN\n     (SELECT l.content FROM namespaces n CROSS JOIN links l ON l.namespace = n.id AND l.pinned = 1)",
        replace: "SELECT sum(c.bytes) AS bytes FROM contents c JOIN links l ON l.content = c.id AND l.pinned = 1",
        breaks: "what several pins hold counts once",
      },
    ],
  ),
];
