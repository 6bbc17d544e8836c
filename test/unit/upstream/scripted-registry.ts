import type { ServerResponse } from "node:http";
import type { TestContext } from "node:test";
import type { Credentials } from "../../../src/upstream/credentials.ts";
import type { Upstream } from "../../../src/upstream/upstream.ts";
import {
  answer,
  answerIndex,
  type Handler,
  type ObservedRequest,
  type ScriptedServer,
  startServer,
  type StartOptions,
  startUpstream,
} from "./scripted.ts";

export const alice: Credentials = { username: "alice", password: "s3cret" };
/** What they are in HTTP Basic. */
export const basicAlice: string = `Basic ${Buffer.from("alice:s3cret").toString("base64")}`;
export const scope: string = "repository:library/alpine:pull";

/** How a registry and its token server behave. */
export interface Script {
  /** The challenge; `HOST` is replaced by the server's address. */
  challenge?: string | string[] | undefined;
  token?: Handler;
  /** Which Authorization is good. */
  accepts?: (authorization: string | undefined) => boolean;
}

/** A registry that wants a token, and its token server at `/token`. */
export async function startRegistry(
  context: TestContext,
  script: Script = {},
  options: StartOptions = {},
): Promise<{ server: ScriptedServer; upstream: Upstream; observed: ObservedRequest[] }> {
  const server: ScriptedServer = await startServer(context, (request, response, path) => {
    const {
      challenge = `Bearer realm="http://HOST/token",service="registry",scope="${scope}"`,
      token = () => answer(response, 200, '{"token":"one","expires_in":100}'),
      accepts = (authorization) => authorization === "Bearer one",
    } = script;
    if (path.startsWith("/token")) {
      token(request, response, path);
    } else if (accepts(request.headers.authorization)) {
      answerIndex(response);
    } else {
      deny(response, challenge, server.host);
    }
  });
  return { server, ...startUpstream(context, server.host, options) };
}

/** A 401 with these challenges, a header line for each. */
export function deny(response: ServerResponse, challenge: string | string[] | undefined, host: string): void {
  const lines = [challenge ?? []].flat().map((line) => line.replaceAll("HOST", host));
  answer(response, 401, "{}", lines.length === 0 ? {} : { "www-authenticate": lines });
}

export const manifestPath: string = "GET /v2/library/alpine/manifests/latest";
export const tokenPath: string = `GET /token?service=registry&scope=${encodeURIComponent(scope)}`;
