import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type AcrOptions, createAcr } from "../../../../src/upstream/credentials/acr.ts";
import type { JsonAnswer, JsonRequest } from "../../../../src/upstream/credentials/fetch-json.ts";
import type { CredentialSource } from "../../../../src/upstream/credentials/source.ts";
import { answer, createClock, never, repository, startServer } from "../scripted.ts";
import { setEnvironment } from "./environment.ts";

const host = "example.azurecr.io";
const hour = 3_600_000;

function start(
  give: (clock: ReturnType<typeof createClock>) => JsonAnswer,
  overrides: Partial<AcrOptions> = {},
): { source: CredentialSource; clock: ReturnType<typeof createClock>; requests: JsonRequest[]; audiences: string[] } {
  const clock = createClock();
  const requests: JsonRequest[] = [];
  const audiences: string[] = [];
  const source = createAcr({
    host,
    clock,
    askToken: async (audience) => {
      audiences.push(audience);
      return "entra s3cret";
    },
    fetchJson: async (request) => {
      requests.push(request);
      return give(clock);
    },
    random: () => 0,
    ...overrides,
  });
  return { source, clock, requests, audiences };
}

const webToken = (payload: unknown): string =>
  `e30.${Buffer.from(JSON.stringify(payload)).toString("base64url")}.c2lnbmF0dXJl`;
const giving = (refreshToken: unknown) => (): JsonAnswer => ({ status: 200, body: { refresh_token: refreshToken } });

describe("the host", () => {
  for (const [good, audience] of [
    ["example.azurecr.io", "https://containerregistry.azure.net"],
    ["example-a1b2c3.azurecr.io", "https://containerregistry.azure.net"],
    ["example.azurecr.cn", "https://management.chinacloudapi.cn"],
    ["example.azurecr.us", "https://management.usgovcloudapi.net"],
  ] as const) {
    test(`${good} is ${audience}`, async () => {
      const { source, audiences } = start(giving("x"), { host: good });
      await source.get(repository, never());
      assert.deepEqual(audiences, [audience]);
    });
  }
  for (const bad of ["azurecr.io", "example.azurecr.io.example.com", "a.b.azurecr.io", "example.azurecr.io:", "x"]) {
    test(`${bad} gets no token of Azure's`, () => {
      assert.throws(() => start(giving("x"), { host: bad }), {
        name: "CredentialError",
        message: `ACR credentials for ${bad}: expected <name>.azurecr.io`,
      });
    });
  }
});

test("Entra ID's token is exchanged at the registry for an identity token", async () => {
  const { source, requests } = start(giving("refresh"), { tenantId: "tenant" });
  assert.deepEqual(await source.get(repository, never()), { username: "<token>", password: "refresh" });
  await source.get(repository, never());
  assert.equal(requests.length, 1);
  const [request] = requests;
  assert.equal(`${request?.method} ${request?.url.href}`, "POST https://example.azurecr.io/oauth2/exchange");
  assert.equal(request?.headers["content-type"], "application/x-www-form-urlencoded");
  assert.deepEqual(Object.fromEntries(new URLSearchParams(request?.body)), {
    grant_type: "access_token",
    service: host,
    tenant: "tenant",
    access_token: "entra s3cret",
  });
});

test("the registry's port is no part of the service's name", async () => {
  const { source, requests } = start(giving("refresh"), { host: "example.azurecr.io:8443" });
  await source.get(repository, never());
  assert.equal(requests[0]?.url.href, "https://example.azurecr.io:8443/oauth2/exchange");
  assert.equal(new URLSearchParams(requests[0]?.body).get("service"), "example.azurecr.io");
});

test("the refresh token's own expiry counts", async () => {
  const { source, clock, requests } = start((at) => ({
    status: 200,
    body: { refresh_token: webToken({ exp: (at.time + 3 * hour) / 1000 }) },
  }));
  await source.get(repository, never());
  clock.time += 2 * hour;
  await source.get(repository, never());
  assert.equal(requests.length, 1);
  clock.time += hour;
  await source.get(repository, never());
  assert.equal(requests.length, 2);
});

for (const token of ["opaque", "a.b.c", webToken(null), webToken({ exp: "soon" })]) {
  test(`a refresh token that does not say (${token}) is used for an hour`, async () => {
    const { source, clock, requests } = start(giving(token));
    await source.get(repository, never());
    clock.time += 0.7 * hour;
    await source.get(repository, never());
    assert.equal(requests.length, 1);
    clock.time += 0.3 * hour;
    await source.get(repository, never());
    assert.equal(requests.length, 2);
  });
}

for (const [given, message] of [
  [{ status: 401, body: { errors: [{ detail: "entra s3cret" }] } }, "the exchange of the token failed with status 401"],
  [{ status: 307, body: undefined }, "the exchange of the token failed with status 307"],
  [{ status: 200, body: undefined }, "the exchange of the token gave no refresh token"],
  [{ status: 200, body: { refresh_token: "" } }, "the exchange of the token gave no refresh token"],
  [{ status: 200, body: { refresh_token: 1 } }, "the exchange of the token gave no refresh token"],
] as const) {
  test(`${message}: ${JSON.stringify(given)}`, async () => {
    const { source } = start(() => given);
    await assert.rejects(source.get(repository, never()), { message: `ACR credentials for ${host}: ${message}` });
  });
}

test("Azure's own library asks for a managed identity", async (context) => {
  const server = await startServer(context, (_request, response) => {
    const expires = String(Math.floor(Date.now() / 1000) + 3600);
    const body = { access_token: "managed", expires_on: expires, resource: "x", token_type: "Bearer" };
    answer(response, 200, JSON.stringify(body), { "content-type": "application/json" });
  });
  setEnvironment(context, {
    AZURE_CLIENT_ID: undefined,
    AZURE_CLIENT_SECRET: undefined,
    AZURE_FEDERATED_TOKEN_FILE: undefined,
    AZURE_TOKEN_CREDENTIALS: "ManagedIdentityCredential",
    IDENTITY_ENDPOINT: `${server.url}/identity`,
    IDENTITY_HEADER: "header",
  });
  const { source, requests } = start(giving("refresh"), { askToken: undefined, clientId: "client" });
  assert.equal((await source.get(repository, never()))?.password, "refresh");
  assert.equal(new URLSearchParams(requests[0]?.body).get("access_token"), "managed");
  const asked = new URL(server.asked[0]?.split(" ")[1] ?? "", server.url);
  assert.equal(asked.searchParams.get("resource"), "https://containerregistry.azure.net");
  assert.equal(asked.searchParams.get("client_id"), "client");
});
