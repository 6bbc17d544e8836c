import assert from "node:assert/strict";
import { test } from "node:test";
import { probe, type ProbeOptions } from "../../src/http/probes.ts";
import type { Reply } from "../../src/http/reply.ts";
import { createMetrics } from "../../src/observe/metrics.ts";
import { ask, createFakeRegistry } from "./fake-registry.ts";

const metrics = createMetrics("1.2.3");

function options(reasons: readonly string[], admin = true): ProbeOptions {
  return {
    admin,
    metrics,
    health: { reasonsAgainst: () => reasons, details: async () => ({ version: "1.2.3", fills: 0 }) },
  };
}

async function answer(target: string, probes: ProbeOptions): Promise<Reply & { text: string; endpoint: string }> {
  const found = await probe(target, probes);
  assert.ok(found !== undefined, `${target} is no probe`);
  const { reply, endpoint } = found;
  assert.ok(reply.body instanceof Uint8Array);
  assert.equal(reply.headers["Content-Length"], reply.body.length);
  return { ...reply, endpoint, text: Buffer.from(reply.body).toString() };
}

test("/v2/ is 200 without asking anybody, under every prefix, for GET and HEAD", async () => {
  for (const target of [
    "/v2/",
    "/v2",
    "/v2/?ns=quay.io",
    "/v2/v2/",
    "/docker.io/v2/",
    "/quay.io/v2/",
    "/any/prefix/v2/",
  ]) {
    for (const method of ["GET", "HEAD"]) {
      const registry = createFakeRegistry();
      const seen = await ask(registry, target, { method });
      assert.equal(seen.status, 200, target);
      assert.deepEqual(seen.headers, {
        "content-type": "application/json",
        "content-length": "2",
        "docker-distribution-api-version": "registry/2.0",
        "x-content-type-options": "nosniff",
      });
      assert.equal(seen.body.toString(), "{}");
      assert.equal(seen.facts.endpoint, "base");
      assert.deepEqual(registry.asked, []);
    }
  }
});

test("/ and /healthz are 200 as long as the process answers", async () => {
  for (const reasons of [[], ["the process is stopping"]]) {
    const root = await answer("/", options(reasons));
    assert.deepEqual([root.status, root.text, root.endpoint], [200, "", "root"]);
    const health = await answer("/healthz?x=1", options(reasons));
    assert.deepEqual([health.status, health.text, health.endpoint], [200, "ok\n", "healthz"]);
  }
});

test("/readyz says whether, and why not", async () => {
  const ready = await answer("/readyz", options([]));
  assert.deepEqual([ready.status, ready.text], [200, "ready\n"]);
  const not = await answer("/readyz", options(["the process is stopping", "it is told to"]));
  assert.deepEqual([not.status, not.text], [503, "the process is stopping\nit is told to\n"]);
});

test("details are for the administration's listener only", async () => {
  const details = await answer("/readyz?verbose", options(["the process is stopping"]));
  assert.equal(details.status, 503);
  assert.deepEqual(JSON.parse(details.text), {
    ready: false,
    reasons: ["the process is stopping"],
    version: "1.2.3",
    fills: 0,
  });
  assert.deepEqual(JSON.parse((await answer("/readyz?verbose=1", options([]))).text), {
    ready: true,
    reasons: [],
    version: "1.2.3",
    fills: 0,
  });
  assert.equal((await answer("/readyz?verbose", options([], false))).text, "ready\n");
});

test("/metrics is Prometheus' text, and only there for the administration", async () => {
  const found = await answer("/metrics", options([]));
  assert.equal(found.status, 200);
  assert.match(String(found.headers["Content-Type"]), /^text\/plain; version=0\.0\.4/);
  assert.match(found.text, /^entrepot_build_info\{version="1\.2\.3"\} 1$/m);
  assert.equal(await probe("/metrics", options([], false)), undefined);
});

test("every other path is none", async () => {
  for (const target of ["/v2/", "/readyz/", "/healthz/x", "/metrics/", "//", "", "/READYZ", "*"]) {
    assert.equal(await probe(target, options([])), undefined, target);
  }
});
