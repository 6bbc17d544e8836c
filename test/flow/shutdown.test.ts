import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "../../src/concurrency/clock.ts";
import "../support/network.ts";
import { type Barrier, createBarrier } from "../support/barrier.ts";
import { pseudoRandomBytes } from "../support/content.ts";
import { BrokenBody, open, type OpenResponse, request } from "../support/http.ts";
import { startMirror } from "../support/mirror.ts";
import { startProcess } from "../support/process.ts";
import { inspectStorage } from "../support/storage.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";
import { createUpstream, type ScriptedUpstream } from "../support/upstream.ts";

const bytes = pseudoRandomBytes(300_000, "shutdown");

/** A blob of which the upstream sends a third, then nothing until `rest` is released. */
function addSlowBlob(upstream: ScriptedUpstream): { path: string; digest: string; rest: Barrier } {
  const digest = upstream.addBlob(bytes);
  const path = `/v2/library/test/blobs/${digest}`;
  const rest = createBarrier();
  upstream.when({ path }, { stallAfterBytes: 100_000, stallAt: rest });
  return { path, digest, rest };
}

async function begin(url: string): Promise<OpenResponse> {
  const response = await open(url);
  assert.ok((await response.take(50_000)).equals(bytes.subarray(0, 50_000)));
  return response;
}

async function expectRefused(url: string): Promise<void> {
  for (const path of ["/readyz", "/v2/"]) {
    // Reset is what becomes of a connection that came at the same moment.
    await assert.rejects(request(`${url}${path}`), { code: /^ECONN(?:REFUSED|RESET)$/ });
  }
}

const patient = { upstream: { idleTimeoutMs: 60_000 }, config: { shutdownTimeoutMs: 60_000 } };

test("a running answer ends whole, new connections are refused, and the blob is stored", async () => {
  await using upstream = await createUpstream();
  await using mirror = await startMirror(upstream.host, patient);
  const { path, digest, rest } = addSlowBlob(upstream);
  using response = await begin(`${mirror.url}${path}`);
  const closed = mirror.close();
  await expectRefused(mirror.url);
  rest.release();
  assert.ok((await response.rest()).equals(bytes.subarray(50_000)));
  await closed;
  assert.deepEqual((await inspectStorage(mirror.root)).blobs, [digest]);
});

test("a connection that was kept open is told that it is over", async () => {
  await using upstream = await createUpstream();
  await using mirror = await startMirror(upstream.host, patient);
  const image = upstream.addImage("library/test", "1");
  const path = "/v2/library/test/manifests/1";
  const answer = createBarrier();
  upstream.when({ path }, { pauseAt: answer });
  const asking = mirror.get(path, { headers: { connection: "keep-alive" } });
  await upstream.arrived({ path });
  const closed = mirror.close();
  answer.release();
  const { status, headers } = await asking;
  assert.deepEqual([status, headers["docker-content-digest"]], [200, image.digest]);
  assert.equal(headers["connection"], "close");
  await closed;
});

test("for a while after it is asked to stop it answers as before, and says that it is stopping", async () => {
  await using upstream = await createUpstream();
  const delay = createBarrier();
  const wait = (ms: number, signal: AbortSignal): Promise<void> =>
    ms === 7_000 ? delay.wait() : systemClock.wait(ms, signal);
  const config = { shutdownDelayMs: 7_000, shutdownTimeoutMs: 60_000 };
  await using mirror = await startMirror(upstream.host, { config, wait });
  const { digest } = upstream.addImage("library/test", "1");
  const keepAlive = { headers: { connection: "keep-alive" } };
  assert.equal((await mirror.get("/readyz", keepAlive)).headers["connection"], "keep-alive");
  const closed = mirror.close();
  const readiness = await mirror.get("/readyz", keepAlive);
  assert.deepEqual([readiness.status, String(readiness.body)], [503, "the process is stopping\n"]);
  const { status, headers } = await mirror.get("/v2/library/test/manifests/1", keepAlive);
  assert.deepEqual([status, headers["docker-content-digest"], headers["connection"]], [200, digest, "close"]);
  delay.release();
  await closed;
  await expectRefused(mirror.url);
});

