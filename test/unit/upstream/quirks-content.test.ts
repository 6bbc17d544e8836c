/*
 * How real registries deliver what was granted, a row for each way.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { acceptManifests } from "../../../src/oci/manifest.ts";
import {
  bearer,
  blob,
  blobPath,
  cdn,
  challenge,
  found,
  hub,
  manifest,
  manifestPath,
  pullScope,
  redirectTo,
  store,
  testQuirks,
  wantsToken,
} from "./quirk.ts";
import {
  anyAsk,
  answer,
  answerIndex,
  collect,
  indexBytes,
  indexType,
  repository,
  someDigest,
  tag,
} from "./scripted.ts";
import { startWorld } from "./world.ts";

const tagsBody = '{"name":"library/alpine","tags":["a"]}';
const basicOf = (username: string, password: string): string =>
  `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
const acrUser = "00000000-0000-0000-0000-000000000000";
testQuirks([
  {
    name: "ghcr.io: referrers are a 303 to a web site, which is not followed",
    hosts: { [hub]: redirectTo(cdn, "/web", 303), [cdn]: (_request, response) => answer(response, 200, "<html>") },
    ask: (upstream) => upstream.referrers(repository, someDigest, "", anyAsk()),
    gives: { value: undefined },
    asks: [`GET ${hub}…/referrers/${someDigest} -`],
  },
  {
    name: "ghcr.io, quay.io: OCI types must be in Accept, each to the letter",
    hosts: {
      [hub]: (request, response) =>
        (request.headers.accept ?? "").split(", ").includes(indexType)
          ? answerIndex(response)
          : answer(response, 200, '{"schemaVersion":1}', {
              "content-type": "application/vnd.docker.distribution.manifest.v1+prettyjws",
            }),
    },
    ask: manifest,
    gives: found,
    asks: [`GET ${hub}${manifestPath} -`],
  },
  {
    name: "quay.io: an expired tag is 404",
    hosts: { [hub]: (_request, response) => answer(response, 404, '{"errors":[{"code":"TAG_EXPIRED"}]}') },
    ask: manifest,
    gives: { value: undefined },
    asks: [`GET ${hub}${manifestPath} -`],
  },
  {
    name: "*-docker.pkg.dev: blobs are redirected within the host, where the token goes along",
    hosts: {
      [hub]: wantsToken(bearer("HUB", "/v2/token"), (request, response, path, at) =>
        path.startsWith("/artifacts-downloads/")
          ? answer(response, 200, "blob")
          : redirectTo(hub, "/artifacts-downloads/x?sig=1", 302)(request, response, path, at),
      ),
    },
    ask: blob,
    gives: { value: "blob" },
    asks: [
      `GET ${hub}${blobPath} -`,
      `GET ${hub}/v2/token?scope=${pullScope} -`,
      `GET ${hub}${blobPath} Bearer one`,
      `GET ${hub}/artifacts-downloads/x?sig=1 Bearer one`,
    ],
  },
  {
    name: "registry.k8s.io: manifests are redirected, and the digest is not announced",
    hosts: {
      [hub]: redirectTo(cdn, "/v2/k8s-artifacts-prod/images/alpine/manifests/latest"),
      [cdn]: (_request, response) => answerIndex(response),
    },
    ask: manifest,
    gives: found,
    asks: [`GET ${hub}${manifestPath} -`, `GET ${cdn}/v2/k8s-artifacts-prod/images/alpine/manifests/latest -`],
  },
  {
    name: "registry.k8s.io: tag lists are redirected without their query, and link to the other host's path",
    hosts: {
      [hub]: redirectTo(cdn, "/v2/k8s-artifacts-prod/images/alpine/tags/list"),
      [cdn]: (_request, response) =>
        answer(response, 200, tagsBody, {
          link: '</v2/k8s-artifacts-prod/images/alpine/tags/list?n=1&last=a>; rel="next"',
        }),
    },
    ask: async (upstream) => (await upstream.tags(repository, "n=1", anyAsk()))?.nextQuery,
    gives: { value: "n=1&last=a" },
    asks: [`GET ${hub}…/tags/list?n=1 -`, `GET ${cdn}/v2/k8s-artifacts-prod/images/alpine/tags/list?n=1 -`],
  },
  {
    name: "registry.k8s.io: referrers are redirected without their filter",
    hosts: { [hub]: redirectTo(cdn, "/referrers"), [cdn]: (_request, response) => answerIndex(response) },
    ask: async (upstream) => (await upstream.referrers(repository, someDigest, "artifactType=a", anyAsk())) && "found",
    gives: found,
    asks: [`GET ${hub}…/referrers/${someDigest}?artifactType=a -`, `GET ${cdn}/referrers?artifactType=a -`],
  },
  {
    name: "mcr.microsoft.com: no token at all",
    hosts: { [hub]: redirectTo(cdn, "/data?sig=1"), [cdn]: store },
    ask: blob,
    gives: { value: "blob" },
    asks: [`GET ${hub}${blobPath} -`, `GET ${cdn}/data?sig=1 -`],
  },
  {
    name: "public.ecr.aws: the scope is `aws`; HEAD of a blob is always 401, and never asked",
    hosts: {
      [hub]: wantsToken(bearer("HUB", "/token/", ',service="public.ecr.aws",scope="aws"'), (request, ...rest) => {
        if (request.method === "HEAD") {
          challenge(rest[0]);
        } else {
          redirectTo(cdn, "/blob?sig=1")(request, ...rest);
        }
      }),
      [cdn]: store,
    },
    ask: (upstream) => upstream.statBlob(repository, someDigest, anyAsk()),
    gives: { value: { sizeBytes: 4 } },
    asks: [
      `GET ${hub}${blobPath} -`,
      `GET ${hub}/token/?service=public.ecr.aws&scope=aws -`,
      `GET ${hub}${blobPath} Bearer one`,
      `GET ${cdn}/blob?sig=1 -`,
    ],
  },
  {
    name: "public.ecr.aws: the data limit is 429, without a time to wait",
    hosts: { [hub]: (_request, response) => answer(response, 429, "Data limit exceeded") },
    ask: manifest,
    gives: { failure: "rate-limited" },
    asks: [`GET ${hub}${manifestPath} -`],
  },
  {
    name: "private ECR: more than 1000 tags at once are 405",
    hosts: { [hub]: (_request, response) => answer(response, 405, '{"errors":[{"code":"UNSUPPORTED"}]}') },
    ask: (upstream) => upstream.tags(repository, "n=1001", anyAsk()),
    gives: { failure: "status" },
    asks: [`GET ${hub}…/tags/list?n=1001 -`],
  },
  {
    name: "ACR: only `access_token`, and a store that refuses the registry's Authorization",
    hosts: {
      [hub]: wantsToken(
        bearer("HUB", "/oauth2/token", ',service="registry.example.com",scope="repository:library/alpine:pull"'),
        redirectTo(cdn, "/blob?sig=1"),
        (_request, response) => answer(response, 200, '{"access_token":"one"}'),
      ),
      [cdn]: store,
    },
    options: { credentials: { username: acrUser, password: "refresh" } },
    ask: blob,
    gives: { value: "blob" },
    asks: [
      `GET ${hub}${blobPath} -`,
      `GET ${hub}/oauth2/token?service=registry.example.com&scope=${pullScope} ${basicOf(acrUser, "refresh")}`,
      `GET ${hub}${blobPath} Bearer one`,
      `GET ${cdn}/blob?sig=1 -`,
    ],
  },
  {
    name: "Harbor: absent is 404 with a code of its own",
    hosts: { [hub]: (_request, response) => answer(response, 404, '{"errors":[{"code":"NOT_FOUND"}]}') },
    ask: manifest,
    gives: { value: undefined },
    asks: [`GET ${hub}${manifestPath} -`],
  },
  {
    name: "S3 behind a registry: HEAD of a manifest is refused by the signed URL, GET is not",
    hosts: {
      [hub]: redirectTo(cdn, "/manifest?sig=1"),
      [cdn]: (request, response) => (request.method === "HEAD" ? answer(response, 403) : answerIndex(response)),
    },
    ask: async (upstream) => {
      const told = await upstream.resolve(repository, tag, anyAsk());
      return told && "bytes" in told && told.bytes.toString();
    },
    gives: { value: indexBytes.toString() },
    asks: [
      `HEAD ${hub}${manifestPath} -`,
      `HEAD ${cdn}/manifest?sig=1 -`,
      `GET ${hub}${manifestPath} -`,
      `GET ${cdn}/manifest?sig=1 -`,
    ],
  },
  {
    name: "a CDN that ignores Range gives the whole blob, of which the rest is used",
    hosts: { [hub]: redirectTo(cdn, "/blob?sig=1"), [cdn]: store },
    ask: async (upstream) => {
      const opened = await upstream.blob(repository, someDigest, { offset: 2 }, anyAsk());
      return opened && collect(opened.body);
    },
    gives: { value: "ob" },
    asks: [`GET ${hub}${blobPath} -`, `GET ${cdn}/blob?sig=1 -`],
  },
]);

test("every request has the whole Accept list, identity and a user agent (Harbor refuses requests without)", async (context) => {
  const seen: unknown[] = [];
  const { upstream } = await startWorld(context, {
    [hub]: (request, response) => {
      const { accept, "accept-encoding": coding, "user-agent": agent } = request.headers;
      seen.push([accept, coding, agent]);
      answerIndex(response);
    },
  });
  await manifest(upstream);
  assert.deepEqual(seen, [[acceptManifests, "identity", "entrepot/test"]]);
});
