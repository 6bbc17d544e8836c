import assert from "node:assert/strict";
import { describe, test } from "node:test";
import "../support/network.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { createBarrier } from "../support/barrier.ts";
import type { Behaviour, Match } from "../support/behaviour.ts";
import { type Mirror, startMirror } from "../support/mirror.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";
import { createUpstream, type ScriptedUpstream } from "../support/upstream.ts";

const minute = 60_000;
/** Longer than any answer takes on a busy machine. */
const patienceMs = 30_000;
const path = "/v2/library/test/manifests/1";

function createClock(): { readonly now: () => number; pass(ms: number): void } {
  let time = Date.UTC(2026, 0, 1);
  return { now: () => time, pass: (ms) => (time += ms) };
}

interface Outage {
  readonly where?: Match;
  readonly behaviour?: Behaviour;
  /** Instead of any behaviour. */
  readonly start?: (upstream: ScriptedUpstream) => Promise<void>;
  /** How long an answer is waited for where a stale tag could be served; by default longer than any takes. */
  readonly staleWaitMs?: number;
  /** What `Cache-Status` says besides `fwd=stale`. */
  readonly told: string;
}

const outages: Record<string, Outage> = {
  "it refuses connections": { start: (upstream) => upstream.down(), told: "detail=unreachable" },
  "it resets connections": { behaviour: { hangUp: true, cutBy: "reset" }, told: "detail=unreachable" },
  "it answers 500": { behaviour: { status: 500 }, told: "fwd-status=500; detail=status" },
  "it answers 503": { behaviour: { status: 503 }, told: "fwd-status=503; detail=status" },
  "it answers 429": { behaviour: { status: 429 }, told: "fwd-status=429; detail=rate-limited" },
  "its token server fails": {
    where: { path: "/token" },
    behaviour: { status: 500 },
    start: async (upstream) => {
      upstream.requireToken();
    },
    told: "fwd-status=500; detail=token",
  },
  "it does not answer": { behaviour: { pauseAt: createBarrier() }, staleWaitMs: 200, told: "detail=timeout" },
};

async function begin(outage: Outage, upstream: ScriptedUpstream): Promise<void> {
  await outage.start?.(upstream);
  if (outage.behaviour !== undefined) upstream.when(outage.where ?? { path }, outage.behaviour);
}

async function expectStale(mirror: Mirror, digest: string, told: string): Promise<void> {
  for (const method of ["GET", "HEAD"]) {
    const { status, headers, body } = await mirror.get(path, { method, signal: AbortSignal.timeout(patienceMs) });
    assert.equal(status, 200);
    assert.equal(headers["docker-content-digest"], digest);
    if (method === "GET") assert.equal(digestOf(body), digest);
    assert.equal(headers["cache-status"], `entrepot; fwd=stale; ${told}`);
    assert.match(headers["warning"] ?? "", /^299 - "docker\.io failed \([a-z-]+\); .*"$/);
  }
}

