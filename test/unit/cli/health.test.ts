import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, test } from "node:test";
import { runCommandLine } from "../../../src/cli/program.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";

/** Runs `health` with what the environment says. */
async function health(env: Record<string, string>): Promise<{ exitCode: number; out: string; err: string }> {
  let out = "";
  let err = "";
  const terminal = {
    env,
    readFile: (): Buffer => assert.fail("no file is read here"),
    out: (text: string) => (out += text),
    err: (text: string) => (err += text),
  };
  const actions = {
    serve: () => assert.fail("nothing is served"),
    openStore: () => assert.fail("nothing is opened"),
    stopSignal: () => assert.fail("nothing stays here"),
  };
  const person = { screen: undefined, ask: undefined, onInterrupt: () => () => undefined };
  const exitCode = await runCommandLine(["health"], terminal, "1.2.3", actions, person);
  return { exitCode, out, err };
}

/** A server at an address, on a free port; its address as the configuration has it. */
async function serve(
  host: string,
  answer: RequestListener,
): Promise<AsyncDisposable & { readonly port: number; readonly targets: readonly string[] }> {
  const targets: string[] = [];
  const server = createServer((request, response) => {
    targets.push(request.url ?? "");
    answer(request, response);
  });
  server.listen(host.startsWith("/") ? { path: host } : { host, port: 0 });
  await once(server, "listening");
  const address = server.address() as AddressInfo | string;
  return {
    port: typeof address === "string" ? 0 : address.port,
    targets,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const ready: RequestListener = (_, response) => response.end("ready\n");

describe("health", () => {
  for (const [listen, host] of [
    ["127.0.0.1", "127.0.0.1"],
    ["0.0.0.0", "127.0.0.1"],
    ["", "127.0.0.1"],
    // There may be no ::1 where somebody listens on all addresses.
    ["[::]", "127.0.0.1"],
  ] as const) {
    test(`asks a mirror that listens on ${listen} whether it is ready`, async () => {
      await using server = await serve(host, ready);
      const outcome = await health({ LISTEN: `${listen}:${server.port}` });
      assert.deepEqual(outcome, { exitCode: 0, out: "ready\n", err: "" });
      assert.deepEqual(server.targets, ["/readyz"]);
    });
  }

  test("asks one that listens on a socket", async () => {
    await using folder = await createTemporaryDirectory();
    const path = `${folder.path}/socket`;
    await using server = await serve(path, ready);
    assert.equal((await health({ LISTEN: `unix:${path}` })).exitCode, 0);
    assert.deepEqual(server.targets, ["/readyz"]);
  });

  test("fails where it is not ready, and says why", async () => {
    await using server = await serve("127.0.0.1", (_, response) => response.writeHead(503).end("it is stopping\n"));
    assert.deepEqual(await health({ LISTEN: `127.0.0.1:${server.port}` }), {
      exitCode: 1,
      out: "",
      err: "entrepot: not ready (503): it is stopping\n",
    });
  });

  test("fails where nobody listens, and where the connection is cut", async () => {
    await using server = await serve("127.0.0.1", (request) => request.socket.destroy());
    const cut = await health({ LISTEN: `127.0.0.1:${server.port}` });
    assert.equal(cut.exitCode, 1);
    assert.equal(cut.err, `entrepot: no mirror answers at 127.0.0.1:${server.port}: socket hang up\n`);
    await server[Symbol.asyncDispose]();
    const gone = await health({ LISTEN: `127.0.0.1:${server.port}` });
    assert.equal(gone.exitCode, 1);
    assert.match(gone.err, /^entrepot: no mirror answers at 127\.0\.0\.1:\d+: connect ECONNREFUSED /);
  });

  test("fails where the answer takes too long", async (context) => {
    const ended = new AbortController();
    context.mock.method(AbortSignal, "timeout", () => ended.signal);
    await using server = await serve("127.0.0.1", () => ended.abort());
    const outcome = await health({ LISTEN: `127.0.0.1:${server.port}` });
    assert.deepEqual(
      [outcome.exitCode, outcome.err],
      [1, `entrepot: no mirror answers at 127.0.0.1:${server.port}: nothing within 3 s\n`],
    );
  });

  test("cannot know a port that is any free one", async () => {
    const outcome = await health({ LISTEN: "127.0.0.1:0" });
    assert.equal(outcome.exitCode, 2);
    assert.match(outcome.err, /not known where the mirror listens/);
  });
});
