/*
 * A disk that is really full: a small file system in memory, which somebody else fills to the brim. Mounting one needs
 * the right to; without it these tests fail, and say so (a user namespace gives it: `unshare --user --map-root-user
 * --mount npm test`).
 */
import assert from "node:assert/strict";
import { rm, statfs } from "node:fs/promises";
import { test } from "node:test";
import "../support/network.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { pseudoRandomBytes } from "../support/content.ts";
import { until } from "../support/event-loop.ts";
import { type Mirror, startMirror } from "../support/mirror.ts";
import { fillUp, mountSmall } from "../support/small-disk.ts";
import { createUpstream, type ScriptedUpstream } from "../support/upstream.ts";

const clients = 20;

/** Twenty clients pull five images, each by four of them, and every one gets all of it. */
async function expectPulls(mirror: Mirror, upstream: ScriptedUpstream, name: string): Promise<void> {
  const images = Array.from({ length: 5 }, (_, index) =>
    upstream.addImage(`library/${name}`, `v${index}`, { layers: 2, layerBytes: 300_000 }),
  );
  await Promise.all(
    Array.from({ length: clients }, async (_, client) => {
      const index = client % images.length;
      const image = images[index];
      assert.ok(image !== undefined);
      const manifest = await mirror.get(`/v2/library/${name}/manifests/v${index}`);
      assert.deepEqual([manifest.status, digestOf(manifest.body)], [200, image.digest]);
      for (const digest of image.blobs) {
        const blob = await mirror.get(`/v2/library/${name}/blobs/${digest}`);
        assert.deepEqual([blob.status, digestOf(blob.body)], [200, digest]);
      }
    }),
  );
  await mirror.app.idle();
}

test("twenty clients pull through a disk that is full; it is told once a minute; and when there is room it is used", async () => {
  await using disk = await mountSmall(24);
  await using upstream = await createUpstream();
  const clock = { now: Date.now() };
  await using mirror = await startMirror(upstream.host, { root: `${disk.path}/root`, now: () => clock.now });
  const foreign = `${disk.path}/foreign`;
  await fillUp(foreign);
  const complaints = (): string[] =>
    mirror
      .log()
      .filter(({ level, operation }) => Number(level) >= 40 && operation !== undefined)
      .map(({ operation, code }) => `${String(operation)} ${String(code)}`);
  for (const minute of [1, 2]) {
    for (const part of ["a", "b"]) await expectPulls(mirror, upstream, `full-${minute}${part}`);
    assert.equal((await mirror.get("/readyz")).status, 200);
    const told = complaints();
    for (const each of new Set(told)) {
      const times = told.filter((other) => other === each).length;
      assert.ok(times <= minute, `${each} was told ${times} times in ${minute} minutes`);
    }
    assert.ok(
      told.every((each) => each.endsWith("ENOSPC") || each.endsWith("ELIMIT")),
      told.join(),
    );
    clock.now += 60_000;
  }
  const passedOn = await mirror.metric("entrepot_fills_total", { outcome: "unstored" });
  assert.ok(passedOn > 0, "everything was stored");
  await rm(foreign);
  await until(async () => {
    clock.now += 1_000;
    const digest = upstream.addBlob(pseudoRandomBytes(10_000, String(clock.now)));
    const path = `/v2/library/after/blobs/${digest}`;
    assert.equal((await mirror.get(path)).status, 200);
    await mirror.app.idle();
    return (await mirror.get(path)).headers["cache-status"] === "entrepot; hit";
  });
});

test("with a share of the volume as its limit, a small disk is never full, whoever else writes to it", async () => {
  await using disk = await mountSmall(24);
  await using upstream = await createUpstream();
  await using mirror = await startMirror(upstream.host, {
    root: `${disk.path}/root`,
    graceMs: 0,
    storage: { maxSize: { kind: "share", share: 0.9 }, minFree: { kind: "share", share: 0.05 } },
  });
  await mirror.logged({ msg: "the ledger is in line with the storage" });
  for (let round = 0; round < 10; round++) {
    await expectPulls(mirror, upstream, `round-${round}`);
    const { bsize, blocks, bavail } = await statfs(disk.path);
    assert.ok(bavail > 0, `nothing of ${bsize * blocks} bytes is free`);
  }
  assert.ok((await mirror.metric("entrepot_evictions_total", { kind: "link" })) > 0);
  for (const operation of ["put", "spool"]) {
    assert.equal(await mirror.metric("entrepot_storage_errors_total", { operation, code: "ENOSPC" }), 0);
  }
});
