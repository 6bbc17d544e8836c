import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import { test, type TestContext } from "node:test";
import type { NameLookup } from "../../../src/upstream/addresses.ts";
import { createDispatcher } from "../../../src/upstream/dispatcher.ts";
import { publicGuard } from "../../../src/upstream/guard.ts";
import { UpstreamError } from "../../../src/upstream/upstream.ts";
import { certificate } from "./certificate.ts";
import {
  fiveSeconds,
  answer,
  answerIndex,
  failure,
  type Handler,
  anyAsk,
  repository,
  someDigest,
  startServer,
  startUpstream,
  tag,
} from "./scripted.ts";

interface Proxy {
  readonly url: string;
  /** `CONNECT host:port` or `METHOD url`, in order. */
  readonly asked: string[];
  readonly authorizations: (string | undefined)[];
}

/** A proxy that leads every tunnel to one server, or answers with a status, or (0) not at all. */
async function startProxy(context: TestContext, target: string, status: number = 200): Promise<Proxy> {
  const asked: string[] = [];
  const authorizations: (string | undefined)[] = [];
  const sockets = new Set<Duplex>();
  const server = createServer((request, response) => {
    asked.push(`${request.method} ${request.url}`);
    authorizations.push(request.headers["proxy-authorization"]);
    answerIndex(response);
  });
  server.on("connection", (socket: Socket) => sockets.add(socket));
  server.on("connect", (request, socket) => {
    asked.push(`CONNECT ${request.url}`);
    authorizations.push(request.headers["proxy-authorization"]);
    if (status !== 200) {
      socket.end(status === 0 ? undefined : `HTTP/1.1 ${status} No\r\ncontent-length: 0\r\n\r\n`);
      return;
    }
    const [hostname = "", port] = target.split(":");
    const tunnel = connect(Number(port), hostname, () => socket.write("HTTP/1.1 200 OK\r\n\r\n"));
    for (const end of [socket, tunnel]) {
      sockets.add(end);
      end.on("error", () => {});
    }
    socket.pipe(tunnel).pipe(socket);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  context.after(() => {
    for (const socket of sockets) {
      socket.destroy();
    }
    server.close();
  });
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked, authorizations };
}

const noLookup: NameLookup = (hostname, _options, callback) => callback(new Error(`looked up: ${hostname}`), []);
const toLoopback: NameLookup = (_hostname, _options, callback) => callback(null, [{ address: "127.0.0.1", family: 4 }]);

test("https goes through a tunnel, with the name looked up there and the certificate checked here", async (context) => {
  const server = await startServer(context, (_request, response) => answerIndex(response), certificate);
  const proxy = await startProxy(context, server.host);
  const withUser = proxy.url.replace("http://", "http://pr%40xy:s3cret@");
  const options = { tls: true, ca: certificate.cert, lookup: noLookup, proxy: { https: withUser } };
  const { upstream } = startUpstream(context, "registry.example.com:8443", options);
  for (let round = 0; round < 4; round++) {
    assert.ok(await upstream.manifest(repository, tag, anyAsk()));
  }
  // Used again; a second one, as a request ends some ticks before its connection is free.
  assert.ok(proxy.asked.length <= 2);
  assert.deepEqual(new Set(proxy.asked), new Set(["CONNECT registry.example.com:8443"]));
  const authorization = `Basic ${Buffer.from("pr@xy:s3cret").toString("base64")}`;
  assert.deepEqual(new Set(proxy.authorizations), new Set([authorization]));
  assert.ok(server.requests.every(({ headers }) => !("proxy-authorization" in headers)));
  const wrongName = startUpstream(context, "registry.other.example", options);
  await assert.rejects(wrongName.upstream.manifest(repository, tag, anyAsk()), failure("unreachable", /ALTNAME/));
});

test("plain http is forwarded; without a proxy of its own https takes the same one", async (context) => {
  const server = await startServer(context, (_request, response) => answerIndex(response), certificate);
  const proxy = await startProxy(context, server.host);
  const options = { ca: certificate.cert, lookup: noLookup, proxy: { http: proxy.url } };
  const plain = startUpstream(context, "registry.example.com:5000", { ...options, tls: false });
  assert.ok(await plain.upstream.manifest(repository, tag, anyAsk()));
  const secure = startUpstream(context, "registry.example.com", { ...options, tls: true });
  assert.ok(await secure.upstream.manifest(repository, tag, anyAsk()));
  assert.deepEqual(proxy.asked, [
    "GET http://registry.example.com:5000/v2/library/alpine/manifests/latest",
    "CONNECT registry.example.com:443",
  ]);
});

test("what NO_PROXY names is reached directly; the process's environment counts for nothing", async (context) => {
  const server = await startServer(context, (_request, response) => answerIndex(response));
  const proxy = await startProxy(context, server.host);
  const port = server.host.replace(/^.*:/, "");
  for (const [name, value] of [
    ["NO_PROXY", "*"],
    ["HTTP_PROXY", "http://127.0.0.1:1"],
  ] as const) {
    const before = process.env[name];
    context.after(() => {
      if (before === undefined) {
        delete process.env[name];
      } else {
        process.env[name] = before;
      }
    });
    process.env[name] = value;
  }
  const secureOnly = { lookup: toLoopback, proxy: { https: proxy.url } };
  assert.ok(await startUpstream(context, server.host, secureOnly).upstream.manifest(repository, tag, anyAsk()));
  assert.deepEqual(proxy.asked, []);
  for (const [noProxy, direct] of [
    ["", false],
    [undefined, false],
    ["other.example.com", false],
    ["registry.example.com", true],
    [".example.com, other.org", true],
    ["*", true],
    [`registry.example.com:${port}`, true],
    ["registry.example.com:1", false],
  ] as const) {
    proxy.asked.length = 0;
    const settings = { http: proxy.url, ...(noProxy === undefined ? {} : { noProxy }) };
    const { upstream } = startUpstream(context, `registry.example.com:${port}`, {
      lookup: toLoopback,
      proxy: settings,
    });
    assert.ok(await upstream.manifest(repository, tag, anyAsk()));
    assert.equal(proxy.asked.length === 0, direct, String(noProxy));
  }
});

test("headers of 100 KiB come through a tunnel, and from a proxy that forwards", async (context) => {
  const handler: Handler = (_request, response) => answerIndex(response, { "x-policy": "a".repeat(100 * 1024) });
  const secure = await startServer(context, handler, certificate);
  const tunnel = await startProxy(context, secure.host);
  const tls = { tls: true, ca: certificate.cert, proxy: { https: tunnel.url } };
  assert.ok(await startUpstream(context, "registry.example.com", tls).upstream.manifest(repository, tag, anyAsk()));
  // What it is asked to forward, this one answers itself.
  const plain = await startServer(context, handler);
  const http = { proxy: { http: plain.url } };
  assert.ok(await startUpstream(context, "registry.example.com", http).upstream.manifest(repository, tag, anyAsk()));
});

test("tunnels to many hosts are not all kept", async (context) => {
  const server = await startServer(context, (_request, response) => answerIndex(response), certificate);
  const proxy = await startProxy(context, server.host);
  const settings = { https: proxy.url };
  const dispatcher = createDispatcher({ timeouts: fiveSeconds, acceptInvalidCerts: true, proxy: settings });
  context.after(() => dispatcher.destroy());
  for (let host = 0; host < 200; host++) {
    const { body } = await dispatcher.request({ origin: `https://r${host}.example.com`, path: "/", method: "GET" });
    await body.dump();
  }
  assert.equal(proxy.asked.length, 200);
  assert.ok(server.peak <= 100, String(server.peak));
});

for (const [name, status] of [
  ["refuses (403)", 403],
  ["wants to know who asks (407)", 407],
  ["hangs up", 0],
] as const) {
  test(`a proxy that ${name} makes the upstream unreachable; its password is not told`, async (context) => {
    const proxy = await startProxy(context, "", status);
    const https = proxy.url.replace("http://", "http://user:s3cret@");
    const { upstream } = startUpstream(context, "registry.example.com", { tls: true, proxy: { https } });
    const error = await upstream.manifest(repository, tag, anyAsk()).catch((reason: unknown) => reason);
    assert.ok(error instanceof UpstreamError);
    assert.equal(error.failure, "unreachable");
    for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
      assert.doesNotMatch(cause.message, /s3cret/);
    }
  });
}

