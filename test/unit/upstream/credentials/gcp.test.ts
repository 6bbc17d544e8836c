import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test, type TestContext } from "node:test";
import { createGcp } from "../../../../src/upstream/credentials/gcp.ts";
import { createTemporaryDirectory } from "../../../support/temporary.ts";
import { answer, createClock, never, repository, startServer } from "../scripted.ts";
import { setEnvironment } from "./environment.ts";

const host = "europe-docker.pkg.dev";
const scope = "https://www.googleapis.com/auth/cloud-platform";
const json = { "content-type": "application/json" };

describe("the host", () => {
  for (const good of ["gcr.io", "eu.gcr.io", "europe-west1-docker.pkg.dev", "us-docker.pkg.dev", "gcr.io:443"]) {
    test(good, () => assert.ok(createGcp({ host: good, clock: createClock() })));
  }
  for (const bad of ["gcr.io.example.com", "notgcr.io", "registry.example.com", "gcr.io:", ".gcr.io"]) {
    test(`${bad} gets no token of Google's`, () => {
      assert.throws(() => createGcp({ host: bad, clock: createClock() }), {
        message: `Google credentials for ${bad}: expected <location>-docker.pkg.dev, gcr.io or a host below it`,
      });
    });
  }
});

test("the token is the password, until it expires", async () => {
  const clock = createClock();
  let number = 0;
  const source = createGcp({
    host,
    clock,
    askToken: async () => ({ token: `token ${++number}`, expiresAt: clock.now() + 1000_000 }),
  });
  const first = { username: "oauth2accesstoken", password: "token 1" };
  assert.deepEqual(await source.get(repository, never()), first);
  clock.time += 700_000;
  assert.deepEqual(await source.get(repository, never()), first);
  assert.equal(number, 1);
  clock.time += 300_000;
  assert.deepEqual(await source.get(repository, never()), { username: "oauth2accesstoken", password: "token 2" });
});

test("a token that does not say how long it lives is used for five minutes", async () => {
  const clock = createClock();
  let number = 0;
  const askToken = async (): Promise<{ token: string; expiresAt: undefined }> => {
    number += 1;
    return { token: "x", expiresAt: undefined };
  };
  const source = createGcp({ host, clock, askToken });
  await source.get(repository, never());
  clock.time += 200_000;
  await source.get(repository, never());
  assert.equal(number, 1);
  clock.time += 100_000;
  await source.get(repository, never());
  assert.equal(number, 2);
});

for (const token of [null, undefined, ""]) {
  test(`an empty token (${JSON.stringify(token)}) is none`, async () => {
    const source = createGcp({ host, clock: createClock(), askToken: async () => ({ token, expiresAt: undefined }) });
    await assert.rejects(source.get(repository, never()), {
      message: `Google credentials for ${host}: no access token was given`,
    });
  });
}

/** An environment in which nothing but what the test gives is found. */
function isolate(context: TestContext, folder: string, metadataHost: string): void {
  setEnvironment(context, {
    GOOGLE_APPLICATION_CREDENTIALS: undefined,
    HOME: folder,
    GCE_METADATA_HOST: metadataHost,
    METADATA_SERVER_DETECTION: "assume-present",
  });
}

test("Google's own library asks the metadata server", async (context) => {
  await using folder = await createTemporaryDirectory();
  const server = await startServer(context, (request, response, path) => {
    assert.equal(request.headers["metadata-flavor"], "Google");
    const body = path.includes("/token") ? { access_token: "metadata", expires_in: 3600, token_type: "Bearer" } : {};
    answer(response, 200, JSON.stringify(body), { ...json, "metadata-flavor": "Google" });
  });
  isolate(context, folder.path, server.host);
  const clock = { ...createClock(), now: () => Date.now() };
  const source = createGcp({ host, clock });
  assert.deepEqual(await source.get(repository, never()), { username: "oauth2accesstoken", password: "metadata" });
  assert.ok(server.asked.some((line) => line.includes("/computeMetadata/v1/instance/service-accounts/default/token")));
  const asked = server.asked.length;
  await source.get(repository, never());
  assert.equal(server.asked.length, asked);
});

