/** Upstreams that serve what is asked for plainly, and refuse HEAD or Range, or tell less with them than they should. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import "../support/network.ts";
import { digestOf } from "../../src/oci/digest.ts";
import type { Behaviour } from "../support/behaviour.ts";
import { pseudoRandomBytes } from "../support/content.ts";
import { mediaTypes } from "../support/image.ts";
import { type Mirror, plainMirror, startMirror } from "../support/mirror.ts";
import { createUpstream, type ScriptedUpstream } from "../support/upstream.ts";

const path = "/v2/library/test/manifests/1";

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

describe("HEAD is refused, or answered with less than it should be:", () => {
  let mirror: Mirror;
  const upstreams = new Map<string, ScriptedUpstream>();
  const space = new AsyncDisposableStack();
  const namespaceOf = (name: string): string => `${name.replaceAll(" ", "-")}.example.com`;
  before(async () => {
    for (const [name] of badHeads) upstreams.set(name, space.use(await createUpstream()));
    const others = [...upstreams].map(([name, { host }]) => ({
      namespace: namespaceOf(name),
      host,
      manifestInvalidationMs: 0,
    }));
    mirror = space.use(await startMirror("127.0.0.1:1", { others }));
  });
  after(() => space.disposeAsync());

  for (const [name, behaviour] of badHeads) {
    test(`${name}: the tag is seen to move, and a cold HEAD is right`, async () => {
      const upstream = upstreams.get(name);
      assert.ok(upstream !== undefined);
      const ns = `?ns=${namespaceOf(name)}`;
      upstream.when({ method: "HEAD" }, behaviour);
      const old = upstream.addImage("library/test", "1", { seed: `${name} old` });
      assert.equal((await mirror.get(`${path}${ns}`)).headers["docker-content-digest"], old.digest);
      const next = upstream.addImage("library/test", "1", { seed: `${name} next` });
      const moved = await mirror.get(`${path}${ns}`);
      assert.deepEqual([moved.status, moved.headers["docker-content-digest"]], [200, next.digest]);
      const cold = upstream.addImage("library/test", "cold", { seed: name });
      const head = await mirror.get(`/v2/library/test/manifests/cold${ns}`, { method: "HEAD" });
      assert.deepEqual([head.status, head.headers["docker-content-digest"]], [200, cold.digest]);
      const get = await mirror.get(`/v2/library/test/manifests/${cold.digest}${ns}`);
      assert.equal(head.headers["content-length"], String(get.body.length));
    });
  }
});

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

for (const way of ways) {
  describe(`a store that refuses Range, ${way}: HEAD, another repository and a broken transfer go on`, () => {
    const statuses = [400, 401, 403, 405, 406, 416, 500, 501];
    const bytesOf = (status: number): Buffer => pseudoRandomBytes(400_000, `${status}`);
    let mirror: Mirror;
    const stores = new Map<number, ScriptedUpstream>();
    const space = new AsyncDisposableStack();
    // One mirror, and a namespace for each: how a store is judged is not felt by the others.
    before(async () => {
      const others = [];
      for (const refuseRange of statuses) {
        const store = space.use(await createUpstream());
        const other = space.use(await createUpstream());
        stores.set(refuseRange, store);
        const blob = `/blobs/${store.addBlob(bytesOf(refuseRange))}`;
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
          other.addBlob(bytesOf(refuseRange));
          other.when({ path: blob }, { refuseRange });
        }
        others.push({ namespace: `status-${refuseRange}.example.com`, ...settings });
      }
      mirror = space.use(await startMirror("127.0.0.1:1", { others }));
    });
    after(() => space.disposeAsync());

    for (const refuseRange of statuses) {
      test(`with ${refuseRange}`, async () => {
        const store = stores.get(refuseRange);
        assert.ok(store !== undefined);
        const bytes = bytesOf(refuseRange);
        const blob = `/blobs/${digestOf(bytes)}`;
        const ns = `?ns=status-${refuseRange}.example.com`;
        store.when({ path: blob }, { refuseRange });
        const head = await mirror.get(`/v2/library/a${blob}${ns}`, { method: "HEAD" });
        assert.deepEqual([head.status, head.headers["content-length"]], [200, String(bytes.length)]);

        store.behave();
        store.when({ path: blob, times: 1 }, { cutAfterBytes: 150_000 });
        store.when({ path: blob }, { refuseRange });
        const broken = await mirror.get(`/v2/library/a${blob}${ns}`);
        assert.ok(broken.status === 200 && broken.body.equals(bytes));

        await mirror.app.idle();
        const second = await mirror.get(`/v2/library/b${blob}${ns}`);
        assert.ok(second.status === 200 && second.body.equals(bytes));
        assert.equal(second.headers["cache-status"], "entrepot; hit");
      });
    }
  });
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
