/*
 * How the tokens of real registries age.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { bearer, challenge, hub, manifest, wantsToken } from "./quirk.ts";
import { answer, answerIndex, createClock } from "./scripted.ts";
import { startWorld } from "./world.ts";

test("nvcr.io: with an expired token the challenge leads to another site; without one, back to the first", async (context) => {
  const clock = createClock();
  const good = { token: "one" };
  const { upstream, asked } = await startWorld(
    context,
    {
      [hub]: (request, response, path, at) => {
        const { authorization } = request.headers;
        if (path.startsWith("/proxy_auth")) {
          answer(response, 200, JSON.stringify({ token: good.token, expires_in: 3600 }));
        } else if (authorization === `Bearer ${good.token}`) {
          answerIndex(response);
        } else if (authorization === undefined) {
          challenge(response, `Bearer realm="https://${at(hub)}/proxy_auth",scope="repository:library/alpine:pull"`);
        } else {
          const realm = `https://${at("authn.example.org")}/token`;
          challenge(response, `Bearer realm="${realm}",service="registry",error="invalid_token"`);
        }
      },
      "authn.example.org": (_request, response) => answer(response, 401),
    },
    { clock },
  );
  assert.equal(await manifest(upstream), "found");
  good.token = "two";
  assert.equal(await manifest(upstream), "found");
  assert.ok(asked.every((line) => !line.includes("authn.example.org")));
  assert.equal(asked.length, 7);
});

test("quay.io: without expires_in a token is used for less than 60 s", async (context) => {
  const clock = createClock();
  const hosts = { [hub]: wantsToken(bearer("HUB", "/v2/auth", ',service="quay.io"')) };
  const { upstream, asked } = await startWorld(context, hosts, { clock });
  for (const [afterMs, tokens] of [
    [0, 1],
    [50_000, 1],
    [10_000, 2],
  ] as const) {
    clock.time += afterMs;
    await manifest(upstream);
    assert.equal(asked.filter((line) => line.includes("/v2/auth")).length, tokens);
  }
});
