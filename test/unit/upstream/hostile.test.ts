/*
 * A hostile registry that wants the credentials, or wants us to send requests for it: it may have none of either. What
 * it can do with addresses and with sizes is in the files beside this one.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Upstream } from "../../../src/upstream/upstream.ts";
import { challenge, hub, issue } from "./quirk.ts";
import { answer, answerIndex, anyAsk, repository, someDigest, startServer, startUpstream, tag } from "./scripted.ts";
import { type HostHandler, startWorld } from "./world.ts";

const evil = "evil.example.org";
const credentials = { username: "alice", password: "p4ssw0rd" };
const headers = { "x-gateway-key": "g4teway" };
/** In any form in which they could be sent. */
const secrets: readonly string[] = [
  "p4ssw0rd",
  "g4teway",
  "t0ken-of-the-registry",
  Buffer.from("alice:p4ssw0rd").toString("base64"),
];

/** A registry that has a token server of its own, and is hostile once the token is there. */
const afterToken =
  (then: HostHandler): HostHandler =>
  (request, response, path, at) => {
    if (path.startsWith("/token")) {
      issue({ token: "t0ken-of-the-registry" })(request, response, path, at);
    } else if (request.headers.authorization === undefined) {
      challenge(response, `Bearer realm="https://${at(hub)}/token"`);
    } else {
      then(request, response, path, at);
    }
  };
const realm =
  (make: (at: (host: string) => string) => string): HostHandler =>
  (_request, response, _path, at) =>
    challenge(response, `Bearer realm="${make(at)}",service="s"`);
const location = (make: (at: (host: string) => string) => string, status: number = 307): HostHandler =>
  afterToken((_request, response, _path, at) => answer(response, status, "", { location: make(at) }));

const fishing: HostHandler = (_request, response, path, at) =>
  path.startsWith("/again")
    ? challenge(response, `Bearer realm="https://${at(evil)}/token",Basic realm="x"`)
    : answer(response, 200, '{"token":"of-evil","tags":[]}', { "content-type": "application/json" });

const attacks: [name: string, registry: HostHandler][] = [
  ["a realm of another site", realm((at) => `https://${at(evil)}/token`)],
  ["a realm that looks like the registry's", realm((at) => `https://${hub}@${at(evil)}/token`)],
  ["a realm with a user of its own", realm((at) => `https://x:y@${at(hub)}/token`)],
  ["a realm below the registry's name", realm((at) => `https://${at(`${hub}.example.org`)}/token`)],
  ["a realm that is an address", realm((at) => `https://${at("127.0.0.1")}/token`)],
  ["a realm by http", realm((at) => `http://${at(evil)}/token`)],
  ["a realm by http on the registry's host", realm((at) => `http://${at(hub)}/token`)],
  ["a realm of another scheme", realm((at) => `ftp://${at(evil)}/token`)],
  ["a realm with backslashes", realm((at) => `https:\\\\${at(evil)}\\token`)],
  [
    "a trusted realm and one of its own, in one line",
    (_request, response, path, at) =>
      path.startsWith("/token")
        ? answer(response, 307, "", { location: `https://${at(evil)}/token` })
        : challenge(response, `Bearer realm="https://${at(evil)}/token",Bearer realm="https://${at(hub)}/token"`),
  ],
  [
    "a realm that redirects to another site",
    (_request, response, path, at) =>
      path.startsWith("/token")
        ? answer(response, 302, "", { location: `https://${at(evil)}/token` })
        : challenge(response, `Bearer realm="https://${at(hub)}/token"`),
  ],
  [
    "a realm that wants a POST and redirects it",
    (request, response, path, at) => {
      if (!path.startsWith("/token")) {
        challenge(response, `Bearer realm="https://${at(hub)}/token"`);
      } else if (request.method === "GET") {
        answer(response, 405);
      } else {
        answer(response, 307, "", { location: `https://${at(evil)}/token` });
      }
    },
  ],
  ["a redirect to another host", location((at) => `https://${at(evil)}/x`)],
  ["a redirect to another host of the same site", location((at) => `https://${at("other.example.com")}/x`)],
  ["a redirect without a scheme", location((at) => `//${at(evil)}/x`)],
  ["a redirect with backslashes", location((at) => `https:\\\\${at(evil)}\\x`)],
  ["a redirect with the registry's name as a user", location((at) => `https://${at(hub)}@${at(evil)}/x`)],
  ["a redirect down to http", location((at) => `http://${at(hub)}/x`)],
  ["a redirect to another scheme", location(() => "file:///etc/passwd")],
  ["a redirect to a host that asks for credentials", location((at) => `https://${at(evil)}/again`)],
  ["a 201 with a Location", location((at) => `https://${at(evil)}/x`, 201)],
  ["a 300 with a Location", location((at) => `https://${at(evil)}/x`, 300)],
  [
    "a redirect to another host and back to its own",
    afterToken((_request, response, path, at) =>
      path.startsWith("/home")
        ? challenge(response, `Bearer realm="https://${at(hub)}/token"`)
        : answer(response, 307, "", { location: `https://${at("bounce.example.org")}/x` }),
    ),
  ],
  [
    "links, refreshes and other places",
    afterToken((_request, response, path, at) =>
      answer(response, 200, path.includes("/tags/") ? '{"tags":[]}' : "{}", {
        link: `<https://${at(evil)}/v2/x/tags/list?last=a>; rel="next"`,
        refresh: `0; url=https://${at(evil)}/`,
        "content-location": `https://${at(evil)}/`,
        "alt-svc": `h2="${at(evil)}"`,
        location: `https://${at(evil)}/`,
        "set-cookie": "session=of-evil; Domain=example.com",
        "docker-upload-uuid": "x",
      }),
    ),
  ],
  [
    "descriptors with urls",
    afterToken((_request, response, _path, at) => {
      const layer = {
        mediaType: "application/vnd.oci.image.layer.nondistributable.v1.tar",
        digest: someDigest,
        size: 4,
      };
      const document = {
        schemaVersion: 2,
        mediaType: "application/vnd.oci.image.manifest.v1+json",
        config: { ...layer, urls: [`https://${at(evil)}/config`] },
        layers: [{ ...layer, urls: [`https://${at(evil)}/layer`] }],
      };
      answer(response, 200, JSON.stringify(document), { "content-type": document.mediaType });
    }),
  ],
];

