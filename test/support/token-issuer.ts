import { randomUUID } from "node:crypto";
import { type Answer, errorAnswer, jsonAnswer } from "./answer.ts";
import type { RecordedRequest } from "./behaviour.ts";

/** How a registry asks for a token (distribution, docs/spec/auth). */
export interface TokenOptions {
  /** Where tokens are issued; by default `/token` of the same upstream. */
  readonly realm?: string;
  /** Named in the challenge; false for none. "scripted" by default. */
  readonly service?: string | false;
  /** Named in the challenge in place of `repository:<repository>:pull`; false for none. */
  readonly scope?: string | false;
  /** In the token's answer; false for none. 300 by default. */
  readonly expiresInSeconds?: number | false;
  /** The field that holds the token; "token" by default. */
  readonly field?: "token" | "access_token";
  /** Who gets a token; everybody without it. */
  readonly credentials?: { readonly username: string; readonly password: string };
  /** What is accepted at POST (the OAuth2 flow); without it POST is answered 404. */
  readonly refreshToken?: string;
}

/** The tokens of one upstream. */
export interface TokenIssuer {
  /** How many tokens were issued. */
  readonly issued: number;
  /** Makes all tokens so far worthless. */
  revoke(): void;
}

/** The part of an issuer that the upstream itself uses. */
export interface TokenGate extends TokenIssuer {
  /** The challenge for a request that has no good token, or nothing when it has one. */
  check(request: RecordedRequest, repository: string | undefined): Answer | undefined;
  /** Answers a request to the realm. */
  issue(request: RecordedRequest): Answer;
}

/** Makes the gate of an upstream at `host`. */
export function createTokenGate(host: string, options: TokenOptions): TokenGate {
  const tokens = new Map<string, ReadonlySet<string>>();
  const { realm = `http://${host}/token`, service = "scripted", expiresInSeconds = 300, field = "token" } = options;
  let issued = 0;

  function challenge(repository: string | undefined, error: string | undefined): Answer {
    const scope = options.scope ?? (repository === undefined ? false : `repository:${repository}:pull`);
    const parts = [
      `realm="${realm}"`,
      ...(service === false ? [] : [`service="${service}"`]),
      ...(scope === false ? [] : [`scope="${scope}"`]),
      ...(error === undefined ? [] : [`error="${error}"`]),
    ];
    return errorAnswer(401, "UNAUTHORIZED", { "www-authenticate": `Bearer ${parts.join(",")}` });
  }

  function isKnown(request: RecordedRequest): boolean {
    if (request.method === "POST") {
      return new URLSearchParams(request.body).get("refresh_token") === options.refreshToken;
    }
    const { credentials } = options;
    return credentials === undefined || request.headers.authorization === basic(credentials);
  }

  return {
    get issued() {
      return issued;
    },
    revoke() {
      tokens.clear();
    },
    check(request, repository) {
      const [, token] = /^Bearer (.+)$/i.exec(request.headers.authorization ?? "") ?? [];
      if (token === undefined) {
        return challenge(repository, undefined);
      }
      const scopes = tokens.get(token);
      if (scopes === undefined) {
        return challenge(repository, "invalid_token");
      }
      const needed = options.scope || `repository:${repository}:pull`;
      return repository === undefined || scopes.has(needed) ? undefined : challenge(repository, "insufficient_scope");
    },
    issue(request) {
      if (request.method === "POST" && options.refreshToken === undefined) {
        return errorAnswer(404, "NOT_FOUND");
      }
      if (!isKnown(request)) {
        return errorAnswer(401, "UNAUTHORIZED");
      }
      const parameters = new URLSearchParams(request.method === "POST" ? request.body : request.query);
      const token = `token-${randomUUID()}`;
      tokens.set(token, new Set(parameters.getAll("scope").flatMap((scope) => scope.split(" "))));
      issued += 1;
      return jsonAnswer(200, {
        [field]: token,
        ...(expiresInSeconds === false ? {} : { expires_in: expiresInSeconds }),
      });
    },
  };
}

/** The `Authorization` that stands for a user's name and password. */
export function basic(credentials: { readonly username: string; readonly password: string }): string {
  return `Basic ${Buffer.from(`${credentials.username}:${credentials.password}`).toString("base64")}`;
}