test("the time-out for headers holds for a tunnel that does not come", async (context) => {
  const silent = createServer().on("connect", () => {});
  silent.listen(0, "127.0.0.1");
  await once(silent, "listening");
  context.after(() => {
    silent.closeAllConnections();
    silent.close();
  });
  const https = `http://127.0.0.1:${(silent.address() as AddressInfo).port}`;
  const options = { tls: true, headerTimeoutMs: 50, connectTimeoutMs: 50, proxy: { https } };
  const { upstream } = startUpstream(context, "registry.example.com", options);
  await assert.rejects(upstream.manifest(repository, tag, anyAsk()), failure("timeout"));
});

for (const [host, tls] of [
  ["registry.example.com:8443", true],
  ["registry.example.com", false],
  ["8.8.8.8", true],
  ["[::1]", true],
  ["localhost", true],
  ["registry.corp.internal", true],
] as const) {
  test(`through a proxy too, an unlisted namespace may not be ${tls ? "https" : "http"}://${host}`, async (context) => {
    const proxy = await startProxy(context, "");
    const dispatcher = createDispatcher({
      guard: publicGuard,
      acceptInvalidCerts: false,
      timeouts: fiveSeconds,
      proxy: { http: proxy.url, https: proxy.url },
    });
    const { upstream } = startUpstream(context, host, { tls, dispatcher });
    await assert.rejects(upstream.manifest(repository, tag, anyAsk()), failure("refused"));
    assert.deepEqual(proxy.asked, []);
  });
}

for (const location of ["https://10.0.0.1/x", "https://[::ffff:7f00:1]/x", "https://metadata.google.internal/x"]) {
  test(`through a proxy too, an upstream with a public name may not redirect to ${location}`, async (context) => {
    const server = await startServer(
      context,
      (_request, response) => answer(response, 307, "", { location }),
      certificate,
    );
    const proxy = await startProxy(context, server.host);
    const options = { tls: true, ca: certificate.cert, proxy: { https: proxy.url } };
    const { upstream } = startUpstream(context, "registry.example.com", options);
    await assert.rejects(upstream.statBlob(repository, someDigest, anyAsk()), failure("refused"));
    assert.deepEqual(proxy.asked, ["CONNECT registry.example.com:443"]);
  });
}
