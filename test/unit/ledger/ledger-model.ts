import fc from "fast-check";
import { type Digest, digestOf } from "../../../src/oci/digest.ts";
import { parseNamespace, parseRepository, parseTag } from "../../../src/oci/reference.ts";
import { formatPlace, pageName, type RepositoryId } from "../../../src/store/layout.ts";
import { LedgerDatabase } from "../../../src/ledger/database.ts";
import { chargedBytes, type LedgerChange, type LedgerQueries } from "../../../src/ledger/ledger.ts";
import type { Query, TotalsPart } from "../../../src/ledger/messages.ts";

/** A digest for each number; every third one is of the long algorithm. */
export function digest(number: number): Digest {
  return digestOf(Buffer.from(`content ${number}`), number % 3 === 2 ? "sha512" : "sha256");
}

/** `docker.io/library/alpine` as an id. */
export function repository(name: string): RepositoryId {
  const slash = name.indexOf("/");
  return { namespace: parseNamespace(name.slice(0, slash)), repository: parseRepository(name.slice(slash + 1)) };
}

export const tag: typeof parseTag = parseTag;

/** An empty ledger in memory. */
export function openMemory(...changes: LedgerChange[]): LedgerDatabase {
  const database = new LedgerDatabase(":memory:");
  database.apply(changes);
  database.endScan();
  return database;
}

/** Asks with the types of the contract. */
export function ask<Name extends keyof LedgerQueries>(
  database: LedgerDatabase,
  name: Name,
  ...parameters: Parameters<LedgerQueries[Name]>
): Awaited<ReturnType<LedgerQueries[Name]>> {
  return database.ask({ name, parameters } as Query) as Awaited<ReturnType<LedgerQueries[Name]>>;
}

const ids = ["ghcr.io/a", "ghcr.io/b/c", "localhost:5000/a"].map(repository);
const anyId = fc.constantFrom(...ids);
const anyDigest = fc.nat({ max: 6 }).map(digest);
const anyTag = fc.constantFrom("1", "2", "lts").map(parseTag);
const anySize = fc.constantFrom(0, 1, 4096, 4097, 1_000_000);
const at = fc.integer({ min: 1, max: 50 });
const anyPage = fc.record({
  page: fc.constantFrom("tags" as const, "referrers" as const),
  name: fc.constantFrom("", "n=1").map(pageName),
});

/** How far down a content is: as indexes of indexes of manifests with blobs are, and no further. */
const levelOf = (number: number): number => Math.ceil(number / 2);

/** All contents in all repositories, as images that are tagged: what is changed after that changes much. */
export const everything: readonly LedgerChange[] = [
  ...Array.from({ length: 7 }, (_, number): LedgerChange[] => [
    { kind: "content", digest: digest(number), sizeBytes: 1, at: 1 },
    ...ids.map((id): LedgerChange => ({ kind: "link", id, digest: digest(number), at: 1 })),
  ]).flat(),
  ...[0, 1, 2, 3, 4].map((number): LedgerChange => ({
    kind: "children",
    digest: digest(number),
    children: [number + 1, number + 2].filter((child) => levelOf(child) > levelOf(number)).map(digest),
  })),
  ...ids.map((id): LedgerChange => ({ kind: "tag", id, tag: parseTag("lts"), digest: digest(0), at: 1 })),
];

/** Contents refer to those of a lower level only, as hashes see to. */
const anyChildren = fc
  .tuple(fc.nat({ max: 5 }), fc.uniqueArray(fc.integer({ min: 1, max: 6 }), { maxLength: 3 }))
  .map(([parent, children]) => ({
    digest: digest(parent),
    children: children.filter((child) => levelOf(child) > levelOf(parent)).map(digest),
  }));

