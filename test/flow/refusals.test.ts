/** Upstreams that serve what is asked for plainly, and refuse HEAD or Range, or tell less with them than they should. */
import assert from "node:assert/strict";
import { test } from "node:test";
import "../support/network.ts";
import type { Behaviour } from "../support/behaviour.ts";
import { pseudoRandomBytes } from "../support/content.ts";
import { mediaTypes } from "../support/image.ts";
import { plainMirror, startMirror } from "../support/mirror.ts";
import { createUpstream, type ScriptedUpstream } from "../support/upstream.ts";

const path = "/v2/library/test/manifests/1";
const bytes = pseudoRandomBytes(400_000, "refused");

/** What was asked for, but for how to log in. */
function asked(upstream: ScriptedUpstream): string[] {
  return upstream.requests.filter((each) => each.path !== "/v2/").map(({ method }) => method);
}

const badHeads: [name: string, behaviour: Behaviour][] = [
  ...[400, 401, 403, 404, 405, 500, 501, 503].map((status): [string, Behaviour] => [`${status}`, { status }]),
  ["a broken connection", { hangUp: true }],
  ["no digest", { headers: { "docker-content-digest": undefined } }],
  ["a malformed digest", { headers: { "docker-content-digest": "sha256:abc" } }],
  ["no type", { headers: { "content-type": undefined } }],
  ["a login page", { status: 200, headers: { "content-type": "text/html", "docker-content-digest": undefined } }],
];

for (const [name, behaviour] of badHeads) {
  test(`HEAD is answered with ${name}: the tag is seen to move, and a cold HEAD is right`, async () => {
    await using upstream = await createUpstream();
    await using mirror = await startMirror(upstream.host, { upstream: { manifestInvalidationMs: 0 } });
    upstream.when({ method: "HEAD" }, behaviour);
    const old = upstream.addImage("library/test", "1", { seed: "old" });
    assert.equal((await mirror.get(path)).headers["docker-content-digest"], old.digest);
    const next = upstream.addImage("library/test", "1", { seed: "next" });
    const moved = await mirror.get(path);
    assert.deepEqual([moved.status, moved.headers["docker-content-digest"]], [200, next.digest]);
    const cold = upstream.addImage("library/test", "cold");
    const head = await mirror.get("/v2/library/test/manifests/cold", { method: "HEAD" });
    assert.deepEqual([head.status, head.headers["docker-content-digest"]], [200, cold.digest]);
    const get = await mirror.get(`/v2/library/test/manifests/${cold.digest}`);
    assert.equal(head.headers["content-length"], String(get.body.length));
  });
}

test("HEAD is answered with a digest that nobody has: the tag is seen to move", async () => {
  await using upstream = await createUpstream();
  await using mirror = await startMirror(upstream.host, { upstream: { manifestInvalidationMs: 0 } });
  upstream.when({ method: "HEAD" }, { headers: { "docker-content-digest": `sha256:${"0".repeat(64)}` } });
  upstream.addImage("library/test", "1", { seed: "old" });
  assert.equal((await mirror.get(path)).status, 200);
  const { digest } = upstream.addImage("library/test", "1", { seed: "next" });
  assert.equal((await mirror.get(path)).headers["docker-content-digest"], digest);
});

for (const announceLength of [false, 0] as const) {
  test(`HEAD is answered with ${announceLength === 0 ? "length 0" : "no length"}: renewal costs no GET, a move one`, async () => {
    await using upstream = await createUpstream();
    await using mirror = await startMirror(upstream.host, { upstream: { manifestInvalidationMs: 0 } });
    upstream.when({ method: "HEAD" }, { announceLength });
    upstream.addImage("library/test", "1", { seed: "old" });
    for (let renewals = 0; renewals < 3; renewals++) assert.equal((await mirror.get(path)).status, 200);
    assert.deepEqual(asked(upstream), ["GET", "HEAD", "HEAD"]);
    const { digest } = upstream.addImage("library/test", "1", { seed: "next" });
    assert.equal((await mirror.get(path)).headers["docker-content-digest"], digest);
    assert.deepEqual(asked(upstream).slice(3), ["HEAD", "GET"]);
  });
}

