/* What becomes of uploads when the program is asked to stop, and what many slow ones hold. */
import assert from "node:assert/strict";
import { test } from "node:test";
import "../support/network.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { pseudoRandomBytes } from "../support/content.ts";
import { until } from "../support/event-loop.ts";
import { Pusher, startHosted } from "../support/hosted.ts";
import { openFilesBelow } from "../support/open-files.ts";
import { Sending } from "../support/sending.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";

const bytes = pseudoRandomBytes(300_000, "shutdown");
const digest = digestOf(bytes);

/** Begins to send all of it to an upload, of which a third is stored when this resolves. */
async function begin(url: string, pusher: Pusher, location: string): Promise<Sending> {
  const sending = new Sending(url, location, "PATCH", { "content-length": bytes.length });
  await sending.send(bytes.subarray(0, 100_000));
  await until(async () => (await pusher.ask(location)).headers.range === "0-99999");
  return sending;
}

test("an upload that is complete before the deadline is answered, and one that is not goes on after the restart", async () => {
  await using folder = await createTemporaryDirectory();
  const root = `${folder.path}/root`;
  const locations: string[] = [];
  {
    await using mirror = await startHosted({ root, config: { shutdownTimeoutMs: 1_000 } });
    const pusher = new Pusher(mirror);
    locations.push(await pusher.open(), await pusher.open());
    using complete = await begin(mirror.url, pusher, locations[0] ?? "");
    using broken = await begin(mirror.url, pusher, locations[1] ?? "");
    const closed = mirror.close();
    assert.equal((await complete.end(bytes.subarray(100_000))).status, 202);
    await closed;
    await assert.rejects(broken.answer);
    assert.deepEqual(openFilesBelow(root), []);
  }
  await using mirror = await startHosted({ root });
  const pusher = new Pusher(mirror);
  const [complete = "", broken = ""] = locations;
  assert.equal((await pusher.put(complete, digest)).status, 201);
  assert.equal((await pusher.ask(`/blobs/${digest}`, { method: "DELETE" })).status, 202);
  assert.equal((await pusher.ask(broken)).headers.range, "0-99999");
  assert.equal((await pusher.patch(broken, bytes.subarray(100_000), 100_000)).status, 202);
  assert.equal((await pusher.put(broken, digest)).status, 201);
  assert.ok((await pusher.ask(`/blobs/${digest}`)).body.equals(bytes));
});

test("two hundred slow uploads hold little memory, and no file when they have gone", async () => {
  await using mirror = await startHosted();
  const pusher = new Pusher(mirror);
  const before = process.memoryUsage().arrayBuffers;
  using all = new DisposableStack();
  const slow = await Promise.all(
    Array.from({ length: 200 }, async () => all.use(await begin(mirror.url, pusher, await pusher.open()))),
  );
  const held = process.memoryUsage().arrayBuffers - before;
  assert.ok(held < 64 * 1024 * 1024, `${held} bytes`);
  for (const each of slow) each.break();
  await until(() => openFilesBelow(`${mirror.root}/hosted`).length === 0);
  assert.equal(await mirror.metric("entrepot_storage_bytes", { kind: "reserved" }), 0);
});
