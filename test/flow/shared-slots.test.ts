/* Who is greedy or dead slow leaves the slots of an upstream's limiter to others. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer as createProxy } from "node:http";
import { createServer, type ServerOptions } from "node:https";
import { type AddressInfo, connect, type Socket } from "node:net";
import { test } from "node:test";
import { digestOf } from "../../src/oci/digest.ts";
import { createBarrier } from "../support/barrier.ts";
import { until } from "../support/event-loop.ts";
import { open, request } from "../support/http.ts";
import { quickDefaults, startMirror } from "../support/mirror.ts";
import { createUpstream } from "../support/upstream.ts";
import { certificate } from "../unit/upstream/certificate.ts";

const honest = Buffer.from("an honest blob");

/**
 * Registries behind a proxy, so that names of the public DNS lead here: one at each name of example.org has one blob,
 * all at names of example.com send a byte of whatever they are asked for, and then nothing.
 */
async function startRegistries(): Promise<{ readonly proxy: string } & AsyncDisposable> {
  const sockets = new Set<Socket>();
  const registry = createServer(certificate as ServerOptions, (incoming, response) => {
    if (incoming.headers.host?.endsWith("example.org")) {
      response.end(honest);
      return;
    }
    response.writeHead(200, { "content-length": 1_000_000 });
    response.write("x");
  }).listen(0, "127.0.0.1");
  await once(registry, "listening");
  const { port } = registry.address() as AddressInfo;
  const proxy = createProxy().listen(0, "127.0.0.1");
  proxy.on("connect", (_incoming, client: Socket) => {
    const server = connect(port, "127.0.0.1");
    for (const [from, to] of [
      [client, server],
      [server, client],
    ] as const) {
      sockets.add(from);
      from.on("error", () => undefined).on("close", () => to.destroy());
      from.pipe(to);
    }
    client.write("HTTP/1.1 200 OK\r\n\r\n");
  });
  await once(proxy, "listening");
  return {
    proxy: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      registry.closeAllConnections();
      await Promise.all([once(registry.close(), "close"), once(proxy.close(), "close")]);
    },
  };
}

test("a registry that nobody configured holds a share of their slots, under however many names", async () => {
  await using registries = await startRegistries();
  await using mirror = await startMirror("127.0.0.1:1", {
    ca: certificate.cert,
    config: {
      upstreamDefaults: { ...quickDefaults, maxConnections: 8, idleTimeoutMs: 600_000 },
      proxyEnvironment: { http: undefined, https: registries.proxy, noProxy: undefined },
    },
  });
  const leave = new AbortController();
  const greedy = Array.from({ length: 32 }, async (_, number) => {
    const digest = digestOf(Buffer.from(String(number)));
    const path = `/v2/library/x/blobs/${digest}?ns=host-${number % 4}.example.com`;
    return request(`${mirror.url}${path}`, { target: path, signal: leave.signal }).catch(() => undefined);
  });
  await until(async () => (await mirror.metric("entrepot_fills_active", { namespace: "other" })) === greedy.length);
  const path = `/v2/library/x/blobs/${digestOf(honest)}?ns=registry.example.org`;
  const answer = await mirror.get(path, { signal: AbortSignal.timeout(10_000) });
  assert.deepEqual(answer.body, honest);
  leave.abort();
  await Promise.all(greedy);
});

