/* The settings of upstreams as they reach the wire. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { type IncomingMessage, request, type RequestListener, type ServerResponse } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import type { TLSSocket } from "node:tls";
import { test, type TestContext } from "node:test";
import "../support/network.ts";
import { NamePattern } from "../../src/oci/name-pattern.ts";
import { parseRepository } from "../../src/oci/reference.ts";
import type { UpstreamConfig } from "../../src/config/upstream-schema.ts";
import { createListener } from "../support/listener.ts";
import { type MirrorOptions, plainMirror, startMirror } from "../support/mirror.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";
import { createUpstream, type ScriptedUpstream } from "../support/upstream.ts";
import { certificate } from "../unit/upstream/certificate.ts";

const manifest = "/v2/library/app/manifests/1";
const pair = { username: "mirror", password: "correct" };

/** An upstream that has one image, `library/app:1`. */
async function createStocked(): Promise<ScriptedUpstream> {
  const upstream = await createUpstream();
  upstream.addImage("library/app", "1");
  return upstream;
}

/** The status that a fresh mirror with these settings answers for a path. */
async function pull(host: string, settings: Partial<UpstreamConfig>, path = manifest): Promise<number> {
  await using mirror = await startMirror(host, { upstream: settings });
  return (await mirror.get(path)).status;
}

/** Passes each request on to a host, as a reverse or forward proxy does. */
function passOn(host: string): RequestListener {
  return (incoming: IncomingMessage, response: ServerResponse) => {
    const { pathname, search } = new URL(incoming.url ?? "/", "http://any.example");
    const [hostname, port] = host.split(":");
    const { method, headers } = incoming;
    const outgoing = request({ hostname, port, method, headers, path: `${pathname}${search}`, agent: false });
    outgoing.on("response", (answer) => {
      response.writeHead(answer.statusCode ?? 500, answer.headers);
      answer.pipe(response);
    });
    incoming.pipe(outgoing);
  };
}

test("a password, a password's file and a Docker configuration are what the upstream sees", async () => {
  await using upstream = await createStocked();
  await using folder = await createTemporaryDirectory();
  upstream.requireBasic(pair);
  const passwordFile = `${folder.path}/password`;
  const path = `${folder.path}/config.json`;
  const auth = Buffer.from("mirror:correct").toString("base64");
  await writeFile(passwordFile, "correct\n");
  await writeFile(path, JSON.stringify({ auths: { [upstream.host]: { auth } } }));
  assert.equal(await pull(upstream.host, {}), 404);
  assert.equal(await pull(upstream.host, { accounts: [{ kind: "password", ...pair, password: "wrong" }] }), 404);
  assert.equal(await pull(upstream.host, { accounts: [{ kind: "password", ...pair }] }), 200);
  assert.equal(
    await pull(upstream.host, { accounts: [{ kind: "password-file", username: "mirror", passwordFile }] }),
    200,
  );
  assert.equal(await pull(upstream.host, { accounts: [{ kind: "docker-config", path }] }), 200);
});

test("credentials for some repositories are for these alone, and may be none", async () => {
  await using upstream = await createUpstream();
  for (const repository of ["team/app", "team/open", "other/app"]) upstream.addImage(repository, "1");
  upstream.requireBasic(pair);
  const right: UpstreamConfig["accounts"] = [{ kind: "password", ...pair }];
  const only = { repositoryCredentials: [{ match: new NamePattern("team/*"), accounts: right }] };
  assert.equal(await pull(upstream.host, only, "/v2/team/app/manifests/1"), 200);
  assert.equal(await pull(upstream.host, only, "/v2/other/app/manifests/1"), 404);
  const but = { accounts: right, repositoryCredentials: [{ match: new NamePattern("team/open"), accounts: [] }] };
  assert.equal(await pull(upstream.host, but, "/v2/team/app/manifests/1"), 200);
  assert.equal(await pull(upstream.host, but, "/v2/team/open/manifests/1"), 404);
});

test("of several accounts, the one that has more left is used", async () => {
  await using upstream = await createUpstream();
  for (const tag of ["1", "2", "3", "4"]) upstream.addImage("library/app", tag);
  upstream.when({}, { headers: { "ratelimit-limit": "100;w=3600", "ratelimit-remaining": "10;w=3600" } });
  upstream.requireBasic(pair);
  const accounts: UpstreamConfig["accounts"] = [
    { kind: "password", ...pair },
    { kind: "password", username: "second", password: "correct" },
  ];
  await using mirror = await startMirror(upstream.host, { upstream: { accounts } });
  for (const tag of ["1", "2", "3", "4"]) await mirror.get(`/v2/library/app/manifests/${tag}`);
  const users = upstream.requests.map(({ headers }) =>
    Buffer.from(headers.authorization?.replace("Basic ", "") ?? "", "base64").toString(),
  );
  assert.ok(users.includes("mirror:correct"), users.join(" "));
  assert.ok(users.includes("second:correct"), users.join(" "));
});

test("headers and the prefix of the path are sent", async () => {
  await using upstream = await createUpstream();
  upstream.addImage("cache/hub/library/app", "1");
  assert.equal(
    await pull(upstream.host, { pathPrefix: parseRepository("cache/hub"), headers: { "X-Tenant": "one" } }),
    200,
  );
  assert.ok(upstream.requests.length > 0);
  for (const { headers, path } of upstream.requests) {
    assert.equal(headers["x-tenant"], "one");
    assert.match(path, /^\/v2\/(?:cache\/hub\/library\/app\/manifests\/.*)?$/);
  }
});

