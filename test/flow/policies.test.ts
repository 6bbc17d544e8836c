import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import { test } from "node:test";
import "../support/network.ts";
import { NamePattern } from "../../src/oci/name-pattern.ts";
import { startMirror } from "../support/mirror.ts";
import { createUpstream } from "../support/upstream.ts";

const minute = 60_000;
const path = "/v2/library/test/manifests/1";

function createClock(): { readonly now: () => number; pass(ms: number): void } {
  let time = Date.UTC(2026, 0, 1);
  return { now: () => time, pass: (ms) => (time += ms) };
}

test("stale-while-revalidate: the stale tag at once, the new one next", async () => {
  const clock = createClock();
  await using upstream = await createUpstream();
  const old = upstream.addImage("library/test", "1", { seed: "old" });
  await using mirror = await startMirror(upstream.host, {
    now: clock.now,
    upstream: { staleWhileRevalidateMs: 5 * minute },
  });
  await mirror.get(path);
  await mirror.app.idle();
  const fresh = upstream.addImage("library/test", "1", { seed: "new" });
  clock.pass(10 * minute);
  const first = await mirror.get(path);
  assert.equal(first.headers["docker-content-digest"], old.digest);
  assert.equal(first.headers["cache-status"], "entrepot; hit");
  await mirror.app.idle();
  assert.equal((await mirror.get(path)).headers["docker-content-digest"], fresh.digest);
  clock.pass(15 * minute);
  const late = await mirror.get(path);
  assert.equal(late.headers["cache-status"], "entrepot; fwd=stale; fwd-status=200; stored", "past its time it waits");
});

test("a tag that the upstream has deleted is kept and marked, or follows it", async () => {
  for (const keepDeleted of [true, false]) {
    const clock = createClock();
    await using upstream = await createUpstream();
    const image = upstream.addImage("library/test", "1");
    await using mirror = await startMirror(upstream.host, { now: clock.now, upstream: { keepDeleted } });
    await mirror.get(path);
    await mirror.app.idle();
    upstream.removeTag("library/test", "1");
    clock.pass(10 * minute);
    const answer = await mirror.get(path);
    assert.equal(answer.status, keepDeleted ? 200 : 404);
    if (!keepDeleted) continue;
    assert.equal(answer.headers["docker-content-digest"], image.digest);
    assert.equal(answer.headers["cache-status"], "entrepot; fwd=stale; fwd-status=404; detail=deleted");
    assert.match(answer.headers["warning"] ?? "", /^299 - /);
  }
});

test("a true 404 is remembered for its time, a refusal never", async () => {
  const clock = createClock();
  await using upstream = await createUpstream();
  upstream.addImage("library/other", "1");
  await using mirror = await startMirror(upstream.host, { now: clock.now, upstream: { negativeTtlMs: 30_000 } });
  const asked = (): number => upstream.count({ path: "/manifests/1" });
  assert.equal((await mirror.get(path)).status, 404);
  const once = asked();
  assert.equal((await mirror.get(path)).status, 404);
  assert.equal(asked(), once);
  upstream.addImage("library/test", "1");
  clock.pass(30_000);
  assert.equal((await mirror.get(path)).status, 200);
  upstream.when({ path: "/manifests/2" }, { status: 403, body: "{}" });
  const second = path.replace(/1$/, "2");
  assert.equal((await mirror.get(second)).status, 404);
  upstream.behave();
  upstream.addImage("library/test", "2");
  assert.equal((await mirror.get(second)).status, 200);
});

test("while the upstream fails an image is served whole or not at all", async () => {
  const clock = createClock();
  await using upstream = await createUpstream();
  const image = upstream.addImage("library/test", "1", { platforms: 1, layers: 2 });
  await using mirror = await startMirror(upstream.host, { now: clock.now });
  assert.equal((await mirror.get(path)).status, 200);
  const [first = "", ...others] = image.blobs;
  await mirror.get(`/v2/library/test/blobs/${first}`);
  await mirror.app.idle();
  await upstream.down();
  clock.pass(10 * minute);
  assert.equal((await mirror.get(path)).status, 502, "its other blobs are not here");
  await upstream.up();
  clock.pass(minute);
  for (const digest of others) assert.equal((await mirror.get(`/v2/library/test/blobs/${digest}`)).status, 200);
  await mirror.app.idle();
  await upstream.down();
  clock.pass(10 * minute);
  const whole = await mirror.get(path);
  assert.equal(whole.status, 200);
  assert.match(whole.headers["cache-status"] as string, /^entrepot; fwd=stale/);
});

