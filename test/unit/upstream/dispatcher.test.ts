import assert from "node:assert/strict";
import type { LookupAddress } from "node:dns";
import { test, type TestContext } from "node:test";
import type { Dispatcher } from "undici";
import type { NameLookup } from "../../../src/upstream/addresses.ts";
import { createDispatcher, type DispatcherOptions, type Timeouts } from "../../../src/upstream/dispatcher.ts";
import { publicGuard } from "../../../src/upstream/guard.ts";
import { certificate } from "./certificate.ts";
import {
  fiveSeconds,
  answer,
  answerIndex,
  failure,
  type Handler,
  anyAsk,
  repository,
  type ScriptedServer,
  startServer,
  type StartOptions,
  startUpstream,
  tag,
} from "./scripted.ts";

const toLoopback: NameLookup = (_hostname, _options, callback) => callback(null, [{ address: "127.0.0.1", family: 4 }]);

function dispatcherWith(options: Partial<DispatcherOptions>): Dispatcher {
  return createDispatcher({ acceptInvalidCerts: false, timeouts: fiveSeconds, ...options });
}

function publicOnly(answers: LookupAddress[][]): { options: StartOptions; looked: string[] } {
  const looked: string[] = [];
  const dispatcher = dispatcherWith({
    guard: publicGuard,
    lookup: (hostname, _options, callback) => {
      looked.push(hostname);
      callback(null, answers.shift() ?? []);
    },
  });
  return { options: { dispatcher, tls: true, retries: 2 }, looked };
}

const forbidden: LookupAddress[][] = [
  [{ address: "127.0.0.1", family: 4 }],
  [{ address: "10.1.2.3", family: 4 }],
  [{ address: "169.254.169.254", family: 4 }],
  [{ address: "::ffff:127.0.0.1", family: 6 }],
  [{ address: "64:ff9b::a00:1", family: 6 }],
  // A public one beside it does not help.
  [
    { address: "8.8.8.8", family: 4 },
    { address: "192.168.0.1", family: 4 },
  ],
];

for (const addresses of forbidden) {
  test(`a public-only client refuses a name with ${addresses.map(({ address }) => address).join(", ")}`, async (context) => {
    const { options, looked } = publicOnly([addresses]);
    const { upstream, observed } = startUpstream(context, "registry.example.com", options);
    await assert.rejects(upstream.manifest(repository, tag, anyAsk()), failure("refused"));
    assert.deepEqual(looked, ["registry.example.com"], "once: it is not tried again");
    assert.equal(observed.length, 1);
  });
}

test("a name that answers differently is judged at each connection (DNS rebinding)", async (context) => {
  // The answer that counts is the one that is connected to: there is no earlier one that could be trusted instead.
  const { options, looked } = publicOnly([[{ address: "10.0.0.1", family: 4 }], [{ address: "127.0.0.1", family: 4 }]]);
  const { upstream } = startUpstream(context, "registry.example.com", options);
  await assert.rejects(upstream.manifest(repository, tag, anyAsk()), failure("refused"));
  await assert.rejects(upstream.manifest(repository, tag, anyAsk()), failure("refused"));
  assert.equal(looked.length, 2);
});

for (const [host, tls] of [
  ["registry.example.com:8443", true],
  ["registry.example.com", false],
  ["8.8.8.8", true],
  ["127.1", true],
  ["[::1]", true],
  ["[::ffff:127.0.0.1]", true],
] as const) {
  test(`a public-only client refuses ${tls ? "https" : "http"}://${host} without a look-up`, async (context) => {
    const { options, looked } = publicOnly([]);
    const { upstream } = startUpstream(context, host, { ...options, tls });
    await assert.rejects(upstream.manifest(repository, tag, anyAsk()), failure("refused"));
    assert.deepEqual(looked, []);
  });
}

async function startTls(
  context: TestContext,
  handler: Handler,
  options: Partial<DispatcherOptions> = {},
): Promise<{ server: ScriptedServer; port: string; dispatcher: Dispatcher }> {
  const server = await startServer(context, handler, certificate);
  const dispatcher = dispatcherWith({ ca: certificate.cert, lookup: toLoopback, ...options });
  return { server, port: server.host.replace(/^.*:/, ""), dispatcher };
}

test("certificates are checked, against `ca` where it is given, unless invalid ones are accepted", async (context) => {
  const handler: Handler = (_request, response) => answerIndex(response);
  for (const [options, message] of [
    [{}, undefined],
    [{ ca: "", acceptInvalidCerts: true }, undefined],
    [{ ca: "" }, /SELF_SIGNED/],
  ] as [Partial<DispatcherOptions>, RegExp | undefined][]) {
    const { port, dispatcher } = await startTls(context, handler, options);
    const { upstream } = startUpstream(context, `registry.example.com:${port}`, { tls: true, dispatcher });
    const asking = upstream.manifest(repository, tag, anyAsk());
    await (message === undefined
      ? assert.doesNotReject(asking)
      : assert.rejects(asking, failure("unreachable", message)));
  }
});

