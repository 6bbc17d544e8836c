/*
 * How real registries grant and deny, a row for each way.
 */
import {
  auth,
  bearer,
  blob,
  blobPath,
  cdn,
  challenge,
  found,
  hub,
  issue,
  manifest,
  manifestPath,
  pullScope,
  type Quirk,
  redirectTo,
  store,
  testQuirks,
  wantsToken,
} from "./quirk.ts";
import { answer, answerIndex } from "./scripted.ts";

const ecrUser = { username: "AWS", password: "ecr" };
const basicOf = (username: string, password: string): string =>
  `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
const basicEcr = basicOf("AWS", "ecr");
testQuirks([
  {
    name: "Docker Hub: a token server of the same site; blobs at a rotating CDN",
    hosts: {
      [hub]: wantsToken(
        bearer("AUTH", "/token", ',service="registry.docker.io",scope="repository:library/alpine:pull"'),
        redirectTo(cdn, "/blob?verify=1"),
      ),
      [auth]: issue({ access_token: "one", expires_in: 300, issued_at: "2001-01-01T00:00:00Z" }),
      [cdn]: store,
    },
    options: { credentials: { username: "u", password: "p" } },
    ask: blob,
    gives: { value: "blob" },
    asks: [
      `GET ${hub}${blobPath} -`,
      `GET ${auth}/token?service=registry.docker.io&scope=${pullScope} ${basicOf("u", "p")}`,
      `GET ${hub}${blobPath} Bearer one`,
      `GET ${cdn}/blob?verify=1 -`,
    ],
  },
  {
    name: "Docker Hub: absent or private is 401, with a good token",
    hosts: {
      [hub]: wantsToken(bearer("AUTH", "/token"), (_request, response, _path, at) =>
        challenge(response, `Bearer realm="https://${at(auth)}/token",error="insufficient_scope"`),
      ),
      [auth]: issue(),
    },
    ask: manifest,
    gives: { failure: "denied" },
    asks: [
      `GET ${hub}${manifestPath} -`,
      `GET ${auth}/token?scope=${pullScope} -`,
      `GET ${hub}${manifestPath} Bearer one`,
    ],
  },
  ...[401, 403].map((status): Quirk => ({
    name: `ghcr.io: absent or private is ${status} of the token server`,
    hosts: {
      [hub]: wantsToken(bearer("HUB", "/token", ',service="ghcr.io"'), undefined, (_request, response) =>
        answer(response, status, '{"errors":[{"code":"DENIED"}]}'),
      ),
    },
    ask: manifest,
    gives: { failure: "denied" },
    asks: [`GET ${hub}${manifestPath} -`, `GET ${hub}/token?service=ghcr.io&scope=${pullScope} -`],
  })),
  {
    name: "ghcr.io: the scope of /v2/ is a placeholder",
    hosts: {
      [hub]: (request, response, path, at) =>
        path === "/v2/" || path.startsWith("/token") || request.headers.authorization !== undefined
          ? wantsToken(bearer("HUB", "/token", ',service="ghcr.io",scope="repository:user/image:pull"'))(
              request,
              response,
              path,
              at,
            )
          : challenge(response),
    },
    ask: manifest,
    gives: found,
    asks: [
      `GET ${hub}${manifestPath} -`,
      `GET ${hub}/v2/ -`,
      `GET ${hub}/token?service=ghcr.io&scope=${pullScope} -`,
      `GET ${hub}${manifestPath} Bearer one`,
    ],
  },
  {
    name: "quay.io: an invalid name is 400 of the token server",
    hosts: {
      [hub]: wantsToken(bearer("HUB", "/v2/auth", ',service="quay.io"'), undefined, (_request, response) =>
        answer(response, 400, '{"error":"invalid repository name"}'),
      ),
    },
    ask: manifest,
    gives: { failure: "denied" },
    asks: [`GET ${hub}${manifestPath} -`, `GET ${hub}/v2/auth?service=quay.io&scope=${pullScope} -`],
  },
  {
    name: "gcr.io: a 401 without a challenge; a user with an access token for a password",
    hosts: {
      [hub]: (request, response, path, at) => {
        if (path === "/v2/") {
          challenge(response, `Bearer realm="https://${at(hub)}/v2/token",service="gcr.io"`);
        } else if (path.startsWith("/v2/token")) {
          issue()(request, response, path, at);
        } else if (request.headers.authorization === "Bearer one") {
          answerIndex(response);
        } else {
          challenge(response);
        }
      },
    },
    options: { credentials: { username: "oauth2accesstoken", password: "ya29" } },
    ask: manifest,
    gives: found,
    asks: [
      `GET ${hub}${manifestPath} -`,
      `GET ${hub}/v2/ -`,
      `GET ${hub}/v2/token?service=gcr.io&scope=${pullScope} ${basicOf("oauth2accesstoken", "ya29")}`,
      `GET ${hub}${manifestPath} Bearer one`,
    ],
  },
  {
    name: "gcr.io served by Artifact Registry: the challenge's scope has another name",
    hosts: { [hub]: wantsToken(bearer("HUB", "/v2/token", ',scope="repository:project/gcr.io/alpine:pull"')) },
    ask: manifest,
    gives: found,
    asks: [
      `GET ${hub}${manifestPath} -`,
      `GET ${hub}/v2/token?scope=${encodeURIComponent("repository:project/gcr.io/alpine:pull")} -`,
      `GET ${hub}${manifestPath} Bearer one`,
    ],
  },
  {
    name: "private ECR: Basic; no digest is announced",
    hosts: {
      [hub]: (request, response, _path, at) =>
        request.headers.authorization === basicEcr
          ? answerIndex(response)
          : challenge(response, `Basic realm="https://${at(hub)}/",service="ecr.amazonaws.com"`),
    },
    options: { credentials: ecrUser },
    ask: manifest,
    gives: found,
    asks: [`GET ${hub}${manifestPath} -`, `GET ${hub}${manifestPath} ${basicEcr}`],
  },
  {
    name: "private ECR: a name that it does not like is 400",
    hosts: { [hub]: (_request, response) => answer(response, 400, '{"errors":[{"code":"NAME_INVALID"}]}') },
    ask: manifest,
    gives: { failure: "denied" },
    asks: [`GET ${hub}${manifestPath} -`],
  },
  {
    name: "nvcr.io: no service; the key's user name has a dollar",
    hosts: { [hub]: wantsToken(bearer("HUB", "/proxy_auth", ',scope="repository:library/alpine:pull"')) },
    options: { credentials: { username: "$oauthtoken", password: "key" } },
    ask: manifest,
    gives: found,
    asks: [
      `GET ${hub}${manifestPath} -`,
      `GET ${hub}/proxy_auth?scope=${pullScope} ${basicOf("$oauthtoken", "key")}`,
      `GET ${hub}${manifestPath} Bearer one`,
    ],
  },
  {
    name: "GitLab: the token server is another host of the site; forbidden and absent are 403",
    hosts: {
      [hub]: wantsToken(bearer("AUTH", "/jwt/auth", ',service="container_registry"'), (_request, response) =>
        answer(response, 403, '{"errors":[{"code":"DENIED"}]}'),
      ),
      [auth]: issue({ expires_in: 900 }),
    },
    ask: manifest,
    gives: { failure: "denied" },
    asks: [
      `GET ${hub}${manifestPath} -`,
      `GET ${auth}/jwt/auth?service=container_registry&scope=${pullScope} -`,
      `GET ${hub}${manifestPath} Bearer one`,
    ],
  },
  {
    name: "Forgejo: Bearer and Basic in one line, with commas in quotes",
    hosts: {
      [hub]: wantsToken(
        `${bearer("HUB", "/v2/token", ',service="container_registry",scope="repository:library/alpine:pull,push"')},Basic realm="x, y"`,
      ),
    },
    options: { credentials: { username: "u", password: "p" } },
    ask: manifest,
    gives: found,
    asks: [
      `GET ${hub}${manifestPath} -`,
      `GET ${hub}/v2/token?service=container_registry&scope=${pullScope} ${basicOf("u", "p")}`,
      `GET ${hub}${manifestPath} Bearer one`,
    ],
  },
  {
    name: "Artifactory: the token server is below a path, and has no POST",
    hosts: {
      [hub]: wantsToken(bearer("HUB", "/token/artifactory/v2/token"), undefined, (request, ...rest) =>
        request.method === "POST" ? answer(rest[0], 401) : issue()(request, ...rest),
      ),
    },
    options: { credentials: { username: "u", password: "p" } },
    ask: manifest,
    gives: found,
    asks: [
      `GET ${hub}${manifestPath} -`,
      `GET ${hub}/token/artifactory/v2/token?scope=${pullScope} ${basicOf("u", "p")}`,
      `GET ${hub}${manifestPath} Bearer one`,
    ],
  },
]);