test("workload identity federation: the file's token is exchanged; a changed file is read again", async (context) => {
  await using folder = await createTemporaryDirectory();
  const bodies: string[] = [];
  const server = await startServer(context, (request, response) => {
    request.setEncoding("utf8");
    request.on("data", (part: string) => bodies.push(part));
    request.on("end", () => {
      const body = {
        access_token: `federated ${bodies.length}`,
        issued_token_type: "urn:ietf:params:oauth:token-type:access_token",
        token_type: "Bearer",
        expires_in: 3600,
      };
      answer(response, 200, JSON.stringify(body), json);
    });
  });
  isolate(context, folder.path, server.host);
  const subject = join(folder.path, "subject");
  const keyFile = join(folder.path, "federation.json");
  const configure = (audience: string): Promise<void> =>
    writeFile(
      keyFile,
      JSON.stringify({
        type: "external_account",
        audience,
        subject_token_type: "urn:ietf:params:oauth:token-type:jwt",
        token_url: `${server.url}/v1/token`,
        credential_source: { file: subject },
      }),
    );
  await writeFile(subject, "subject-token");
  await configure("//iam.googleapis.com/first");
  const clock = createClock();
  clock.time = Date.now();
  const source = createGcp({ host, clock, keyFile });
  assert.deepEqual(await source.get(repository, never()), {
    username: "oauth2accesstoken",
    password: "federated 1",
  });
  await configure("//iam.googleapis.com/second");
  source.refused({ username: "oauth2accesstoken", password: "federated 1" });
  assert.equal((await source.get(repository, never()))?.password, "federated 2");
  const forms = bodies.map((body) => new URLSearchParams(body));
  assert.deepEqual(
    forms.map((form) => [form.get("subject_token"), form.get("audience"), form.get("scope")]),
    [
      ["subject-token", "//iam.googleapis.com/first", scope],
      ["subject-token", "//iam.googleapis.com/second", scope],
    ],
  );
});

test("a service account's key that is none fails before anything is sent, and is not quoted", async (context) => {
  await using folder = await createTemporaryDirectory();
  isolate(context, folder.path, "127.0.0.1:1");
  const keyFile = join(folder.path, "key.json");
  // With a good key, the library would ask Google: it does not let us choose the token server.
  await writeFile(
    keyFile,
    JSON.stringify({ type: "service_account", client_email: "a@example.com", private_key: "hunter2" }),
  );
  const source = createGcp({ host, clock: createClock(), keyFile });
  await assert.rejects(source.get(repository, never()), (error) => {
    assert.ok(error instanceof Error);
    assert.equal(error.name, "CredentialError");
    assert.match(error.message, /^Google credentials for europe-docker\.pkg\.dev: .*ERR_OSSL/);
    assert.equal(error.cause, undefined);
    return true;
  });
});

for (const [text, message] of [
  ['{"private_key": "hunter2"', "is not valid JSON"],
  ["null", "is no service account's key and no external account's configuration"],
  ['{"type": "hunter2"}', "is no service account's key and no external account's configuration"],
  [
    '{"type": "service_account", "private_key": "hunter2"}',
    "is no service account's key and no external account's configuration",
  ],
] as const) {
  test(`the key file ${text} is refused without being quoted`, async (context) => {
    await using folder = await createTemporaryDirectory();
    isolate(context, folder.path, "127.0.0.1:1");
    const keyFile = join(folder.path, "key.json");
    await writeFile(keyFile, text);
    const source = createGcp({ host, clock: createClock(), keyFile });
    await assert.rejects(source.get(repository, never()), {
      name: "CredentialError",
      message: `Google credentials for ${host}: the file ${keyFile} ${message}`,
    });
  });
}

test("a key file that is not UTF-8 is refused", async (context) => {
  await using folder = await createTemporaryDirectory();
  isolate(context, folder.path, "127.0.0.1:1");
  const keyFile = join(folder.path, "key.json");
  await writeFile(keyFile, '{"type": "caf\xe9"}', "latin1");
  const source = createGcp({ host, clock: createClock(), keyFile });
  await assert.rejects(source.get(repository, never()), {
    name: "CredentialError",
    message: `Google credentials for ${host}: the file ${keyFile}: it is not UTF-8 text`,
  });
});
