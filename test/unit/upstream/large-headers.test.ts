/* Headers above Node's usual 16 KiB (quay#3303, attest-build-provenance#606): policies, signed URLs, challenges. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { deny } from "./scripted-registry.ts";
import {
  answer,
  answerIndex,
  collect,
  failure,
  anyAsk,
  repository,
  someDigest,
  startServer,
  startUpstream,
  tag,
  type ScriptedServer,
} from "./scripted.ts";

const large = "a".repeat(100 * 1024);

test("headers of 100 KiB are read: of a manifest, of a 401, of a token's answer", async (context) => {
  const policy = { "content-security-policy": large };
  for (const place of ["manifest", "challenge", "token"]) {
    const own = (at: string): Record<string, string> => (at === place ? policy : {});
    const server: ScriptedServer = await startServer(context, (request, response, path) => {
      if (path.startsWith("/token")) {
        answer(response, 200, '{"token":"one"}', own("token"));
      } else if (request.headers.authorization === "Bearer one") {
        answerIndex(response, own("manifest"));
      } else {
        answer(response, 401, "", { "www-authenticate": `Bearer realm="${server.url}/token"`, ...own("challenge") });
      }
    });
    const { upstream } = startUpstream(context, server.host);
    assert.ok(await upstream.manifest(repository, tag, anyAsk()), place);
    assert.equal(server.asked.length, 3);
  }
});

test("a challenge of 100 KiB is read", async (context) => {
  const server: ScriptedServer = await startServer(context, (request, response, path) => {
    if (path.startsWith("/token")) {
      answer(response, 200, '{"token":"one"}');
    } else if (request.headers.authorization === "Bearer one") {
      answerIndex(response);
    } else {
      deny(response, `Bearer realm="http://HOST/token",error_description="${large}"`, server.host);
    }
  });
  assert.ok(await startUpstream(context, server.host).upstream.manifest(repository, tag, anyAsk()));
});

test("a signed URL of 100 KiB is followed", async (context) => {
  const server = await startServer(context, (_request, response, path) =>
    path.startsWith("/signed")
      ? answer(response, 200, "blob")
      : answer(response, 307, "", { location: `/signed?token=${large}` }),
  );
  const { upstream } = startUpstream(context, server.host);
  const opened = await upstream.blob(repository, someDigest, { offset: 0 }, anyAsk());
  assert.equal(opened && (await collect(opened.body)), "blob");
});

test("headers are bounded all the same", async (context) => {
  const server = await startServer(context, (_request, response) =>
    answerIndex(response, { "x-policy": large.repeat(2) }),
  );
  const { upstream } = startUpstream(context, server.host);
  await assert.rejects(upstream.manifest(repository, tag, anyAsk()), failure("invalid", /UND_ERR_HEADERS_OVERFLOW/));
});
