import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test, type TestContext } from "node:test";
import type { AwsKeys } from "../../../../src/upstream/credentials/aws-signature.ts";
import { parseEcrHost } from "../../../../src/oci/provider-hosts.ts";
import { createEcr, type EcrOptions } from "../../../../src/upstream/credentials/ecr.ts";
import { createFetchJson } from "../../../../src/upstream/credentials/fetch-json.ts";
import type { CredentialSource } from "../../../../src/upstream/credentials/source.ts";
import { createTemporaryDirectory } from "../../../support/temporary.ts";
import { answer, createClock, type Handler, never, repository, type ScriptedServer, startServer } from "../scripted.ts";
import { setEnvironment } from "./environment.ts";

const privateHost = "012345678901.dkr.ecr.eu-central-1.amazonaws.com";
const hour = 3_600_000;
const keys = async (): Promise<AwsKeys> => ({
  accessKeyId: "AKIDEXAMPLE",
  secretAccessKey: "s3cret",
  sessionToken: "t0ken",
});

async function start(
  context: TestContext,
  handler: Handler,
  overrides: Partial<EcrOptions> = {},
): Promise<{
  source: CredentialSource;
  server: ScriptedServer;
  clock: ReturnType<typeof createClock>;
  problems: string[];
}> {
  const server = await startServer(context, handler);
  const clock = createClock();
  const problems: string[] = [];
  const source = createEcr({
    host: privateHost,
    clock,
    fetchJson: createFetchJson(),
    endpoint: server.url,
    keys,
    random: () => 0,
    onProblem: (problem) => problems.push(problem.message),
    ...overrides,
  });
  context.after(() => source.close());
  return { source, server, clock, problems };
}

const token = (password: string): string => Buffer.from(`AWS:${password}`).toString("base64");
const json = { "content-type": "application/x-amz-json-1.1" };

describe("the host", () => {
  for (const [host, expected] of [
    [privateHost, { kind: "private", account: "012345678901", region: "eu-central-1", fips: false }],
    [
      "012345678901.dkr.ecr.cn-north-1.amazonaws.com.cn",
      { kind: "private", account: "012345678901", region: "cn-north-1", fips: false },
    ],
    [
      "012345678901.dkr-ecr.us-east-2.on.aws",
      { kind: "private", account: "012345678901", region: "us-east-2", fips: false },
    ],
    [
      "012345678901.dkr.ecr-fips.us-gov-west-1.amazonaws.com",
      { kind: "private", account: "012345678901", region: "us-gov-west-1", fips: true },
    ],
    [`${privateHost}:443`, { kind: "private", account: "012345678901", region: "eu-central-1", fips: false }],
    ["public.ecr.aws", { kind: "public" }],
    ["public.ecr.aws:443", { kind: "public" }],
    ["012345678901.dkr.ecr.eu-central-1.amazonaws.com.example.com", undefined],
    ["example.com.012345678901.dkr.ecr.eu-central-1.amazonaws.com", undefined],
    ["12345.dkr.ecr.eu-central-1.amazonaws.com", undefined],
    ["s3.eu-central-1.amazonaws.com", undefined],
    ["registry.example.com", undefined],
  ] as const) {
    test(host, () => assert.deepEqual(parseEcrHost(host), expected));
  }

  test("another host gets no credentials of AWS", () => {
    const options = { host: "registry.example.com", clock: createClock(), fetchJson: createFetchJson(), keys };
    assert.throws(() => createEcr(options), {
      name: "CredentialError",
      message:
        "ECR credentials for registry.example.com: expected <account>.dkr.ecr.<region>.amazonaws.com, or public.ecr.aws",
    });
  });
});

test("the token is asked for once, and again in the last quarter of its life", async (context) => {
  const clock = createClock();
  let number = 0;
  const { source, server } = await start(
    context,
    (_request, response) => {
      number += 1;
      const expiresAt = (clock.time + 12 * hour) / 1000;
      answer(
        response,
        200,
        JSON.stringify({ authorizationData: [{ authorizationToken: token(`pass:${number}`), expiresAt }] }),
        json,
      );
    },
    { clock },
  );
  const both = await Promise.all([source.get(repository, never()), source.get(repository, never())]);
  assert.deepEqual(both, [
    { username: "AWS", password: "pass:1" },
    { username: "AWS", password: "pass:1" },
  ]);
  const { headers } = server.requests[0] ?? {};
  assert.equal(headers?.["x-amz-target"], "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken");
  assert.match(headers?.authorization ?? "", /Credential=AKIDEXAMPLE\/\d{8}\/eu-central-1\/ecr\/aws4_request/);

  clock.time += 9 * hour - 1;
  await source.get(repository, never());
  assert.equal(server.asked.length, 1);
  clock.time += 3 * hour + 1;
  assert.deepEqual(await source.get(repository, never()), { username: "AWS", password: "pass:2" });

  source.refused({ username: "AWS", password: "pass:2" });
  assert.deepEqual(await source.get(repository, never()), { username: "AWS", password: "pass:3" });
});