test("clients that read nothing of what is not stored lose their places, and with them the slots", async (context) => {
  const laggards: AbortController[] = [];
  const timeout = AbortSignal.timeout.bind(AbortSignal);
  context.mock.method(AbortSignal, "timeout", (ms: number) => {
    if (ms !== 10_000) return timeout(ms);
    laggards.push(new AbortController());
    return laggards.at(-1)?.signal;
  });
  await using upstream = await createUpstream();
  await using mirror = await startMirror(upstream.host, {
    storage: { maxObjectBytes: 1_000_000 },
    upstream: { maxConnections: 4, idleTimeoutMs: 600_000 },
  });
  const stuck = await Promise.all(
    [1, 2, 3].map((seed) => {
      // More than the system's buffers take.
      const digest = upstream.addLargeBlob(32 * 1024 * 1024, seed);
      return open(`${mirror.url}/v2/library/large/blobs/${digest}`);
    }),
  );
  const path = `/v2/library/small/blobs/${upstream.addBlob(honest)}`;
  const waiting = mirror.get(path, { signal: AbortSignal.timeout(15_000) });
  await until(() => laggards.length >= stuck.length);
  for (const laggard of laggards) laggard.abort(new Error("its time is up"));
  assert.deepEqual((await waiting).body, honest);
  for (const client of stuck) client.destroy();
});

test("questions whose askers have left before they were sent are never sent, of whatever kind", async () => {
  await using upstream = await createUpstream();
  const barrier = createBarrier();
  upstream.when({ path: /\/library\/held\// }, { pauseAt: barrier });
  await using mirror = await startMirror(upstream.host, { upstream: { maxConnections: 2, headerTimeoutMs: 600_000 } });
  const inFlight = (): Promise<number> => mirror.metric("entrepot_http_requests_in_flight");
  const held = ["1", "2"].map((name) => mirror.get(`/v2/library/held/manifests/${name}`));
  held.push(mirror.get(`/v2/library/held/blobs/${digestOf(honest)}`));
  await barrier.arrivals(2);
  const leave = new AbortController();
  const digests = Array.from({ length: 20 }, (_, number) => digestOf(Buffer.from(String(number))));
  const abandoned = digests.flatMap((digest, number) =>
    [
      ["GET", `blobs/${digest}`],
      ["HEAD", `blobs/${digest}`],
      ["GET", `manifests/${digest}`],
      ["HEAD", `manifests/${digest}`],
      ["GET", `manifests/tag-${number}`],
      ["HEAD", `manifests/tag-${number}`],
      ["GET", `tags/list?n=${number + 1}`],
      ["GET", `referrers/${digest}`],
    ].map(([method, resource]) =>
      mirror
        .get(`/v2/library/random/${resource}`, { method: method ?? "", signal: leave.signal })
        .catch(() => undefined),
    ),
  );
  await until(async () => (await inFlight()) === held.length + abandoned.length + 1);
  leave.abort();
  await Promise.all(abandoned);
  await until(async () => (await inFlight()) === held.length + 1);
  // One that is asked for again waits anew, and is answered.
  const again = mirror.get(`/v2/library/random/blobs/${digests[0]}`);
  barrier.release();
  await Promise.all(held);
  assert.equal((await again).status, 404);
  assert.equal(upstream.count({ path: /random/ }), 1);
  assert.deepEqual(
    mirror.log().filter(({ level }) => level === "error" || level === "warn"),
    [],
  );
});

test("more questions than can wait are refused at once, with the time to come again", async () => {
  await using upstream = await createUpstream();
  const barrier = createBarrier();
  upstream.when({ path: /\/held\// }, { pauseAt: barrier });
  await using mirror = await startMirror(upstream.host, { upstream: { maxConnections: 1, headerTimeoutMs: 600_000 } });
  const leave = new AbortController();
  const greedy = Array.from({ length: 1_100 }, async (_, number) =>
    mirror.get(`/v2/library/held/manifests/${number}`, { signal: leave.signal }).catch(() => undefined),
  );
  // One is under way, and 1,024 may wait.
  const refused = await Promise.race(greedy);
  assert.equal(refused?.status, 503);
  assert.equal(refused?.headers["retry-after"], "5");
  assert.match(refused?.body.toString() ?? "", /TOOMANYREQUESTS/);
  const other = mirror.get(`/v2/library/other/blobs/${upstream.addBlob(honest)}`);
  leave.abort();
  barrier.release();
  assert.deepEqual((await other).body, honest, "another image's place is not taken by them");
  await Promise.all(greedy);
});
