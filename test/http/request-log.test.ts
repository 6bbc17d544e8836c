/* What is recorded of requests: metrics and the log. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { test } from "node:test";
import type { Facts, Reply } from "../../src/http/reply.ts";
import { createMetrics } from "../../src/observe/metrics.ts";
import { OciError } from "../../src/oci/errors.ts";
import type { CacheStatus } from "../../src/registry/registry.ts";
import { StoreError } from "../../src/store/object-store.ts";
import { UpstreamError } from "../../src/upstream/upstream.ts";
import { until } from "../support/event-loop.ts";
import { send, start, type TestServer } from "./test-server.ts";

/** Answers as the test says, with the facts of a pull. */
async function startPull(answer: (facts: Facts) => Reply): Promise<TestServer> {
  return start(async (_request, facts) => {
    Object.assign(facts, { endpoint: "blob", namespace: "docker.io", label: "docker.io" });
    return answer(facts);
  });
}

async function ask(server: TestServer, path?: string, method = "GET"): Promise<void> {
  const response = await send(server.port, { method, ...(path !== undefined && { path }) });
  response.resume();
  await once(response, "end");
}

async function sample(server: TestServer, name: string): Promise<string | undefined> {
  const text = await server.metrics.render();
  return text
    .split("\n")
    .find((line) => line.startsWith(name))
    ?.split(" ")
    .at(-1);
}

test("each way in which the cache answers has its word", async () => {
  for (const [cache, word] of [
    [{ hit: true }, "hit"],
    [{ hit: false, forward: "uri-miss" }, "miss"],
    [{ hit: false, forward: "uri-miss", collapsed: true }, "joined"],
    [{ hit: false, forward: "stale" }, "revalidated"],
    [{ hit: false, forward: "bypass" }, "bypass"],
    [{ hit: false, forward: "stale", staleReason: "timeout" }, "stale"],
    [{ hit: true, staleReason: "timeout" }, "stale"],
  ] as readonly (readonly [CacheStatus, string])[]) {
    await using server = await startPull((facts) => {
      facts.cache = cache;
      return { status: 200, headers: { "Content-Length": 3 }, body: Buffer.from("all") };
    });
    await ask(server);
    await until(() => server.log().length === 1);
    assert.equal(server.log()[0]?.["cache"], word);
    const labels = `{namespace="docker.io",kind="blob",result="${word}"}`;
    assert.equal(await sample(server, `entrepot_cache_requests_total${labels}`), "1", word);
    assert.equal(await sample(server, 'entrepot_http_response_body_bytes_total{endpoint="blob"}'), "3");
    assert.equal(await sample(server, "entrepot_http_requests_in_flight"), "0");
  }
});

test("what fails is a warning, with its reason; what a client may ask for in vain is not", async () => {
  const upstream = new UpstreamError("quay.io", "timeout", "no answer");
  for (const [error, status, level, told] of [
    [new OciError("NAME_UNKNOWN", "no such name"), 404, 30, "no such name"],
    [upstream, 404, 40, upstream.message],
    [undefined, 503, 40, undefined],
    [new StoreError("a disk", undefined), 200, 40, "StoreError: a disk"],
    [undefined, 200, 30, undefined],
  ] as const) {
    await using server = await startPull((facts) => {
      facts.error = error;
      return { status, headers: {} };
    });
    await ask(server);
    await until(() => server.log().length === 1);
    const [line] = server.log();
    assert.equal(line?.["level"], level, String(error));
    const reason = line?.["error"];
    if (told === undefined) assert.equal(reason, undefined);
    else assert.ok(JSON.stringify(reason).includes(told.replace("StoreError: ", "")), JSON.stringify(reason));
  }
});

test("a probe that fails is logged", async () => {
  const health = { reasonsAgainst: () => ["it stops"], details: async () => ({}) };
  await using server = await start(undefined, {
    probes: { admin: false, metrics: createMetrics("1"), health },
  });
  await ask(server, "/readyz");
  await until(() => server.log().length > 0);
  const [line] = server.log();
  assert.deepEqual([line?.["endpoint"], line?.["status"], line?.["level"]], ["readyz", 503, 40]);
});

test("a client's ping that goes well is not logged, as the machines of a cluster send one every few seconds", async () => {
  let pings = 0;
  await using server = await start(async (_request, facts) => {
    facts.endpoint = "base";
    return { status: pings++ === 0 ? 200 : 404, headers: { "Content-Length": 0 } };
  });
  await ask(server, "/v2/");
  await ask(server, "/v2/");
  await until(() => server.log().length > 0);
  assert.deepEqual(
    server.log().map(({ endpoint, status }) => [endpoint, status]),
    [["base", 404]],
  );
});

test("probes that go well are not logged, and a method that nobody knows is no label", async () => {
  await using server = await startPull(() => ({ status: 405, headers: {} }));
  await ask(server, "/healthz");
  await ask(server, "/v2/", "PROPFIND");
  await until(() => server.log().length > 0);
  assert.deepEqual(
    server.log().map(({ method }) => method),
    ["PROPFIND"],
  );
  assert.equal(await sample(server, 'entrepot_http_requests_total{endpoint="healthz",method="GET",status="200"}'), "1");
  assert.equal(await sample(server, 'entrepot_http_requests_total{endpoint="blob",method="other",status="405"}'), "1");
});