test("the answer's own expiry counts", async (context) => {
  const { source, server, clock } = await start(context, (_request, response) =>
    answer(
      response,
      200,
      JSON.stringify({
        authorizationData: [{ authorizationToken: token("x"), expiresAt: (clock.time + hour) / 1000 }],
      }),
      json,
    ),
  );
  await source.get(repository, never());
  clock.time += hour;
  await source.get(repository, never());
  assert.equal(server.asked.length, 2);
});

test("an error of AWS is told by its name; its message, which quotes what was sent, is not", async (context) => {
  const { source } = await start(context, (_request, response) =>
    answer(
      response,
      400,
      JSON.stringify({ __type: "InvalidSignatureException", message: "x-amz-security-token:t0ken" }),
      json,
    ),
  );
  await assert.rejects(source.get(repository, never()), {
    name: "CredentialError",
    message: `ECR credentials for ${privateHost}: InvalidSignatureException (status 400)`,
  });
});

for (const [title, body] of [
  ["is empty", {}],
  ["has no data", { authorizationData: [] }],
  ["has no token", { authorizationData: [{}] }],
  ["has a token without a colon", { authorizationData: [{ authorizationToken: "aGk=" }] }],
] as const) {
  test(`an answer that ${title}`, async (context) => {
    const { source } = await start(context, (_request, response) => answer(response, 200, JSON.stringify(body), json));
    await assert.rejects(source.get(repository, never()), /the answer of GetAuthorizationToken holds no token$/);
  });
}

test("AWS's own chain finds the keys, in a file that has changed as well", async (context) => {
  await using folder = await createTemporaryDirectory();
  const file = join(folder.path, "credentials");
  const write = (id: string): Promise<void> =>
    writeFile(file, `[default]\naws_access_key_id = ${id}\naws_secret_access_key = s3cret\n`);
  setEnvironment(context, {
    AWS_SHARED_CREDENTIALS_FILE: file,
    AWS_CONFIG_FILE: join(folder.path, "config"),
    AWS_EC2_METADATA_DISABLED: "true",
    AWS_ACCESS_KEY_ID: undefined,
    AWS_SECRET_ACCESS_KEY: undefined,
    AWS_PROFILE: undefined,
  });
  const { source, server, clock } = await start(
    context,
    (_request, response) =>
      answer(response, 200, JSON.stringify({ authorizationData: [{ authorizationToken: token("x") }] }), json),
    { keys: undefined },
  );
  await write("AKIDFIRST");
  await source.get(repository, never());
  await write("AKIDSECOND");
  clock.time += 12 * hour;
  await source.get(repository, never());
  assert.deepEqual(
    server.authorizations.map((header) => /Credential=(\w+)/.exec(header ?? "")?.[1]),
    ["AKIDFIRST", "AKIDSECOND"],
  );
});

describe("the public registry", () => {
  const publicHost = "public.ecr.aws";

  test("is asked for with a signature of its own", async (context) => {
    const { source, server, clock } = await start(
      context,
      (_request, response) => {
        const authorizationData = { authorizationToken: token("public"), expiresAt: (clock.time + hour) / 1000 };
        answer(response, 200, JSON.stringify({ authorizationData }), json);
      },
      { host: publicHost },
    );
    assert.deepEqual(await source.get(repository, never()), { username: "AWS", password: "public" });
    const { headers, method, url } = server.requests[0] ?? {};
    assert.equal(`${method} ${url}`, "POST /");
    assert.equal(headers?.["x-amz-target"], "SpencerFrontendService.GetAuthorizationToken");
    assert.equal(headers?.["x-amz-security-token"], "t0ken");
    assert.equal(headers?.["content-type"], "application/x-amz-json-1.1");
    assert.match(
      headers?.authorization ?? "",
      /^AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE\/20231114\/us-east-1\/ecr-public\/aws4_request, SignedHeaders=content-type;host;x-amz-date;x-amz-security-token;x-amz-target, /,
    );
    clock.time += hour / 2;
    await source.get(repository, never());
    assert.equal(server.asked.length, 1);
    clock.time += hour / 2;
    await source.get(repository, never());
    assert.equal(server.asked.length, 2, "the answer's expiry counts");
  });

  test("an error is told by its status", async (context) => {
    const { source } = await start(
      context,
      (_request, response) => answer(response, 403, JSON.stringify({ message: "t0ken" }), json),
      { host: publicHost },
    );
    await assert.rejects(source.get(repository, never()), {
      message: "ECR credentials for public.ecr.aws: GetAuthorizationToken failed with status 403",
    });
  });
});
