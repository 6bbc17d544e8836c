/*
 * A mirror that does not know what lies in its storage: what clients are told, and the administration.
 */
import assert from "node:assert/strict";
import { rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import "../support/network.ts";
import { startMirror } from "../support/mirror.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";
import { createUpstream } from "../support/upstream.ts";

const maxSize = { kind: "bytes", bytes: 10 * 1024 * 1024 } as const;
const failed = { msg: "the ledger could not be written or read: it is tried again" };

/** Makes a folder in which no ledger can be opened: its name leads to itself. */
async function spoilLedger(root: string): Promise<void> {
  const path = join(root, "ledger.sqlite");
  await rm(path, { force: true });
  await symlink(path, path);
}

test("nothing is said to be stored while max_size lets nothing in, as it is not known what there is", async () => {
  await using upstream = await createUpstream();
  const image = upstream.addImage("library/alpine", "3");
  const [blob = ""] = image.blobs;
  await using folder = await createTemporaryDirectory();
  const { path: root } = folder;
  await (await startMirror(upstream.host, { root })).close();
  await spoilLedger(root);
  await using mirror = await startMirror(upstream.host, { root, storage: { maxSize } });
  await mirror.logged(failed);
  const miss = "entrepot; fwd=uri-miss";
  const expected = [
    [`manifests/3`, `${miss}; fwd-status=200`],
    // From memory.
    [`manifests/${image.digest}`, "entrepot; hit"],
    [`blobs/${blob}`, miss],
    [`blobs/${blob}`, miss],
  ];
  for (const [what = "", said] of expected) {
    const { status, headers } = await mirror.get(`/v2/library/alpine/${what}`);
    assert.equal(status, 200, what);
    assert.equal(headers["cache-status"], said, what);
    await mirror.app.idle();
  }
  const other = upstream.addImage("library/alpine", "4");
  const { headers } = await mirror.get(`/v2/library/alpine/manifests/${other.digest}`);
  assert.equal(headers["cache-status"], miss);
});