test("an upstream that goes on failing is not asked any more, what is cached is served, and it is tried again", async () => {
  const clock = createClock();
  await using upstream = await createUpstream();
  const image = upstream.addImage("library/test", "1", { platforms: 1 });
  await using mirror = await startMirror(upstream.host, { now: clock.now, upstream: { retries: 0 } });
  await mirror.get(path);
  for (const digest of image.blobs) await mirror.get(`/v2/library/test/blobs/${digest}`);
  await mirror.app.idle();
  upstream.when({}, { status: 503, body: "{}" });
  for (let count = 0; count < 5; count++) {
    assert.equal((await mirror.get(`/v2/library/missing${count}/manifests/1`)).status, 502);
  }
  assert.equal(await mirror.metric("entrepot_upstream_state", { namespace: "docker.io" }), 2);
  const asked = upstream.requests.length;
  assert.equal((await mirror.get("/v2/library/another/manifests/1")).status, 502);
  assert.equal(upstream.requests.length, asked);
  assert.equal((await mirror.get(path)).headers["cache-status"], "entrepot; hit");
  upstream.behave();
  clock.pass(1_000);
  upstream.addImage("library/another", "1");
  assert.equal((await mirror.get("/v2/library/another/manifests/1")).status, 200);
  assert.equal(await mirror.metric("entrepot_upstream_state", { namespace: "docker.io" }), 0);
});

test("a rate limit that is nearly used up stretches what is fresh, and is told", async () => {
  const clock = createClock();
  await using upstream = await createUpstream();
  upstream.addImage("library/test", "1");
  upstream.when({}, { headers: { "ratelimit-limit": "100;w=21600", "ratelimit-remaining": "9;w=21600" } });
  await using mirror = await startMirror(upstream.host, { now: clock.now, upstream: { rateLimitReserve: 0.1 } });
  await mirror.get(path);
  await mirror.app.idle();
  const asked = upstream.requests.length;
  clock.pass(5 * 60 * minute);
  assert.equal((await mirror.get(path)).headers["cache-status"], "entrepot; hit");
  assert.equal(upstream.requests.length, asked);
  assert.equal(await mirror.metric("entrepot_upstream_rate_limit_remaining", { namespace: "docker.io" }), 9);
  const { body } = await mirror.get("/readyz?verbose");
  const { upstreams } = JSON.parse(body.toString("utf8")) as { upstreams: Record<string, { rateLimit: unknown }> };
  assert.deepEqual(upstreams["docker.io"]?.rateLimit, { limit: 100, remaining: 9, windowSeconds: 21_600, low: true });
  assert.equal(mirror.log().filter(({ msg }) => String(msg).includes("rate limit is nearly used up")).length, 1);
});

test("what the policy denies is denied also from the cache, for manifests and blobs, GET and HEAD", async () => {
  await using upstream = await createUpstream();
  const image = upstream.addImage("library/test", "1");
  upstream.addImage("team/app", "1");
  await using mirror = await startMirror(upstream.host, {
    upstream: {
      allow: [new NamePattern("library/*"), new NamePattern("team/**")],
      deny: [new NamePattern("library/test")],
    },
  });
  for (const method of ["GET", "HEAD"]) {
    for (const what of ["manifests/1", `manifests/${image.digest}`, `blobs/${image.blobs[0]}`]) {
      assert.equal((await mirror.get(`/v2/library/test/${what}`, { method })).status, 403, `${method} ${what}`);
    }
  }
  assert.equal((await mirror.get("/v2/other/app/manifests/1")).status, 403);
  assert.equal(upstream.requests.length, 0);
  assert.equal((await mirror.get("/v2/team/app/manifests/1")).status, 200);
});

test("an offline namespace lives from its cache", async () => {
  const clock = createClock();
  await using upstream = await createUpstream();
  const image = upstream.addImage("library/test", "1", { platforms: 1 });
  const first = await startMirror(upstream.host, { now: clock.now });
  const { root } = first;
  await first.get(path);
  for (const digest of image.blobs) await first.get(`/v2/library/test/blobs/${digest}`);
  await first.app.idle();
  await first.close();
  try {
    const asked = upstream.requests.length;
    clock.pass(100 * minute);
    await using mirror = await startMirror(upstream.host, { root, now: clock.now, upstream: { offline: true } });
    const answer = await mirror.get(path);
    assert.equal(answer.status, 200);
    assert.equal(answer.headers["cache-status"], "entrepot; fwd=stale; detail=offline");
    assert.equal((await mirror.get("/v2/library/test/manifests/2")).status, 404);
    assert.equal(upstream.requests.length, asked);
  } finally {
    await first[Symbol.asyncDispose]();
    await rm(root, { recursive: true, force: true });
  }
});