describe("a stale tag stands in for its upstream when", () => {
  for (const [what, outage] of Object.entries(outages)) {
    test(what, async () => {
      const clock = createClock();
      await using upstream = await createUpstream();
      await using mirror = await startMirror(upstream.host, {
        now: clock.now,
        staleWaitMs: outage.staleWaitMs ?? patienceMs,
        upstream: { staleIfErrorMs: 60 * minute, retries: 0 },
      });
      const old = upstream.addImage("library/test", "1", { seed: "old", platforms: 2 });
      assert.equal((await mirror.get(path)).status, 200);
      const fresh = upstream.addImage("library/test", "1", { seed: "new", platforms: 2 });
      await begin(outage, upstream);

      // Fresh: nobody notices.
      clock.pass(10 * minute - 1);
      assert.equal((await mirror.get(path)).headers["cache-status"], "entrepot; hit");
      clock.pass(1);
      await expectStale(mirror, old.digest, outage.told);
      clock.pass(60 * minute);
      await expectStale(mirror, old.digest, outage.told);
      // Past stale-if-error it may not be served any more.
      clock.pass(1);
      const late = await mirror.get(path);
      assert.ok([502, 503, 504].includes(late.status), String(late.status));
      assert.match(late.body.toString(), /^\{"errors":\[\{"code":"(?:UNAVAILABLE|TOOMANYREQUESTS)"/);

      // The upstream comes back, and rests no longer.
      upstream.behave();
      if (outage.start !== undefined && outage.behaviour === undefined) await upstream.up();
      clock.pass(60 * minute);
      const healthy = await mirror.get(path);
      assert.equal(healthy.headers["docker-content-digest"], fresh.digest);
      assert.equal(healthy.headers["warning"], undefined);
    });
  }
});

test("a stale tag is served for ever where nothing else is configured", async () => {
  const clock = createClock();
  await using upstream = await createUpstream();
  await using mirror = await startMirror(upstream.host, { now: clock.now, upstream: { retries: 0 } });
  const { digest } = upstream.addImage("library/test", "1", { platforms: 2 });
  await mirror.get(path);
  await upstream.down();
  clock.pass(10 * 365 * 24 * 60 * minute);
  await expectStale(mirror, digest, "detail=unreachable");
});

test("an upstream that has failed is left alone for a while, and its failure is logged once", async () => {
  const clock = createClock();
  await using upstream = await createUpstream();
  await using mirror = await startMirror(upstream.host, { now: clock.now, upstream: { retries: 0 } });
  upstream.addImage("library/test", "1", { platforms: 2 });
  await mirror.get(path);
  upstream.when({ path }, { status: 503 });
  clock.pass(10 * minute);
  for (let times = 0; times < 20; times++) assert.equal((await mirror.get(path)).status, 200);
  assert.equal(upstream.count({ method: "HEAD" }), 1);
  const warnings = mirror.log().filter(({ level, msg }) => Number(level) >= 40 && msg !== "request");
  assert.equal(warnings.length, 1);
  assert.deepEqual([warnings[0]?.["msg"], warnings[0]?.["status"]], ["the upstream failed", 503]);
});

test("the wait for a silent upstream is bounded, and what it says later is used", async () => {
  const clock = createClock();
  await using upstream = await createUpstream();
  await using mirror = await startMirror(upstream.host, {
    now: clock.now,
    staleWaitMs: 500,
    upstream: { headerTimeoutMs: 30_000 },
  });
  const old = upstream.addImage("library/test", "1", { seed: "old", platforms: 2 });
  await mirror.get(path);
  const fresh = upstream.addImage("library/test", "1", { seed: "new", platforms: 2 });
  clock.pass(10 * minute);
  const silence = createBarrier();
  upstream.when({ path, method: "HEAD" }, { pauseAt: silence });
  const stale = await mirror.get(path);
  assert.equal(stale.headers["docker-content-digest"], old.digest);
  assert.equal(stale.headers["cache-status"], "entrepot; fwd=stale; detail=timeout");
  const content = upstream.arrived({ method: "GET", path: fresh.digest });
  silence.release();
  await (
    await content
  ).closed;
  await mirror.close();
  await using later = await startMirror(upstream.host, { now: clock.now });
  assert.equal((await later.get(path)).headers["docker-content-digest"], fresh.digest);
});

test("with the upstream down, a restarted mirror serves all that is cached, and starts at once", async () => {
  const clock = createClock();
  await using folder = await createTemporaryDirectory();
  await using upstream = await createUpstream();
  const image = upstream.addImage("library/test", "1", { platforms: 2, layers: 3 });
  const options = { now: clock.now, root: folder.path, upstream: { retries: 0 } };
  const paths = [
    ...[image.digest, ...image.manifests].map((digest) => `/v2/library/test/manifests/${digest}`),
    ...image.blobs.map((digest) => `/v2/library/test/blobs/${digest}`),
  ];
  {
    await using earlier = await startMirror(upstream.host, options);
    for (const each of [path, ...paths]) assert.equal((await earlier.get(each)).status, 200);
  }
  await upstream.down();
  clock.pass(24 * 60 * minute);
  await using mirror = await startMirror(upstream.host, options);
  assert.equal((await mirror.get("/readyz")).status, 200);
  assert.equal((await mirror.get("/v2/")).status, 200);
  await expectStale(mirror, image.digest, "detail=unreachable");
  for (const each of paths) {
    const { status, body, headers } = await mirror.get(each);
    assert.equal(status, 200);
    assert.ok(each.endsWith(digestOf(body)));
    assert.equal(headers["cache-status"], "entrepot; hit");
    const tail = await mirror.get(each, { headers: { range: "bytes=-10" } });
    if (each.includes("/blobs/")) assert.ok(tail.status === 206 && tail.body.equals(body.subarray(-10)));
  }
  const cold = await mirror.get("/v2/library/test/manifests/2");
  assert.equal(cold.status, 502);
  assert.match(cold.body.toString(), /"UNAVAILABLE"/);
});

test("one image that is broken takes nothing from the others, however often it is asked for", async () => {
  const clock = createClock();
  await using upstream = await createUpstream();
  await using mirror = await startMirror(upstream.host, { now: clock.now, upstream: { retries: 0 } });
  upstream.when({ path: "/v2/library/broken/manifests/1" }, { status: 500 });
  const ask = async (): Promise<void> => {
    assert.equal((await mirror.get("/v2/library/broken/manifests/1")).status, 502);
  };
  upstream.addImage("library/known", "1", { seed: "old" });
  assert.equal((await mirror.get("/v2/library/known/manifests/1")).status, 200);
  for (let count = 0; count < 20; count++) await ask();
  for (let number = 0; number < 10; number++) {
    upstream.addImage(`library/other-${number}`, "1");
    assert.equal((await mirror.get(`/v2/library/other-${number}/manifests/1`)).status, 200);
    for (let count = 0; count < 6; count++) await ask();
  }
  // Nor is what is known of another tag taken for as new as it gets.
  const { digest } = upstream.addImage("library/known", "1", { seed: "new" });
  clock.pass(10 * minute);
  await ask();
  assert.equal((await mirror.get("/v2/library/known/manifests/1")).headers["docker-content-digest"], digest);
});

test("an image that is cached in part is given out neither as a manifest nor as a blob", async () => {
  await using upstream = await createUpstream();
  const image = upstream.addImage("library/test", "1", { platforms: 2 });
  await using mirror = await startMirror(upstream.host, { upstream: { retries: 0 } });
  await mirror.get(path);
  const asBlob = `/v2/library/test/blobs/${image.manifests[0]}`;
  const manifest = await mirror.get(`/v2/library/test/manifests/${image.manifests[0]}`);
  // As registries do that keep both in one place.
  upstream.addBlob(manifest.body);
  const expectNone = async (): Promise<void> => {
    for (const options of [{}, { method: "HEAD" }, { headers: { range: "bytes=0-9" } }]) {
      assert.equal((await mirror.get(asBlob, options)).status, 404);
    }
  };
  await expectNone();
  await mirror.app.idle();
  await upstream.down();
  assert.equal((await mirror.get(`/v2/library/test/blobs/${image.blobs[0]}`)).status, 502);
  for (const method of ["GET", "HEAD"]) {
    assert.equal((await mirror.get(`/v2/library/test/manifests/${image.manifests[0]}`, { method })).status, 502);
  }
  await expectNone();
});
