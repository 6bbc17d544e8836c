import assert from "node:assert/strict";
import { test } from "node:test";
import type { Namespace } from "../../../src/oci/reference.ts";
import { KnownTotals } from "../../../src/ledger/known-totals.ts";
import type { Totals } from "../../../src/ledger/ledger.ts";

const hub = "docker.io" as Namespace;
const quay = "quay.io" as Namespace;

/** So many bytes; the ledger itself and the folders take some more. */
function part(
  bytes: number,
  namespaces: readonly (readonly [Namespace, number])[],
): Parameters<KnownTotals["change"]>[0] {
  return { bytes, namespaces, ledgerBytes: bytes / 2, foldersBytes: 1 };
}

test("what has changed takes the place of what was known; a namespace that holds nothing is gone", () => {
  const known = new KnownTotals();
  const totals = (): Totals | undefined => known.totals;
  assert.equal(totals(), undefined);
  known.change(part(6, [[hub, 6]]));
  assert.equal(totals(), undefined, "the others are not known");
  known.set(part(10, [[hub, 4]]));
  known.change(part(12, [[quay, 6]]));
  assert.equal(totals()?.bytes, 12);
  assert.deepEqual(
    [...(totals()?.namespaces ?? [])],
    [
      [hub, 4],
      [quay, 6],
    ],
  );
  known.change(part(6, [[hub, 0]]));
  assert.equal(totals()?.bytes, 6);
  assert.deepEqual([...(totals()?.namespaces ?? [])], [[quay, 6]]);
  known.set(undefined);
  assert.equal(totals(), undefined);
});
