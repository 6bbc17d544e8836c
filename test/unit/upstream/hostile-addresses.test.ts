/*
 * A hostile registry that wants requests sent to where only we can reach: into private networks, to this machine, to a
 * cloud's metadata.
 */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import type { Dispatcher } from "undici";
import type { NameLookup } from "../../../src/upstream/addresses.ts";
import { createConnections } from "../../../src/upstream/connection-pools.ts";
import { createDispatcher } from "../../../src/upstream/dispatcher.ts";
import { createRedirectGuard, publicGuard } from "../../../src/upstream/guard.ts";
import type { Upstream } from "../../../src/upstream/upstream.ts";
import { fiveSeconds, answer, failure, anyAsk, repository, someDigest, startServer } from "./scripted.ts";
import { challenge, hub } from "./quirk.ts";
import { type HostHandler, startWorld, toLoopback } from "./world.ts";

const realm =
  (url: string): HostHandler =>
  (_request, response) =>
    challenge(response, `Bearer realm="${url}",service="s"`);
const location =
  (url: string): HostHandler =>
  (_request, response) =>
    answer(response, 307, "", { location: url });

/** A registry with a public address, as far as the guards know; other names have these addresses. */
async function startPublic(
  context: TestContext,
  registry: HostHandler,
  answers: readonly (readonly string[])[],
): Promise<{ upstream: Upstream; asked: string[]; looked: string[] }> {
  const looked: string[] = [];
  const queue = [...answers];
  const lookup: NameLookup = (hostname, _options, callback) => {
    looked.push(hostname);
    const addresses = queue.length > 1 ? queue.shift() : queue[0];
    callback(
      null,
      (addresses ?? []).map((address) => ({ address, family: address.includes(":") ? 6 : 4 })),
    );
  };
  const shared = {
    acceptInvalidCerts: true,
    timeouts: fiveSeconds,
  };
  const guard = createRedirectGuard({ scope: "public", hasPublicName: true });
  const { upstream, asked } = await startWorld(
    context,
    { [hub]: registry },
    {
      credentials: { username: "alice", password: "p4ssw0rd" },
      dispatcher: createDispatcher({ ...shared, lookup: toLoopback }),
      redirectDispatcher: createDispatcher({ ...shared, guard, lookup }),
      publicDispatcher: createDispatcher({ ...shared, guard: publicGuard, lookup }),
    },
  );
  return { upstream, asked, looked };
}

const inside = [
  "127.0.0.1",
  "10.0.0.1",
  "192.168.1.1",
  "169.254.169.254",
  "100.64.0.1",
  "224.0.0.1",
  "::1",
  "fe80::1",
  "fd00:ec2::254",
  "::ffff:10.0.0.1",
  "64:ff9b::a00:1",
];

for (const address of inside) {
  test(`a public registry may not lead to ${address}, by name or literally, by redirect or realm`, async (context) => {
    const literal = address.includes(":") ? `[${address}]` : address;
    for (const [registry, expected] of [
      [location("https://cdn.example.org/x"), "refused"],
      [location(`https://${literal}/x`), "refused"],
      [location("https://auth.example.com:8443/x"), "refused"],
      [realm("https://auth.example.com/token"), "token"],
      [realm("https://auth.example.org/token"), "token"],
      [realm(`https://${literal}/token`), "token"],
    ] as const) {
      const { upstream, asked, looked } = await startPublic(context, registry, [[address]]);
      await assert.rejects(upstream.statBlob(repository, someDigest, anyAsk()), failure(expected));
      assert.ok(asked.every((line) => line.includes(` ${hub}/`)));
      assert.ok(looked.length <= 1);
    }
  });
}

test("a name with a public address and one inside is refused, and so is one that changes (DNS rebinding)", async (context) => {
  const registry = location("https://cdn.example.org/x");
  const both = await startPublic(context, registry, [["8.8.8.8", "127.0.0.1"]]);
  await assert.rejects(both.upstream.statBlob(repository, someDigest, anyAsk()), failure("refused"));
  const changing = await startPublic(context, registry, [["10.0.0.1"], ["127.0.0.1"], ["169.254.169.254"]]);
  for (let round = 1; round <= 3; round++) {
    await assert.rejects(changing.upstream.statBlob(repository, someDigest, anyAsk()), failure("refused"));
    // The look-up that is judged is the one that is connected by: there is no second one.
    assert.equal(changing.looked.length, round);
  }
});

test("a token server inside that is configured opens the way to nothing else there", async (context) => {
  const inside = await startServer(context, (_request, response) => answer(response, 200, "inside"));
  const other = await startServer(context, (_request, response) => answer(response, 200, "inside"));
  const port = inside.host.replace(/^.*:/, "");
  const { dispatcher, redirectDispatcher } = createConnections({
    timeouts: fiveSeconds,
    host: "registry.example.com",
    tls: false,
    acceptInvalidCerts: false,
    lookup: toLoopback,
  });
  context.after(() => Promise.all([dispatcher.destroy(), redirectDispatcher.destroy()]));
  const ask = (by: Dispatcher, origin: string): Promise<Dispatcher.ResponseData> =>
    by.request({ origin, path: "/", method: "GET" });
  assert.equal(await (await ask(dispatcher, `http://auth.example.org:${port}`)).body.text(), "inside");
  for (const origin of [inside.url, other.url, `http://auth.example.org:${port}`]) {
    await assert.rejects(ask(redirectDispatcher, origin), { name: "RefusedAddressError" }, origin);
  }
  assert.deepEqual([inside.asked, other.asked], [["GET /"], []]);
});
