import type { Namespace, Repository } from "../../oci/reference.ts";
import type { PageKind } from "../layout.ts";
import { packTime, unpackTime } from "./age.ts";
import { recordBytes } from "./changes.ts";
import { unpackDigest } from "./digest-bytes.ts";
import type { Candidate, CandidateQuery } from "./ledger.ts";
import type { Statements } from "./statements.ts";

interface Row {
  readonly used: number;
}

/** A row with what it takes to make it a candidate. */
interface Found {
  readonly used: number;
  candidate(): Candidate;
}

/** The least recently used, in order. What is pinned is up to date. */
export function findCandidates(sql: Statements, query: CandidateQuery): Candidate[] {
  const before = packTime(Math.min(query.usedBefore, Number.MAX_SAFE_INTEGER / 8));
  const namespaces = sql
    .all<{ id: number; name: Namespace }>("SELECT id, name FROM namespaces ORDER BY name")
    .filter(({ name }) => query.only?.includes(name) ?? true)
    .filter(({ name }) => !(query.except?.includes(name) ?? false));
  // Each source is in order and read only as far as it is needed: what is left out costs nothing.
  const sources = [
    ...namespaces.map(({ id, name }) => links(sql, id, name, before)),
    ...namespaces.map(({ id, name }) => pages(sql, id, name, before)),
    ...(query.only === undefined ? [contents(sql, before)] : []),
  ];
  const candidates: Candidate[] = [];
  for (const found of merge(sources)) {
    if (candidates.length >= query.limit) break;
    candidates.push(found.candidate());
  }
  return candidates;
}

function* links(sql: Statements, id: number, namespace: Namespace, before: number): Generator<Found> {
  const rows = sql.iterate<Row & { repository: number; content: number }>(
    "SELECT repository, content, used FROM links WHERE namespace = ? AND pinned = 0 AND used < ? ORDER BY used",
    id,
    before,
  );
  for (const { repository, content, used } of rows) {
    yield {
      used,
      candidate: () => {
        const name = sql.get<{ name: Repository }>("SELECT name FROM repositories WHERE id = ?", repository)?.name;
        const row = sql.get<{ digest: Uint8Array; bytes: number; holders: number }>(
          "SELECT digest, bytes, holders FROM contents WHERE id = ?",
          content,
        );
        if (name === undefined || row === undefined) throw new Error("a link has no repository or content");
        return {
          kind: "link",
          id: { namespace, repository: name },
          digest: unpackDigest(row.digest),
          usedAt: unpackTime(used),
          freesBytes: recordBytes + (row.holders === 1 ? row.bytes : 0),
        };
      },
    };
  }
}

function* pages(sql: Statements, id: number, namespace: Namespace, before: number): Generator<Found> {
  const rows = sql.iterate<Row & { repository: Repository; page: PageKind; name: string; bytes: number }>(
    `SELECT r.name AS repository, p.page, p.name, p.bytes, p.used FROM pages p
     CROSS JOIN repositories r ON r.id = p.repository AND r.pinned < 2
     WHERE p.namespace = ? AND p.used < ? ORDER BY p.used`,
    id,
    before,
  );
  for (const { repository, page, name, bytes, used } of rows) {
    yield {
      used,
      candidate: () => ({
        kind: "page",
        id: { namespace, repository },
        page,
        name,
        usedAt: unpackTime(used),
        freesBytes: bytes,
      }),
    };
  }
}

function* contents(sql: Statements, before: number): Generator<Found> {
  const rows = sql.iterate<Row & { digest: Uint8Array; bytes: number }>(
    `SELECT digest, bytes, used FROM contents INDEXED BY loose_contents
     WHERE holders = 0 AND bytes > 0 AND used < ? ORDER BY used`,
    before,
  );
  for (const { digest, bytes, used } of rows) {
    yield {
      used,
      candidate: () => ({
        kind: "content",
        digest: unpackDigest(digest),
        usedAt: unpackTime(used),
        freesBytes: bytes,
      }),
    };
  }
}

/** One order from several; whoever leaves early closes them all. */
function* merge(sources: readonly Generator<Found>[]): Generator<Found> {
  try {
    const heads: { readonly source: Generator<Found>; value: Found }[] = [];
    for (const source of sources) {
      const first = source.next();
      if (first.done !== true) heads.push({ source, value: first.value });
    }
    while (heads.length > 0) {
      const [first, ...others] = heads.keys();
      let least = first ?? 0;
      for (const index of others) if ((heads[index]?.value.used ?? 0) < (heads[least]?.value.used ?? 0)) least = index;
      const head = heads[least];
      if (head === undefined) return;
      yield head.value;
      const next = head.source.next();
      if (next.done === true) heads.splice(least, 1);
      else head.value = next.value;
    }
  } finally {
    for (const source of sources) source.return(undefined);
  }
}
