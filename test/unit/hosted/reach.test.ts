import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { Reach } from "../../../src/hosted/reach.ts";
import { type Digest, digestOf } from "../../../src/oci/digest.ts";

/** What a number stands for. */
function named(number: number): Digest {
  return digestOf(Buffer.from(`thing ${number}`), number % 7 === 0 ? "sha512" : "sha256");
}

/** A manifest by numbers. */
interface Thing {
  readonly number: number;
  readonly children: readonly number[];
  readonly subject: number | undefined;
}

/** What lives with what is kept, found in the plainest way. */
function reached(things: readonly Thing[], roots: readonly number[]): Set<number> {
  const kept = new Set(roots);
  for (let before = -1; before !== kept.size;) {
    before = kept.size;
    for (const { number, children, subject } of things) {
      const isThere = things.some((each) => each.number === subject);
      if (subject !== undefined && isThere && kept.has(subject)) kept.add(number);
      if (kept.has(number)) for (const child of children) kept.add(child);
    }
  }
  return kept;
}

const most = 14;
const things = fc.uniqueArray(
  fc.record({
    number: fc.nat(most),
    children: fc.array(fc.nat(most), { maxLength: 4 }),
    subject: fc.option(fc.nat(most), { nil: undefined }),
  }),
  { selector: ({ number }) => number },
);

describe("reach", () => {
  test("keeps what lives with what is kept, whatever was said first", () => {
    fc.assert(
      fc.property(things, fc.array(fc.nat(most), { maxLength: 3 }), fc.nat(20), (manifests, roots, keptAfter) => {
        const reach = new Reach();
        for (const [index, { number, children, subject }] of manifests.entries()) {
          if (index === keptAfter) for (const root of roots) reach.keep(named(root));
          reach.add(named(number), children.map(named), subject === undefined ? undefined : named(subject));
        }
        for (const root of roots) reach.keep(named(root));
        const expected = reached(manifests, roots);
        for (let number = 0; number <= most; number++) {
          assert.equal(reach.isKept(named(number)), expected.has(number), `of ${number}`);
          assert.equal(
            reach.isManifest(named(number)),
            manifests.some((each) => each.number === number),
          );
        }
      }),
      { numRuns: 2_000 },
    );
  });

  test("puts each manifest before what lives with it", () => {
    // As digests are, so that there are no circles: children are smaller, and so are subjects.
    fc.assert(
      fc.property(things, fc.infiniteStream(fc.nat()), (any, order) => {
        const manifests = any.map(({ number, children, subject = Infinity }) => ({
          number,
          children: children.filter((child) => child < number),
          subject: subject < number ? subject : undefined,
        }));
        const reach = new Reach();
        for (const { number, children, subject } of manifests) {
          reach.add(named(number), children.map(named), subject === undefined ? undefined : named(subject));
        }
        const numbers = manifests.map(({ number }) => ({ number, by: order.next().value ?? 0 }));
        const given = numbers.toSorted((a, b) => a.by - b.by).map(({ number }) => named(number));
        const ordered = reach.inOrder(given);
        assert.deepEqual(new Set(ordered), new Set(given));
        assert.equal(ordered.length, given.length);
        const hasCircle = manifests.some(
          ({ number, subject }) => subject !== undefined && reached(manifests, [number]).has(subject),
        );
        const place = new Map(ordered.map((digest, index) => [digest, index]));
        for (const each of manifests) {
          const own = place.get(named(each.number)) ?? NaN;
          for (const child of each.children) assert.ok(!(own > (place.get(named(child)) ?? Infinity)));
          if (each.subject === undefined || hasCircle) continue;
          assert.ok(!(own < (place.get(named(each.subject)) ?? -1)), `${each.number} refers to ${each.subject}`);
        }
      }),
      { numRuns: 2_000 },
    );
  });

  test("puts a referrer that also lists its subject first", () => {
    for (const given of [
      [named(1), named(2)],
      [named(2), named(1)],
    ]) {
      const reach = new Reach();
      reach.add(named(1), [], undefined);
      reach.add(named(2), [named(1)], named(1));
      assert.deepEqual(reach.inOrder(given), [named(2), named(1)]);
    }
  });

  test("follows any depth", () => {
    const depth = 200_000;
    const reach = new Reach();
    const digests = Array.from({ length: depth }, (_, number) => named(number));
    for (const [index, digest] of digests.entries()) {
      const next = digests[index + 1];
      reach.add(digest, next === undefined ? [] : [next], undefined);
    }
    assert.deepEqual(reach.inOrder(digests.toReversed()), digests);
    reach.keep(named(0));
    assert.ok(reach.isKept(named(depth - 1)));
  });
});
