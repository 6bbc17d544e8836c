import assert from "node:assert/strict";
import type { LookupAddress } from "node:dns";
import { test, type TestContext } from "node:test";
import type { TLSSocket } from "node:tls";
import { parseRepository } from "../../../src/oci/reference.ts";
import type { NameLookup } from "../../../src/upstream/addresses.ts";
import { createConnections } from "../../../src/upstream/connection-pools.ts";
import { createDispatcher } from "../../../src/upstream/dispatcher.ts";
import { publicGuard } from "../../../src/upstream/guard.ts";
import { certificate } from "./certificate.ts";
import {
  fiveSeconds,
  answer,
  answerIndex,
  collect,
  failure,
  type Handler,
  anyAsk,
  repository,
  type ScriptedServer,
  someDigest,
  startServer,
  startUpstream,
  tag,
} from "./scripted.ts";
import { alice, basicAlice } from "./scripted-registry.ts";

const toLoopback: NameLookup = (_hostname, _options, callback) => callback(null, [{ address: "127.0.0.1", family: 4 }]);
const extra = { "X-Team": "s3cret", "CF-Access-Client-Id": "id" };
const trusting = { tls: true, ca: certificate.cert, lookup: toLoopback };
const port = ({ host }: ScriptedServer): string => host.replace(/^.*:/, "");

test("the path's prefix is on the wire: in paths, in scopes, and in nothing that comes back", async (context) => {
  const server: ScriptedServer = await startServer(context, (request, response, path) => {
    if (path.startsWith("/token")) {
      answer(response, 200, '{"token":"one"}');
    } else if (request.headers.authorization === undefined) {
      answer(response, 401, "", { "www-authenticate": `Bearer realm="${server.url}/token"` });
    } else if (path.includes("/tags/")) {
      answer(response, 200, '{"tags":[]}', { link: `<${path}?last=a>; rel="next"` });
    } else {
      answerIndex(response);
    }
  });
  const { upstream } = startUpstream(context, server.host, { pathPrefix: parseRepository("team/cache") });
  assert.ok(await upstream.manifest(repository, tag, anyAsk()));
  assert.equal((await upstream.tags(repository, "", anyAsk()))?.nextQuery, "last=a");
  await upstream.statBlob(repository, someDigest, anyAsk());
  assert.deepEqual(server.asked, [
    "GET /v2/team/cache/library/alpine/manifests/latest",
    `GET /token?scope=${encodeURIComponent("repository:team/cache/library/alpine:pull")}`,
    "GET /v2/team/cache/library/alpine/manifests/latest",
    "GET /v2/team/cache/library/alpine/tags/list",
    `GET /v2/team/cache/library/alpine/blobs/${someDigest}`,
  ]);
});

test("configured headers go to the upstream's own origin, its token server there included, and nowhere else", async (context) => {
  const elsewhere = await startServer(context, (_request, response, path) => {
    if (path === "/back") {
      answer(response, 307, "", { location: `${server.url}/returned` });
    } else {
      answer(response, 200, '{"token":"one"}');
    }
  });
  const server: ScriptedServer = await startServer(context, (request, response, path) => {
    if (path.startsWith("/token")) {
      answer(response, 307, "", { location: `${elsewhere.url}/token` });
    } else if (path === "/returned") {
      answer(response, 200, "blob");
    } else if (path === "/same-origin") {
      answerIndex(response);
    } else if (request.headers.authorization === undefined) {
      answer(response, 401, "", { "www-authenticate": `Bearer realm="${server.url}/token"` });
    } else {
      answer(response, 307, "", { location: path.includes("/blobs/") ? `${elsewhere.url}/back` : "/same-origin" });
    }
  });
  const { upstream } = startUpstream(context, server.host, { headers: extra });
  assert.ok(await upstream.manifest(repository, tag, anyAsk()));
  const blob = await upstream.blob(repository, someDigest, { offset: 0 }, anyAsk());
  assert.ok(blob !== undefined);
  assert.equal(await collect(blob.body), "blob");
  for (const { headers, url } of server.requests) {
    const expected = url === "/returned" ? [undefined, undefined] : ["s3cret", "id"];
    assert.deepEqual([headers["x-team"], headers["cf-access-client-id"]], expected, String(url));
  }
  assert.equal(server.requests.length, 6);
  assert.equal(elsewhere.requests.length, 2);
  assert.ok(elsewhere.requests.every(({ headers }) => !("x-team" in headers) && !("cf-access-client-id" in headers)));
});