test("mirrors come first, in order, each with its own settings; the upstream comes last", async () => {
  await using upstream = await createStocked();
  await using near = await createUpstream();
  near.addImage("cache/library/app", "1");
  const gone = await createListener(() => undefined);
  await gone.down();
  const mirrors = [
    { ...plainMirror, host: gone.host },
    { ...plainMirror, host: near.host, pathPrefix: parseRepository("cache"), headers: { "x-near": "1" } },
  ];
  const accounts: UpstreamConfig["accounts"] = [{ kind: "password", ...pair }];
  assert.equal(await pull(upstream.host, { mirrors, accounts, headers: { "x-far": "1" } }), 200);
  assert.equal(upstream.requests.length, 0);
  assert.ok(near.requests.length > 0);
  for (const { headers } of near.requests) {
    assert.deepEqual([headers["x-near"], headers["x-far"], headers.authorization], ["1", undefined, undefined]);
  }
  await near.down();
  assert.equal(await pull(upstream.host, { mirrors, accounts }), 200);
  assert.ok(upstream.requests.length > 0);
});

test("an upstream that is set offline is never asked, and its cache is served", async () => {
  await using upstream = await createStocked();
  await using folder = await createTemporaryDirectory();
  upstream.addImage("library/app", "2");
  const options: MirrorOptions = { root: folder.path };
  {
    await using earlier = await startMirror(upstream.host, options);
    const { status, body } = await earlier.get(manifest);
    assert.equal(status, 200);
    const { config, layers } = JSON.parse(body.toString("utf8")) as { config: Content; layers: Content[] };
    for (const { digest } of [config, ...layers]) await earlier.get(`/v2/library/app/blobs/${digest}`);
  }
  const before = upstream.requests.length;
  const settings = { offline: true, manifestInvalidationMs: 0, mirrors: [{ ...plainMirror, host: upstream.host }] };
  await using mirror = await startMirror(upstream.host, { ...options, upstream: settings });
  assert.equal((await mirror.get(manifest)).status, 200);
  assert.notEqual((await mirror.get("/v2/library/app/manifests/2")).status, 200);
  assert.equal(upstream.requests.length, before);
});

interface Content {
  readonly digest: string;
}

/** An https server that asks for a certificate, in front of an upstream. */
async function startSecure(context: TestContext, host: string): Promise<{ host: string; shown: boolean[] }> {
  const shown: boolean[] = [];
  const { cert, key } = certificate;
  const server = createServer({ cert, key, ca: cert, requestCert: true, rejectUnauthorized: false });
  server.on("request", (incoming: IncomingMessage, response: ServerResponse) => {
    shown.push((incoming.socket as TLSSocket).authorized);
    passOn(host)(incoming, response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  context.after(() => {
    server.closeAllConnections();
    server.close();
  });
  return { host: `127.0.0.1:${(server.address() as AddressInfo).port}`, shown };
}

test("certificates are those of the files that are named", async (context) => {
  await using upstream = await createStocked();
  await using folder = await createTemporaryDirectory();
  const secure = await startSecure(context, upstream.host);
  const [clientCert, clientKey] = [`${folder.path}/cert.pem`, `${folder.path}/key.pem`];
  await writeFile(clientCert, certificate.cert);
  await writeFile(clientKey, certificate.key);
  assert.notEqual(await pull(secure.host, { tls: true, retries: 0 }), 200);
  assert.deepEqual(secure.shown, []);
  assert.equal(await pull(secure.host, { tls: true, acceptInvalidCerts: true }), 200);
  assert.deepEqual(new Set(secure.shown.splice(0)), new Set([false]));
  assert.equal(await pull(secure.host, { tls: true, caFile: clientCert, clientCert, clientKey }), 200);
  assert.deepEqual(new Set(secure.shown), new Set([true]));
});

test("a file of certificates that is gone at start is a mistake of the configuration", async () => {
  await using folder = await createTemporaryDirectory();
  const caFile = `${folder.path}/none.pem`;
  await assert.rejects(startMirror("127.0.0.1:1", { root: `${folder.path}/root`, upstream: { caFile } }), {
    name: "ConfigError",
    message: `ca_file of docker.io: ${caFile} cannot be used: there is no such file`,
  });
});

test("the proxy is the upstream's own, else the environment's, but not where it is none", async () => {
  await using upstream = await createStocked();
  const asked: string[] = [];
  const listener = await createListener((incoming, response) => {
    asked.push(incoming.url ?? "");
    passOn(upstream.host)(incoming, response);
  });
  const proxy = `http://${listener.host}`;
  const host = "registry.example.com:5000";
  const expected = new RegExp(`^http://${RegExp.escape(host)}/v2/`);
  assert.equal(await pull(host, { proxy }), 200);
  assert.ok(asked.length > 0);
  for (const url of asked.splice(0)) assert.match(url, expected);

  const environment = { http: proxy, https: undefined, noProxy: undefined };
  await using mirror = await startMirror(host, { config: { proxyEnvironment: environment } });
  assert.equal((await mirror.get(manifest)).status, 200);
  for (const url of asked.splice(0)) assert.match(url, expected);

  for (const settings of [
    { upstream: { proxy: "none" }, config: { proxyEnvironment: environment } },
    { config: { proxyEnvironment: { ...environment, noProxy: upstream.host } } },
  ]) {
    await using direct = await startMirror(upstream.host, settings);
    assert.equal((await direct.get(manifest)).status, 200);
  }
  assert.deepEqual(asked, []);
  await listener.down();
});
