/*
 * The administration of a mirror that runs: over HTTP, and as the program's own commands use it.
 */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import "../support/network.ts";
import { request, type WholeResponse } from "../support/http.ts";
import { type Mirror, startMirror } from "../support/mirror.ts";
import { createUpstream } from "../support/upstream.ts";

const adminListen = { kind: "tcp", host: "127.0.0.1", port: 0 } as const;

/** Asks the administration at the second listener. */
async function admin(mirror: Mirror, method: string, path: string, body?: object): Promise<WholeResponse> {
  const [, url = ""] = mirror.app.addresses;
  return request(`${url}/_admin${path}`, {
    method,
    ...(body !== undefined && { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } }),
  });
}

function json<T>({ status, body }: WholeResponse): T {
  assert.ok(status < 300, `${status}: ${body.toString()}`);
  return JSON.parse(body.toString()) as T;
}

test("what was pulled is listed, purged, and pulled again", async () => {
  await using upstream = await createUpstream();
  const image = upstream.addImage("library/alpine", "3");
  await using mirror = await startMirror(upstream.host, { config: { adminListen } });
  // Until it is known what is stored, a purge is refused.
  await mirror.logged({ msg: "the ledger is in line with the storage" });
  const pull = async (): Promise<void> => {
    assert.equal((await mirror.get("/v2/library/alpine/manifests/3")).status, 200);
    for (const digest of image.blobs) {
      assert.equal((await mirror.get(`/v2/library/alpine/blobs/${digest}`)).status, 200);
    }
    await mirror.app.idle();
  };
  await pull();
  const tags = json<{ items: { tag?: string; digest: string }[] }>(
    await admin(mirror, "GET", "/tags?namespace=docker.io&repository=library/alpine"),
  );
  assert.deepEqual(
    tags.items.map(({ tag, digest }) => [tag, digest]),
    [["3", image.digest]],
  );
  assert.ok(json<{ bytes: number }>(await admin(mirror, "GET", "/usage")).bytes > 0);
  const target = "docker.io/library/alpine:3";
  const plan = json<{ links: number }>(await admin(mirror, "POST", "/purge", { target, dryRun: true }));
  assert.equal(plan.links, 1 + image.blobs.length);
  json(await admin(mirror, "POST", "/purge", { target }));
  assert.equal((await admin(mirror, "POST", "/purge", { target })).status, 404);
  const before = upstream.count({ path: /\/blobs\// });
  await pull();
  assert.equal(upstream.count({ path: /\/blobs\// }), before + image.blobs.length);
  assert.equal((await admin(mirror, "DELETE", "/library/alpine/manifests/3")).status, 200);
  assert.equal((await admin(mirror, "DELETE", "/library/alpine/manifests/3")).status, 404);
});

test("jobs run, and are followed to their end; pins survive a restart", async () => {
  await using upstream = await createUpstream();
  upstream.addImage("library/alpine", "3");
  await using mirror = await startMirror(upstream.host, { config: { adminListen } });
  for (const body of [{ kind: "warm", images: ["alpine:3"] }, { kind: "verify", repair: true }, { kind: "evict" }]) {
    const { id } = json<{ id: string }>(await admin(mirror, "POST", "/jobs", body));
    const events = await admin(mirror, "GET", `/jobs/${id}/events`);
    const last = JSON.parse(events.body.toString().trimEnd().split("\n").at(-1) ?? "") as { state: string };
    assert.equal(last.state, "succeeded", events.body.toString());
  }
  json(await admin(mirror, "POST", "/pins", { pattern: "docker.io/alpine:3" }));
  await mirror.close();
  await using again = await startMirror(upstream.host, { root: mirror.root, config: { adminListen } });
  const { added } = json<{ added: string[] }>(await admin(again, "GET", "/pins"));
  assert.deepEqual(added, ["docker.io/library/alpine:3"]);
});

test("the main listener has it only with a token", async () => {
  await using upstream = await createUpstream();
  await using closed = await startMirror(upstream.host);
  assert.equal((await closed.get("/_admin/usage")).status, 404);
  const adminToken = "a-token-of-the-flow-test";
  await using open = await startMirror(upstream.host, { config: { adminToken } });
  assert.equal((await open.get("/_admin/usage")).status, 401);
  const headers = { Authorization: `Bearer ${adminToken}` };
  assert.equal((await open.get("/_admin/usage", { headers })).status, 200);
});

test("a damaged list of pins is told, put aside, and does not keep others from being added", async () => {
  await using upstream = await createUpstream();
  await using mirror = await startMirror(upstream.host, { config: { adminListen } });
  json(await admin(mirror, "POST", "/pins", { pattern: "docker.io/alpine:3" }));
  await mirror.close();
  await writeFile(join(mirror.root, "state/pins"), '{"patterns": [');
  await using again = await startMirror(upstream.host, { root: mirror.root, config: { adminListen } });
  const line = await again.logged({ level: 50 });
  assert.match(JSON.stringify(line), /state\/pins is damaged, and is state\/pins-damaged now/);
  json(await admin(again, "POST", "/pins", { pattern: "docker.io/busybox" }));
  assert.equal(await readFile(join(mirror.root, "state/pins-damaged"), "utf8"), '{"patterns": [');
  const { added } = json<{ added: string[] }>(await admin(again, "GET", "/pins"));
  assert.deepEqual(added, ["docker.io/library/busybox"]);
});