/** Anything that may happen, in any order. */
export const anyChange: fc.Arbitrary<LedgerChange> = fc.oneof(
  fc.record({ kind: fc.constant("content" as const), digest: anyDigest, sizeBytes: anySize, at }),
  fc.record({ kind: fc.constant("link" as const), id: anyId, digest: anyDigest, at }),
  fc.record({ kind: fc.constant("link" as const), id: anyId, digest: anyDigest, at }),
  fc.record({ kind: fc.constant("tag" as const), id: anyId, tag: anyTag, digest: anyDigest, at }),
  fc
    .record({ id: anyId, place: anyPage, sizeBytes: anySize, at })
    .map(({ place, ...rest }) => ({ kind: "page" as const, ...place, ...rest })),
  anyChildren.map((children) => ({ kind: "children" as const, ...children })),
  fc.record({ kind: fc.constant("use" as const), id: anyId, digest: anyDigest, at }),
  fc.record({ kind: fc.constant("use" as const), id: anyId, digest: anyDigest, tag: anyTag, at }),
  fc.record({ kind: fc.constant("content-removed" as const), digest: anyDigest }),
  fc.record({ kind: fc.constant("link-removed" as const), id: anyId, digest: anyDigest }),
  fc.record({ kind: fc.constant("tag-removed" as const), id: anyId, tag: anyTag }),
  fc.record({ id: anyId, place: anyPage }).map(({ place, id }) => ({ kind: "page-removed" as const, ...place, id })),
);

interface Held {
  readonly id: RepositoryId;
  readonly digest: Digest;
}

/** What a ledger should know, in the plainest way; sums are counted anew each time. */
export class Model {
  readonly contents: Map<Digest, number> = new Map();
  readonly children: Map<Digest, readonly Digest[]> = new Map();
  readonly links: Map<string, Held> = new Map();
  readonly tags: Map<string, Held & { readonly tag: string }> = new Map();
  readonly pages: Map<string, { readonly id: RepositoryId; readonly bytes: number }> = new Map();

  apply(change: LedgerChange): void {
    switch (change.kind) {
      case "content":
        this.contents.set(change.digest, chargedBytes(change.sizeBytes));
        break;
      case "content-removed":
        this.contents.delete(change.digest);
        this.children.delete(change.digest);
        break;
      case "link":
        this.links.set(formatPlace({ ...change, kind: "link" }), change);
        break;
      case "link-removed":
        this.links.delete(formatPlace({ ...change, kind: "link" }));
        break;
      case "tag":
        this.tags.set(formatPlace(change), change);
        break;
      case "tag-removed":
        this.tags.delete(formatPlace({ ...change, kind: "tag" }));
        break;
      case "page":
        this.pages.set(formatPlace(change), { id: change.id, bytes: chargedBytes(change.sizeBytes) });
        break;
      case "page-removed":
        this.pages.delete(formatPlace({ ...change, kind: "page" }));
        break;
      case "children":
        if (this.contents.has(change.digest) && !this.children.has(change.digest)) {
          this.children.set(change.digest, change.children);
        }
        break;
      case "use":
        break;
    }
  }

  /** Sorted by name, as `plainTotals` makes them. */
  totals(): { bytes: number; namespaces: [string, number][] } {
    const records = [...this.links.values(), ...this.tags.values()].map(({ id }) => ({ id, bytes: chargedBytes(0) }));
    const all = [...records, ...this.pages.values()];
    const namespaces = [...new Set(all.map(({ id }) => id.namespace))].toSorted().map((name): [string, number] => {
      const held = new Set(
        [...this.links.values()].filter(({ id }) => id.namespace === name).map((link) => link.digest),
      );
      const own = sum(all.filter(({ id }) => id.namespace === name).map(({ bytes }) => bytes));
      return [name, own + sum([...held].map((each) => this.contents.get(each) ?? 0))];
    });
    return { bytes: sum(all.map(({ bytes }) => bytes)) + sum([...this.contents.values()]), namespaces };
  }

  /** Links to a digest. */
  holders(of: Digest): number {
    return [...this.links.values()].filter((link) => link.digest === of).length;
  }

  /** What can be come to from these in a repository, by links. */
  reach(id: RepositoryId, roots: readonly Digest[]): Set<Digest> {
    const linked = (each: Digest): boolean => this.links.has(formatPlace({ kind: "link", id, digest: each }));
    const reached = new Set(roots.filter(linked));
    for (const each of reached)
      for (const child of this.children.get(each) ?? []) if (linked(child)) reached.add(child);
    return reached;
  }
}

export function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0);
}

/** Totals that can be compared. */
export function plainTotals(
  totals: TotalsPart | undefined,
): { bytes: number; namespaces: [string, number][] } | undefined {
  return (
    totals && {
      bytes: totals.bytes,
      namespaces: totals.namespaces
        .map(([name, bytes]): [string, number] => [name, bytes])
        .toSorted(([one], [other]) => (one < other ? -1 : 1)),
    }
  );
}