test("what neither HEAD nor GET finds is one absence, and remembered as such", async () => {
  await using upstream = await createUpstream();
  await using mirror = await startMirror(upstream.host, { upstream: { negativeTtlMs: 60_000 } });
  for (const method of ["HEAD", "GET", "HEAD"]) assert.equal((await mirror.get(path, { method })).status, 404);
  assert.deepEqual(asked(upstream), ["HEAD", "GET"]);
});

test("an outage costs no GET besides the HEAD", async () => {
  await using upstream = await createUpstream();
  await using mirror = await startMirror(upstream.host, { upstream: { manifestInvalidationMs: 0, retries: 0 } });
  upstream.addManifest("library/test", "1", { schemaVersion: 2, mediaType: mediaTypes.index, manifests: [] });
  assert.equal((await mirror.get(path)).status, 200);
  await upstream.down();
  assert.equal((await mirror.get(path)).headers["cache-status"], "entrepot; fwd=stale; detail=unreachable");
  assert.equal(await mirror.metric("entrepot_upstream_requests_total", { status: "error" }), 1);
  await upstream.up();
});

/** How the store that refuses is reached. */
const ways = [
  "directly",
  "behind a redirect",
  "as a mirror of the upstream",
  "as the upstream behind a mirror",
] as const;

for (const refuseRange of [400, 401, 403, 405, 406, 416, 500, 501]) {
  for (const way of ways) {
    test(`Range is refused with ${refuseRange}, ${way}: HEAD, another repository and a broken transfer go on`, async () => {
      await using store = await createUpstream();
      await using other = await createUpstream();
      const digest = store.addBlob(bytes);
      const blob = `/blobs/${digest}`;
      const settings = {
        directly: { host: store.host },
        "behind a redirect": { host: other.host },
        "as a mirror of the upstream": { host: other.host, mirrors: [{ ...plainMirror, host: store.host }] },
        "as the upstream behind a mirror": { host: store.host, mirrors: [{ ...plainMirror, host: other.host }] },
      }[way];
      if (way === "behind a redirect") {
        other.when({ path: blob }, { redirectTo: `http://${store.host}/v2/store${blob}?signature=1` });
      }
      if (way === "as a mirror of the upstream") {
        // A mirror that breaks rests for a while, and what is missing comes from the upstream.
        other.addBlob(bytes);
        other.when({ path: blob }, { refuseRange });
      }
      await using mirror = await startMirror(settings.host, { upstream: settings });

      store.when({ path: blob }, { refuseRange });
      const head = await mirror.get(`/v2/library/a${blob}`, { method: "HEAD" });
      assert.deepEqual([head.status, head.headers["content-length"]], [200, String(bytes.length)]);

      store.behave();
      store.when({ path: blob, times: 1 }, { cutAfterBytes: 150_000 });
      store.when({ path: blob }, { refuseRange });
      const broken = await mirror.get(`/v2/library/a${blob}`);
      assert.ok(broken.status === 200 && broken.body.equals(bytes));

      await mirror.app.idle();
      const second = await mirror.get(`/v2/library/b${blob}`);
      assert.ok(second.status === 200 && second.body.equals(bytes));
      assert.equal(second.headers["cache-status"], "entrepot; hit");
    });
  }
}

test("Range of the blob of no bytes", async () => {
  await using upstream = await createUpstream();
  await using mirror = await startMirror(upstream.host);
  const blob = `/v2/library/a/blobs/${upstream.addBlob(Buffer.alloc(0))}`;
  for (const round of ["cold", "stored"]) {
    for (const [range, status] of [
      ["bytes=0-", 200],
      ["bytes=0-0", 200],
      ["bytes=-5", 200],
      ["bytes=5-", 416],
    ] as const) {
      const answer = await mirror.get(blob, { headers: { range } });
      assert.equal(answer.status, status, `${round}, ${range}`);
      if (status === 200) assert.equal(answer.headers["content-length"], "0");
    }
    await mirror.app.idle();
  }
});