test("a listed realm of another site gets the credentials; it is not held to public addresses", async (context) => {
  const auth = await startServer(
    context,
    (_request, response) => answer(response, 200, '{"token":"one"}'),
    certificate,
  );
  const realm = `https://auth.example.org:${port(auth)}/token`;
  const handler: Handler = (request, response) =>
    request.headers.authorization === "Bearer one"
      ? answerIndex(response)
      : answer(response, 401, "", { "www-authenticate": `Bearer realm="${realm}"` });
  const server = await startServer(context, handler, certificate);
  const { upstream } = startUpstream(context, `registry.example.com:${port(server)}`, {
    ...trusting,
    credentials: alice,
    headers: extra,
    // What is not listed may be at public addresses only, and this one is not.
    redirectDispatcher: createDispatcher({
      timeouts: fiveSeconds,
      ...trusting,
      acceptInvalidCerts: false,
      guard: publicGuard,
    }),
    dispatcher: createDispatcher({ timeouts: fiveSeconds, ...trusting, acceptInvalidCerts: false }),
    realmHosts: [`auth.example.org:${port(auth)}`],
  });
  assert.ok(await upstream.manifest(repository, tag, anyAsk()));
  assert.deepEqual(auth.authorizations, [basicAlice]);
  assert.equal(auth.requests[0]?.headers["x-team"], undefined);
});

async function startMutual(context: TestContext, required: boolean, handler: Handler): Promise<ScriptedServer> {
  const options = { ...certificate, ca: certificate.cert, requestCert: true, rejectUnauthorized: required };
  return startServer(context, handler, options);
}

test("the client's certificate is shown to the upstream, and not to what it redirects to", async (context) => {
  const store = await startMutual(context, false, (_request, response) => answer(response, 200, "blob"));
  const server = await startMutual(context, true, (_request, response, path) =>
    path.includes("/blobs/")
      ? answer(response, 307, "", { location: `https://cdn.example.com:${port(store)}/blob` })
      : answerIndex(response),
  );
  const options = { ...trusting, clientCert: certificate.cert, clientKey: certificate.key };
  const { upstream } = startUpstream(context, `registry.example.com:${port(server)}`, options);
  assert.ok(await upstream.manifest(repository, tag, anyAsk()));
  assert.ok(await upstream.statBlob(repository, someDigest, anyAsk()));
  const shown = [server, store].map(({ requests }) => {
    const socket = requests[0]?.socket as TLSSocket | undefined;
    return socket?.getPeerCertificate().subject?.CN;
  });
  assert.deepEqual(shown, ["test", undefined]);
  const without = startUpstream(context, `registry.example.com:${port(server)}`, trusting);
  await assert.rejects(without.upstream.manifest(repository, tag, anyAsk()), failure("unreachable"));
});

test("a certificate or key that cannot be read is told at once", () => {
  const options = { host: "registry.example.com", tls: true, acceptInvalidCerts: false };
  for (const wrong of [{ clientCert: "no PEM" }, { clientKey: "no PEM" }]) {
    assert.throws(() => createConnections({ ...options, timeouts: fiveSeconds, ...wrong }), /routines/);
  }
});

/** A registry that redirects blobs, with every name at the addresses that the test says. */
async function startRedirecting(
  context: TestContext,
  addresses: Record<string, LookupAddress>,
  allowPrivateRedirects: boolean,
): Promise<{ store: ScriptedServer; ask: () => Promise<unknown>; looked: string[] }> {
  const store = await startServer(context, (_request, response) => answer(response, 200, "blob"), certificate);
  const server = await startServer(
    context,
    (_request, response) => answer(response, 307, "", { location: `https://cdn.example.com:${port(store)}/blob` }),
    certificate,
  );
  const looked: string[] = [];
  const lookup: NameLookup = (hostname, _options, callback) => {
    looked.push(hostname);
    callback(null, [addresses[hostname] ?? { address: "127.0.0.1", family: 4 }]);
  };
  const options = { ...trusting, lookup, allowPrivateRedirects };
  const { upstream } = startUpstream(context, `registry.example.com:${port(server)}`, options);
  return { store, looked, ask: () => upstream.statBlob(repository, someDigest, anyAsk()) };
}

test("an upstream on this machine may redirect to this machine, but not to link-local addresses unless allowed", async (context) => {
  const near = await startRedirecting(context, {}, false);
  assert.ok(await near.ask());
  assert.deepEqual(near.looked, ["registry.example.com", "cdn.example.com"]);
  const linkLocal = { "cdn.example.com": { address: "169.254.169.254", family: 4 } };
  const far = await startRedirecting(context, linkLocal, false);
  await assert.rejects(far.ask(), failure("refused", /cdn\.example\.com/));
  // Mapped into IPv6, this machine's own address is one as well.
  const mapped = { "cdn.example.com": { address: "::ffff:127.0.0.1", family: 6 } };
  assert.ok(await (await startRedirecting(context, mapped, true)).ask());
});
