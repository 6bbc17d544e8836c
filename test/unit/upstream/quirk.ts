import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { test } from "node:test";
import { type Upstream, UpstreamError, type UpstreamFailure } from "../../../src/upstream/upstream.ts";
import { answer, answerIndex, collect, anyAsk, repository, someDigest, type StartOptions, tag } from "./scripted.ts";
import { type HostHandler, startWorld } from "./world.ts";

/** One way of a real registry, told in the names of example.com and example.org. */
export interface Quirk {
  readonly name: string;
  /** The registry first. */
  readonly hosts: Readonly<Record<string, HostHandler>>;
  readonly options?: StartOptions;
  readonly ask: (upstream: Upstream) => Promise<unknown>;
  /** What comes out of it; `undefined`: absent. */
  readonly gives: { readonly value: unknown } | { readonly failure: UpstreamFailure };
  /** Every request with its Authorization, as `World.asked` has them; `…` stands for `/v2/library/alpine`. */
  readonly asks: readonly string[];
}

export const hub = "registry.example.com";
export const auth = "auth.example.com";
export const cdn = "cdn.example.org";
export const manifestPath = "…/manifests/latest";
export const blobPath: string = `…/blobs/${someDigest}`;
export const pullScope: string = encodeURIComponent("repository:library/alpine:pull");
export const found: { readonly value: unknown } = { value: "found" };

/** `found` where there is a manifest. */
export const manifest = async (upstream: Upstream): Promise<unknown> =>
  (await upstream.manifest(repository, tag, anyAsk())) && "found";

/** The blob's text. */
export const blob = async (upstream: Upstream): Promise<unknown> => {
  const opened = await upstream.blob(repository, someDigest, { offset: 0 }, anyAsk());
  return opened && collect(opened.body);
};

/** A 401 with these challenges in one line. */
export function challenge(response: ServerResponse, line?: string): void {
  answer(response, 401, '{"errors":[{"code":"UNAUTHORIZED"}]}', line === undefined ? {} : { "www-authenticate": line });
}

/** A token server that gives `one`, with these further fields. */
export const issue =
  (fields: object = {}): HostHandler =>
  (_request, response) =>
    answer(response, 200, JSON.stringify({ token: "one", ...fields }));

/** A registry that wants the token `one`, with this challenge, and then answers so; `AT` is the token server's host. */
export const wantsToken =
  (
    line: string,
    then: HostHandler = (_request, response) => answerIndex(response),
    token: HostHandler = issue(),
  ): HostHandler =>
  (request, response, path, at) => {
    const { authorization } = request.headers;
    if (/^\/(?:token|proxy_auth|v2\/auth|v2\/token|oauth2\/token|service\/token)/.test(path)) {
      token(request, response, path, at);
    } else if (authorization === "Bearer one") {
      then(request, response, path, at);
    } else {
      challenge(
        response,
        line.replaceAll("AUTH", at(auth)).replaceAll("HUB", at(hub)).replaceAll("ELSEWHERE", at("auth.example.org")),
      );
    }
  };

/** A redirect to a path of another host. */
export const redirectTo =
  (host: string, target: string, status: number = 307): HostHandler =>
  (_request, response, _path, at) =>
    answer(response, status, "", { location: `https://${at(host)}${target}` });

/** A store with signed URLs, which refuses whatever is signed twice or asked for by HEAD. */
export const store: HostHandler = (request, response) => {
  if (request.headers.authorization !== undefined || request.method === "HEAD") {
    answer(response, 400, "Authentication information is not given in the correct format");
  } else {
    answer(response, 200, "blob", { "content-type": "application/octet-stream" });
  }
};

/** A Bearer challenge; of the host, `HUB`, `AUTH` and `ELSEWHERE` are filled in by `wantsToken`. */
export const bearer = (host: string, path: string, rest: string = ""): string =>
  `Bearer realm="https://${host}${path}"${rest}`;

/** A test for each row. */
export function testQuirks(rows: readonly Quirk[]): void {
  for (const { name, hosts, options, ask, gives, asks } of rows) {
    test(name, async (context) => {
      const { upstream, asked } = await startWorld(context, hosts, options);
      if ("failure" in gives) {
        const error = await ask(upstream).catch((reason: unknown) => reason);
        assert.ok(error instanceof UpstreamError, String(error));
        assert.equal(error.failure, gives.failure);
      } else {
        assert.deepEqual(await ask(upstream), gives.value);
      }
      assert.deepEqual(
        asked,
        asks.map((line) => line.replace("…", "/v2/library/alpine")),
      );
    });
  }
}
