import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Handler } from "../../src/http/request.ts";
import { createAdministration } from "../support/administration.ts";
import { serveAdministration } from "../support/admin-server.ts";
import { connectRaw, start } from "./test-server.ts";

/** Tells what it is asked for, and at which host. */
const echo: Handler = async ({ target, headers }) => {
  const body = Buffer.from(`[${target} ${headers.host}]`);
  return { status: 200, headers: { "Content-Length": body.length }, body };
};

/** Header and body of a short answer come together. */
async function send(port: number, text: string): Promise<string> {
  using client = await connectRaw(port);
  client.socket.write(text);
  return await client.until(/\r\n\r\n/);
}

describe("a target with scheme and host means what its path does, at that host, whatever Host says:", () => {
  const targets: Readonly<Record<string, string>> = {
    "/v2/a?b=c": "/v2/a?b=c mirror",
    "http://quay.test/v2/a?b=c": "/v2/a?b=c quay.test",
    "HTTPS://Quay.test:8443/v2/": "/v2/ Quay.test:8443",
    "http://[::1]:80/v2/": "/v2/ [::1]:80",
    "http://quay.test//v2/": "//v2/ quay.test",
    "http://quay.test/v2/http://other/": "/v2/http://other/ quay.test",
  };
  for (const [target, expected] of Object.entries(targets)) {
    test(target, async () => {
      await using server = await start(echo);
      const answer = await send(server.port, `GET ${target} HTTP/1.1\r\nHost: mirror\r\n\r\n`);
      assert.ok(answer.startsWith("HTTP/1.1 200 ") && answer.endsWith(`[${expected}]`), answer);
    });
  }

  test("probes, too", async () => {
    await using server = await start(echo);
    for (const target of ["http://x/healthz", "http://x/readyz", "https://x:1", "http://x/?a"]) {
      const answer = await send(server.port, `GET ${target} HTTP/1.1\r\nHost: mirror\r\n\r\n`);
      assert.match(answer, /^HTTP\/1\.1 200 [^]*text\/plain/, target);
    }
  });

  test("OPTIONS of the whole server", async () => {
    await using server = await start(echo);
    for (const target of ["*", "http://x"]) {
      const answer = await send(server.port, `OPTIONS ${target} HTTP/1.1\r\nHost: mirror\r\n\r\n`);
      assert.match(answer, /^HTTP\/1\.1 204 [^]*\r\nAllow: GET, HEAD\r\n/, target);
    }
  });
});

describe("refused in OCI form:", () => {
  const requests: Readonly<Record<string, string>> = {
    "a target with a user": "GET http://user:password@mirror/v2/ HTTP/1.1\r\nHost: mirror\r\n\r\n",
    "a target without a host": "GET http:///v2/ HTTP/1.1\r\nHost: mirror\r\n\r\n",
    "a target with a port alone": "GET http://:80/v2/ HTTP/1.1\r\nHost: mirror\r\n\r\n",
    "a target with a fragment": "GET http://mirror/v2/#a HTTP/1.1\r\nHost: mirror\r\n\r\n",
    "another scheme": "GET ftp://mirror/v2/ HTTP/1.1\r\nHost: mirror\r\n\r\n",
    "a GET of nothing in particular": "GET * HTTP/1.1\r\nHost: mirror\r\n\r\n",
    "a host in a form that is for CONNECT": "GET mirror:80 HTTP/1.1\r\nHost: mirror\r\n\r\n",
    "two Host fields": "GET /v2/ HTTP/1.1\r\nHost: mirror\r\nHost: other\r\n\r\n",
    "the same Host twice": "GET /v2/ HTTP/1.1\r\nHost: mirror\r\nhost: mirror\r\n\r\n",
    "two Host fields beside a target that has one": "GET http://a/v2/ HTTP/1.1\r\nHost: a\r\nHOST: b\r\n\r\n",
    "two Host fields in HTTP/1.0": "GET /v2/ HTTP/1.0\r\nHost: mirror\r\nHost: other\r\n\r\n",
    "no Host": "GET /v2/ HTTP/1.1\r\n\r\n",
    "no Host beside a target that has one": "GET http://mirror/v2/ HTTP/1.1\r\n\r\n",
    "two Host fields of a probe": "GET /healthz HTTP/1.1\r\nHost: mirror\r\nHost: other\r\n\r\n",
  };
  for (const [what, text] of Object.entries(requests)) {
    test(what, async () => {
      await using server = await start(echo);
      assert.match(await send(server.port, text), /^HTTP\/1\.1 400 [^]*\r\n\r\n\{"errors":\[\{"code":"[A-Z_]+",/);
    });
  }

  test("CONNECT", async () => {
    await using server = await start(echo);
    const answer = await send(server.port, "CONNECT quay.test:443 HTTP/1.1\r\nHost: quay.test:443\r\n\r\n");
    assert.match(answer, /^HTTP\/1\.1 405 [^]*\r\nAllow: GET, HEAD\r\n[^]*"errors"/);
  });
});

test("HTTP/1.0 needs no Host", async () => {
  await using server = await start(echo);
  assert.match(await send(server.port, "GET /v2/ HTTP/1.0\r\n\r\n"), /^HTTP\/1\.1 200 [^]*\[\/v2\/ undefined\]$/);
});

test("the administration without a token believes the host that is meant, not the one that Host adds", async () => {
  await using server = await serveAdministration(await createAdministration());
  const port = Number(new URL(server.address).port);
  const ask = (target: string, host: string): Promise<string> =>
    send(port, `GET ${target} HTTP/1.1\r\nHost: ${host}\r\n\r\n`);
  assert.match(await ask("http://rebound.example/_admin/usage", "localhost"), /^HTTP\/1\.1 403 /);
  assert.match(await ask("http://localhost/_admin/usage", "rebound.example"), /^HTTP\/1\.1 200 /);
});

test("a listener without an administration has none in whichever form it is asked for", async () => {
  await using server = await start(echo);
  for (const target of ["/_admin/usage", "http://mirror/_admin/usage", "http://mirror/_admin"]) {
    assert.match(await send(server.port, `GET ${target} HTTP/1.1\r\nHost: a\r\n\r\n`), /^HTTP\/1\.1 404 /, target);
  }
});