test("a name that the certificate lacks is refused by TLS", async (context) => {
  const { port, dispatcher } = await startTls(context, (_request, response) => answerIndex(response));
  const { upstream } = startUpstream(context, `registry.other.example:${port}`, { tls: true, dispatcher });
  await assert.rejects(upstream.manifest(repository, tag, anyAsk()), failure("unreachable", /ALTNAME/));
});

test("a realm of another site gets an anonymous request by the public dispatcher; one by http gets none", async (context) => {
  const credentials = { username: "alice", password: "s3cret" };
  for (const scheme of ["https", "http"]) {
    const auth = await startTls(context, (_request, response) => answer(response, 200, '{"token":"one"}'));
    const realm = `${scheme}://auth.example.org:${auth.port}/token`;
    const { server, port, dispatcher } = await startTls(context, (request, response) => {
      if (request.headers.authorization === "Bearer one") {
        answerIndex(response);
      } else {
        answer(response, 401, "", { "www-authenticate": `Bearer realm="${realm}"` });
      }
    });
    context.after(() => auth.dispatcher.destroy());
    const options = { tls: true, credentials, dispatcher, publicDispatcher: auth.dispatcher };
    const { upstream } = startUpstream(context, `registry.example.com:${port}`, options);
    const asking = upstream.manifest(repository, tag, anyAsk());
    if (scheme === "https") {
      assert.ok(await asking);
      assert.deepEqual(auth.server.authorizations, [undefined]);
      assert.deepEqual(server.authorizations, [undefined, "Bearer one"]);
    } else {
      await assert.rejects(asking, failure("token"));
      assert.deepEqual(auth.server.asked, []);
    }
  }
});

test("a realm of the same site gets the credentials, over https, at any port", async (context) => {
  const auth = await startServer(
    context,
    (_request, response) => answer(response, 200, '{"token":"one"}'),
    certificate,
  );
  const realm = `https://auth.example.com:${auth.host.replace(/^.*:/, "")}/token`;
  const { port, dispatcher } = await startTls(context, (request, response) => {
    if (request.headers.authorization === "Bearer one") {
      answerIndex(response);
    } else {
      answer(response, 401, "", { "www-authenticate": `Bearer realm="${realm}"` });
    }
  });
  const credentials = { username: "alice", password: "s3cret" };
  const { upstream } = startUpstream(context, `registry.example.com:${port}`, { tls: true, credentials, dispatcher });
  assert.ok(await upstream.manifest(repository, tag, anyAsk()));
  assert.deepEqual(auth.authorizations, [`Basic ${Buffer.from("alice:s3cret").toString("base64")}`]);
});

test("a redirect from https to http is not followed", async (context) => {
  const plain = await startServer(context, (_request, response) => answerIndex(response));
  const { port, dispatcher } = await startTls(context, (_request, response, path) =>
    answer(response, 307, "", { location: `${plain.url}${path}` }),
  );
  const { upstream } = startUpstream(context, `registry.example.com:${port}`, { tls: true, dispatcher });
  await assert.rejects(upstream.manifest(repository, tag, anyAsk()), failure("invalid", /https to http/));
  assert.deepEqual(plain.asked, []);
});

/** Longer than any test. */
const foreverMs = 600_000;

test("an answer that does not begin ends by the time for headers, a body that stalls by the time for pauses", async (context) => {
  const server = await startServer(context, (_request, response, path) => {
    if (path === "/stalls") response.writeHead(200, { "content-length": 10 }).write("half");
  });
  const ask = async (path: string, times: Partial<Timeouts>): Promise<string> => {
    const timeouts = { ...fiveSeconds, headerTimeoutMs: foreverMs, idleTimeoutMs: foreverMs, ...times };
    const dispatcher = dispatcherWith({ timeouts });
    context.after(() => dispatcher.destroy());
    const { body } = await dispatcher.request({ origin: server.url, path, method: "GET" });
    return body.text();
  };
  await Promise.all([
    assert.rejects(ask("/", { headerTimeoutMs: 50 }), { code: "UND_ERR_HEADERS_TIMEOUT" }),
    assert.rejects(ask("/stalls", { idleTimeoutMs: 50 }), { code: "UND_ERR_BODY_TIMEOUT" }),
  ]);
});
