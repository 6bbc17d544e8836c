import assert from "node:assert/strict";
import { test } from "node:test";
import { createMetrics, type Metrics } from "../../../src/observe/metrics.ts";

/** The values of one metric, by their labels as they are written. */
async function valuesOf(metrics: Metrics, name: string): Promise<Record<string, number>> {
  const values: Record<string, number> = {};
  for (const line of (await metrics.render()).split("\n")) {
    const [, found, labels = "", value] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
    if (found === name) values[labels] = Number(value);
  }
  return values;
}

test("every instrument is written with its name, help and type", async () => {
  const metrics = createMetrics("1.2.3");
  const text = await metrics.render();
  for (const [name, type] of [
    ["entrepot_build_info", "gauge"],
    ["entrepot_http_requests_total", "counter"],
    ["entrepot_http_request_duration_seconds", "histogram"],
    ["entrepot_http_response_body_bytes_total", "counter"],
    ["entrepot_http_requests_in_flight", "gauge"],
    ["entrepot_cache_requests_total", "counter"],
    ["entrepot_upstream_requests_total", "counter"],
    ["entrepot_upstream_request_duration_seconds", "histogram"],
    ["entrepot_fills_active", "gauge"],
    ["entrepot_fills_total", "counter"],
    ["entrepot_fill_bytes_total", "counter"],
    ["entrepot_fill_resumes_total", "counter"],
    ["entrepot_storage_errors_total", "counter"],
    ["process_resident_memory_bytes", "gauge"],
    ["nodejs_eventloop_lag_seconds", "gauge"],
  ]) {
    assert.match(text, new RegExp(`^# TYPE ${name} ${type}$`, "m"));
    assert.match(text, new RegExp(`^# HELP ${name} .+$`, "m"));
  }
  assert.deepEqual(await valuesOf(metrics, "entrepot_build_info"), { 'version="1.2.3"': 1 });
  assert.match(metrics.contentType, /^text\/plain; version=0\.0\.4/);
});

test("what is counted is what is written", async () => {
  const metrics = createMetrics("1.2.3");
  metrics.requests.inc({ endpoint: "blob", method: "GET", status: 206 });
  metrics.requests.inc({ endpoint: "blob", method: "GET", status: 206 });
  metrics.cacheRequests.inc({ namespace: "docker.io", kind: "blob", result: "hit" });
  metrics.fillsActive.inc({ namespace: "other" });
  metrics.fillsActive.dec({ namespace: "other" });
  metrics.storageErrors.inc({ operation: "put", code: "ENOSPC" });
  assert.deepEqual(await valuesOf(metrics, "entrepot_http_requests_total"), {
    'endpoint="blob",method="GET",status="206"': 2,
  });
  assert.deepEqual(await valuesOf(metrics, "entrepot_cache_requests_total"), {
    'namespace="docker.io",kind="blob",result="hit"': 1,
  });
  assert.deepEqual(await valuesOf(metrics, "entrepot_fills_active"), { 'namespace="other"': 0 });
  assert.deepEqual(await valuesOf(metrics, "entrepot_storage_errors_total"), { 'operation="put",code="ENOSPC"': 1 });
});

test("two sets share nothing", async () => {
  const [one, other] = [createMetrics("1"), createMetrics("2")];
  one.requests.inc({ endpoint: "blob", method: "GET", status: 200 });
  assert.deepEqual(await valuesOf(other, "entrepot_http_requests_total"), {});
  assert.deepEqual(await valuesOf(other, "entrepot_build_info"), { 'version="2"': 1 });
});

test("a label that an instrument does not have is refused, so that none slips in", () => {
  const metrics = createMetrics("1");
  const labels = { endpoint: "blob", repository: "library/alpine" } as unknown as { endpoint: string };
  assert.throws(() => metrics.requestSeconds.observe(labels, 1));
});