/** Everything that can be asked of an upstream, each twice: what was learned at first must not leak afterwards. */
async function askAll(upstream: Upstream): Promise<void> {
  for (let round = 0; round < 2; round++) {
    await Promise.allSettled([
      upstream.resolve(repository, tag, anyAsk()),
      upstream.manifest(repository, tag, anyAsk()),
    ]);
    await Promise.allSettled([upstream.tags(repository, "n=1", anyAsk())]);
    await Promise.allSettled([upstream.referrers(repository, someDigest, "", anyAsk())]);
    await Promise.allSettled([upstream.statBlob(repository, someDigest, anyAsk())]);
    const [opened] = await Promise.allSettled([upstream.blob(repository, someDigest, { offset: 0 }, anyAsk())]);
    if (opened?.status === "fulfilled") {
      opened.value?.cancel();
    }
  }
}

for (const login of [credentials, { username: "<token>", password: "p4ssw0rd" }]) {
  for (const [name, registry] of attacks) {
    test(`${name}: no other origin sees a credential (of ${login.username})`, async (context) => {
      const hosts: Record<string, HostHandler> = {
        [hub]: registry,
        [evil]: fishing,
        "other.example.com": fishing,
        [`${hub}.example.org`]: fishing,
        "127.0.0.1": fishing,
        "bounce.example.org": (_request, response, _path, at) =>
          answer(response, 307, "", { location: `https://${at(hub)}/home` }),
      };
      const { upstream, seen } = await startWorld(context, hosts, { credentials: login, headers });
      await askAll(upstream);
      const leaks = seen.filter(({ host, text }) => host !== hub && secrets.some((secret) => text.includes(secret)));
      assert.deepEqual(leaks, []);
      // After a detour the registry itself is not told anything either.
      assert.ok(
        seen.every(({ text }) => !text.startsWith("GET /home") || !secrets.some((secret) => text.includes(secret))),
      );
      assert.ok(seen.every(({ text }) => !/^cookie$/im.test(text)));
      assert.ok(seen.some(({ host }) => host === hub));
    });
  }
}

test("what the registry says of other hosts asks nothing of them: links, urls, places", async (context) => {
  for (const attack of ["links, refreshes and other places", "descriptors with urls", "a 201 with a Location"]) {
    const registry = attacks.find(([name]) => name === attack)?.[1];
    assert.ok(registry !== undefined);
    const { upstream, seen } = await startWorld(context, { [hub]: registry, [evil]: fishing }, { credentials });
    await askAll(upstream);
    assert.deepEqual(new Set(seen.map(({ host }) => host)), new Set([hub]), attack);
  }
});

test("a redirect to another port of the upstream's own address gets nothing but the request", async (context) => {
  const other = await startServer(context, (_request, response) => answer(response, 200, "blob"));
  const server = await startServer(context, (request, response) =>
    request.headers.authorization === undefined
      ? answer(response, 401, "", { "www-authenticate": 'Basic realm="x"' })
      : answer(response, 307, "", { location: `${other.url}/x` }),
  );
  const { upstream } = startUpstream(context, server.host, { credentials, headers });
  assert.ok(await upstream.statBlob(repository, someDigest, anyAsk()));
  const text = other.requests.map(({ rawHeaders }) => rawHeaders.join("\n")).join("\n");
  assert.equal(other.requests.length, 1);
  assert.ok(!secrets.some((secret) => text.includes(secret)));
});

test("the attacks would be seen: a registry of its own site does get the credentials", async (context) => {
  const { upstream, seen } = await startWorld(
    context,
    {
      [hub]: realm((at) => `https://${at("auth.example.com")}/token`),
      "auth.example.com": (_request, response) => answerIndex(response),
    },
    { credentials, headers },
  );
  await askAll(upstream);
  const told = seen.filter(({ host, text }) => host !== hub && secrets.some((secret) => text.includes(secret)));
  assert.ok(told.length > 0);
});
