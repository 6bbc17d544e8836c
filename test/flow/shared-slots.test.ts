/* Who is greedy or dead slow leaves the slots of an upstream's limiter to others. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer as createProxy } from "node:http";
import { createServer, type ServerOptions } from "node:https";
import { type AddressInfo, connect, type Socket } from "node:net";
import { test } from "node:test";
import { digestOf } from "../../src/oci/digest.ts";
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