test("a fill whose clients have left ends, and is stored, within the deadline", async () => {
  await using upstream = await createUpstream();
  await using mirror = await startMirror(upstream.host, patient);
  const { path, digest, rest } = addSlowBlob(upstream);
  const response = await begin(`${mirror.url}${path}`);
  response.destroy();
  const closed = mirror.close();
  await expectRefused(mirror.url);
  rest.release();
  await closed;
  assert.deepEqual((await inspectStorage(mirror.root)).blobs, [digest]);
});

for (const stays of [true, false]) {
  test(`a fill that outlives the deadline is dropped, whose client has ${stays ? "stayed" : "left"}`, async () => {
    await using upstream = await createUpstream();
    await using mirror = await startMirror(upstream.host, { ...patient, config: { shutdownTimeoutMs: 100 } });
    const { path } = addSlowBlob(upstream);
    const response = await begin(`${mirror.url}${path}`);
    if (!stays) response.destroy();
    const [asked] = upstream.requests;
    await mirror.close();
    if (stays) await assert.rejects(response.rest(), BrokenBody);
    await asked?.closed;
    assert.deepEqual((await inspectStorage(mirror.root)).files, ["format"]);
  });
}

test("a question without an answer does not outlive the deadline", async () => {
  await using upstream = await createUpstream();
  const { config } = { config: { shutdownTimeoutMs: 100 } };
  await using mirror = await startMirror(upstream.host, { config, upstream: { headerTimeoutMs: 60_000 } });
  upstream.when({}, { pauseAt: createBarrier() });
  const asking = assert.rejects(mirror.get("/v2/library/test/manifests/1"));
  await upstream.arrived({});
  await mirror.close();
  await asking;
});

// npm passes on the signal that a terminal has sent to the program, too.
for (const signals of [["SIGTERM"], ["SIGINT"], ["SIGINT", "SIGTERM"]] as const) {
  test(`the process ends with 0 on ${signals.join(" and ")}, after its running answers`, async () => {
    await using folder = await createTemporaryDirectory();
    await using upstream = await createUpstream();
    const { path, digest, rest } = addSlowBlob(upstream);
    const root = `${folder.path}/root`;
    await using mirror = await startProcess({ root, upstream: upstream.host });
    const url = await mirror.listening;
    using response = await begin(`${url}${path}`);
    for (const signal of signals) mirror.kill(signal);
    await mirror.logged("stopping");
    await expectRefused(url);
    rest.release();
    assert.ok((await response.rest()).equals(bytes.subarray(50_000)));
    const { code, stderr } = await mirror.ended;
    assert.deepEqual([code, stderr], [0, ""]);
    const stored = await inspectStorage(root);
    assert.deepEqual([stored.blobs, stored.temporary], [[digest], []]);
    assert.deepEqual(
      mirror.log().map(({ msg }) => msg),
      ["listening", "stopping", "request", "stopped"],
    );
  });
}

test("the process ends with 0 on SIGTERM, and cleanly, when a fill outlives the deadline", async () => {
  await using folder = await createTemporaryDirectory();
  await using upstream = await createUpstream();
  const { path } = addSlowBlob(upstream);
  const root = `${folder.path}/root`;
  await using mirror = await startProcess({ root, upstream: upstream.host, config: { shutdown_timeout: "100ms" } });
  using response = await begin(`${await mirror.listening}${path}`);
  mirror.kill("SIGTERM");
  await assert.rejects(response.rest(), BrokenBody);
  const { code, stderr } = await mirror.ended;
  assert.deepEqual([code, stderr], [0, ""]);
  assert.deepEqual((await inspectStorage(root)).files, ["format"]);
});
