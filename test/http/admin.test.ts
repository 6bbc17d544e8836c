import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as z from "zod";
import { createAdminHandler } from "../../src/http/admin-handler.ts";
import type { Facts, Reply } from "../../src/http/reply.ts";
import type { AdministrationOptions } from "../../src/jobs/administration.ts";
import type { JobState } from "../../src/jobs/job.ts";
import type { Clock } from "../../src/concurrency/clock.ts";
import {
  createAdministration,
  type FakeAdministration,
  layerDigest,
  manifestDigest,
  rules,
} from "../support/administration.ts";
import { createBarrier } from "../support/barrier.ts";

interface Asked {
  readonly status: number;
  readonly headers: Reply["headers"];
  readonly text: string;
  readonly facts: Facts;
}

interface Question {
  readonly token?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Sent as it is. */
  readonly raw?: string;
}

/** Asks the API without a socket. */
async function ask(
  { administration }: FakeAdministration,
  question: string,
  { token, headers = {}, body, raw }: Question = {},
): Promise<Asked> {
  const [method = "", target = ""] = question.split(" ");
  const handler = createAdminHandler({
    administration,
    rules,
    version: "1.2.3",
    token: token === undefined ? undefined : async () => token,
  });
  const bytes = Buffer.from(raw ?? (body === undefined ? "" : JSON.stringify(body)));
  const facts: Facts = { endpoint: "other" };
  const reply = await handler(
    {
      method,
      target,
      headers: {
        host: "127.0.0.1:8081",
        ...(body !== undefined && { "content-type": "application/json" }),
        ...headers,
      },
      body: async (maxBytes) => {
        assert.equal(maxBytes, 1024 * 1024);
        return bytes;
      },
    },
    facts,
  );
  return { status: reply.status, headers: reply.headers, text: await textOf(reply), facts };
}

async function textOf({ body }: Reply): Promise<string> {
  if (body === undefined || !("read" in body)) return Buffer.from(body ?? "").toString();
  let text = "";
  for await (const chunk of body.read(new AbortController().signal)) text += Buffer.from(chunk).toString();
  await body.close();
  return text;
}

function errorOf({ text }: Asked): { code: string; message: string } {
  const [error] = JSON.parse(text).errors;
  return error;
}

interface Documented {
  readonly operationId: string;
  readonly responses: Record<string, { content?: Record<string, { schema: z.core.JSONSchema.BaseSchema }> }>;
}

interface ApiDocument {
  readonly openapi: string;
  readonly paths: Record<string, Record<string, Documented>>;
  readonly components: { responses: { Error: { content: Record<string, { schema: z.core.JSONSchema.BaseSchema }> } } };
}

describe("the document", () => {
  test("describes every operation, and real answers are as it says", async () => {
    const { promise: held, resolve: release } = Promise.withResolvers<void>();
    const fake = await createAdministration({
      step: async (progress) => {
        progress.total(10, "bytes");
        progress.advance(3);
        progress.count("examined");
        await held;
      },
    });
    const document = JSON.parse((await ask(fake, "GET /_admin/openapi.json")).text) as ApiDocument;
    assert.equal(document.openapi, "3.1.0");
    const started = await ask(fake, "POST /_admin/jobs", { body: { kind: "warm", images: ["alpine:3"] } });
    const { id } = JSON.parse(started.text) as { id: string };
    const asked: Record<string, readonly [question: string, body?: unknown]> = {
      getDescription: ["GET /_admin/openapi.json"],
      getUsage: ["GET /_admin/usage"],
      listNamespaces: ["GET /_admin/namespaces"],
      listRepositories: ["GET /_admin/repositories?limit=1"],
      listTags: ["GET /_admin/tags?namespace=docker.io&repository=alpine"],
      purge: ["POST /_admin/purge", { target: "alpine:3", dryRun: true }],
      listPins: ["GET /_admin/pins"],
      listReplicas: ["GET /_admin/replicas"],
      addPin: ["POST /_admin/pins", { pattern: "quay.io/a" }],
      removePin: ["DELETE /_admin/pins?pattern=quay.io/a"],
      listJobs: ["GET /_admin/jobs"],
      startJob: ["POST /_admin/jobs", { kind: "verify", repair: true, bytesPerSecond: 7 }],
      getJob: [`GET /_admin/jobs/${id}`],
      cancelJob: [`DELETE /_admin/jobs/${id}`],
      followJob: [`GET /_admin/jobs/${id}/events`],
      delete_manifests: ["DELETE /_admin/docker.io/library/alpine/manifests/3"],
      delete_blobs: [`DELETE /_admin/library/alpine/blobs/${layerDigest}`],
    };
    const described = Object.values(document.paths).flatMap((methods) => Object.values(methods));
    assert.deepEqual(described.map(({ operationId }) => operationId).toSorted(), Object.keys(asked).toSorted());
    for (const [method, operation] of Object.values(document.paths).flatMap((methods) => Object.entries(methods))) {
      const [question, body] = asked[operation.operationId] ?? assert.fail(operation.operationId);
      assert.equal(question.split(" ")[0], method.toUpperCase());
      if (operation.operationId === "followJob") release();
      const answer = await ask(fake, question, { body });
      const expected = operation.responses[String(answer.status)];
      assert.ok(expected !== undefined, `${question}: ${answer.status} ${answer.text}`);
      const [mediaType, content] = Object.entries(expected.content ?? {})[0] ?? [];
      assert.equal(answer.headers["Content-Type"], mediaType, question);
      const lines = mediaType === "application/x-ndjson" ? answer.text.trimEnd().split("\n") : [answer.text];
      if (content === undefined) assert.equal(answer.text, "");
      else for (const line of lines) z.fromJSONSchema(content.schema).parse(JSON.parse(line));
    }
    const failed = await ask(fake, "GET /_admin/jobs/none");
    const { schema } = document.components.responses.Error.content["application/json"] ?? assert.fail();
    z.fromJSONSchema(schema).parse(JSON.parse(failed.text));
    await fake.jobs.close();
  });

  test("a schema that is read from it refuses what it does not say", async () => {
    const fake = await createAdministration();
    const document = JSON.parse((await ask(fake, "GET /_admin/openapi.json")).text) as ApiDocument;
    const content = document.paths["/_admin/pins"]?.["get"]?.responses["200"]?.content?.["application/json"];
    const schema = z.fromJSONSchema(content?.schema ?? assert.fail());
    assert.equal(schema.safeParse({ configured: [], added: [], more: 1 }).success, false);
    assert.equal(schema.safeParse({ configured: [] }).success, false);
  });
});

describe("requests that are refused", () => {
  const json = { "content-type": "application/json" };
  const cases: [name: string, question: string, with_: Question, status: number, code: string, message: RegExp][] = [
    ["no such path", "GET /_admin/none", {}, 404, "NOT_FOUND", /openapi\.json/],
    ["the root", "GET /_admin", {}, 404, "NOT_FOUND", /openapi\.json/],
    ["another method", "PUT /_admin/pins", {}, 405, "UNSUPPORTED", /GET or POST or DELETE/],
    ["a pull of what can only be deleted", "GET /_admin/a/manifests/3", {}, 405, "UNSUPPORTED", /use DELETE/],
    ["no JSON type", "POST /_admin/purge", { raw: "{}" }, 415, "UNSUPPORTED_MEDIA_TYPE", /application\/json/],
    [
      "a form",
      "POST /_admin/purge",
      { raw: '{"target":"alpine"}', headers: { "content-type": "text/plain" } },
      415,
      "UNSUPPORTED_MEDIA_TYPE",
      /application\/json/,
    ],
    [
      "what only begins as JSON's type",
      "POST /_admin/purge",
      { raw: '{"target":"alpine"}', headers: { "content-type": "application/json-seq" } },
      415,
      "UNSUPPORTED_MEDIA_TYPE",
      /application\/json/,
    ],
    ["no JSON", "POST /_admin/purge", { raw: "{", headers: json }, 400, "REQUEST_INVALID", /not JSON/],
    ["no object", "POST /_admin/purge", { body: 5 }, 400, "REQUEST_INVALID", /the body: /],
    ["an unknown key", "POST /_admin/purge", { body: { target: "a", dry: true } }, 400, "REQUEST_INVALID", /"dry"/],
    ["another type", "POST /_admin/purge", { body: { target: 5 } }, 400, "REQUEST_INVALID", /target: /],
    ["an unknown kind", "POST /_admin/jobs", { body: { kind: "scrub" } }, 400, "REQUEST_INVALID", /kind/],
    [
      "a job's foreign key",
      "POST /_admin/jobs",
      { body: { kind: "evict", repair: true } },
      400,
      "REQUEST_INVALID",
      /repair/,
    ],
    ["an unknown field", "GET /_admin/usage?x=1", {}, 400, "REQUEST_INVALID", /"x"/],
    ["a field twice", "GET /_admin/repositories?limit=1&limit=2", {}, 400, "REQUEST_INVALID", /twice/],
    ["a limit that is none", "GET /_admin/repositories?limit=many", {}, 400, "REQUEST_INVALID", /limit/],
    ["too many", "GET /_admin/repositories?limit=1001", {}, 400, "REQUEST_INVALID", /limit/],
    ["a tag without namespace", "GET /_admin/tags?repository=a:1", {}, 400, "NAME_INVALID", /no repository's name/],
    ["a registry for a repository", "GET /_admin/tags?repository=short", {}, 400, "NAME_INVALID", /may be a registry/],
    ["a limit in another form", "GET /_admin/repositories?limit=1e2", {}, 400, "REQUEST_INVALID", /limit/],
    ["an empty limit", "GET /_admin/repositories?limit=", {}, 400, "REQUEST_INVALID", /limit/],
    ["a place that is none", "GET /_admin/repositories?after=a", {}, 400, "REQUEST_INVALID", /after: .*`next`/],
    [
      "a tag's place that is none",
      "GET /_admin/tags?repository=a&after=a/b",
      {},
      400,
      "REQUEST_INVALID",
      /after: .*`next`/,
    ],
    ["a bad target", "POST /_admin/purge", { body: { target: "A:b:c" } }, 400, "NAME_INVALID", /./],
    ["no such pin", "DELETE /_admin/pins?pattern=a.io/b", {}, 404, "NOT_FOUND", /a\.io\/b/],
    [
      "a pin of the configuration",
      "DELETE /_admin/pins?pattern=docker.io/library/*:lts",
      {},
      409,
      "CONFLICT",
      /configuration/,
    ],
    ["a manifest that is not cached", "DELETE /_admin/alpine/manifests/9", {}, 404, "NOT_FOUND", /alpine:9/],
    ["a digest that is none", "DELETE /_admin/alpine/blobs/x", {}, 400, "DIGEST_INVALID", /./],
    ["an encoded slash", "DELETE /_admin/a%2Fb/manifests/9", {}, 400, "NAME_INVALID", /./],
  ];
  for (const [name, question, with_, status, code, message] of cases) {
    test(name, async () => {
      const fake = await createAdministration();
      const answer = await ask(fake, question, with_);
      assert.equal(answer.status, status, answer.text);
      assert.equal(errorOf(answer).code, code);
      assert.match(errorOf(answer).message, message);
      assert.equal(answer.facts.endpoint, "admin");
      assert.deepEqual(fake.removed, []);
    });
  }

  test("405 says what is allowed", async () => {
    const fake = await createAdministration();
    assert.equal((await ask(fake, "OPTIONS /_admin/pins")).headers["Allow"], "GET, HEAD, POST, DELETE");
    assert.equal((await ask(fake, "GET /_admin/purge")).headers["Allow"], "POST");
    assert.equal((await ask(fake, "POST /_admin/a/b/blobs/x")).headers["Allow"], "DELETE");
  });

  test("a failure of ours is a 500 that says nothing of it", async () => {
    const fake = await createAdministration();
    const ledger = { ...fake.options.ledger, namespaces: () => Promise.reject(new Error("/secret/path")) };
    const answer = await ask(await createAdministration({ overrides: { ledger } }), "GET /_admin/namespaces");
    assert.equal(answer.status, 500);
    assert.ok(!answer.text.includes("secret"));
    assert.match(String(answer.facts.error), /secret/);
  });
});

describe("the token", () => {
  const token = "a-token-of-the-test";

  test("is needed for everything, where there is one", async () => {
    const fake = await createAdministration();
    for (const question of [
      "GET /_admin/usage",
      "GET /_admin/openapi.json",
      "DELETE /_admin/alpine/manifests/3",
      "GET /_admin/none",
    ]) {
      for (const authorization of [
        undefined,
        "",
        "Bearer",
        "Bearer wrong",
        `Basic ${token}`,
        `Bearer ${token}x`,
        token,
      ]) {
        const headers: Record<string, string> = authorization === undefined ? {} : { authorization };
        const answer = await ask(fake, question, { token, headers });
        assert.equal(answer.status, 401, String(authorization));
        assert.equal(answer.headers["WWW-Authenticate"], 'Bearer realm="entrepot"');
        assert.ok(!JSON.stringify(answer).includes(token));
      }
    }
    assert.deepEqual(fake.removed, []);
  });

  test("lets in who has it", async () => {
    const fake = await createAdministration();
    for (const authorization of [`Bearer ${token}`, `bearer  ${token}`]) {
      assert.equal((await ask(fake, "GET /_admin/usage", { token, headers: { authorization } })).status, 200);
    }
  });
});

describe("a browser", () => {
  const post: Question = { body: { target: "alpine:3" } };

  test("that shows another site's page is refused, also by a name that was made to lead here", async () => {
    const fake = await createAdministration();
    for (const headers of [
      { "sec-fetch-site": "cross-site" },
      { "sec-fetch-site": "same-site" },
      { origin: "https://evil.example.com" },
      { origin: "null" },
      { origin: "http://127.0.0.1:9999" },
      { origin: "http://evil.example.com:8081", host: "evil.example.com:8081" },
    ]) {
      const answer = await ask(fake, "POST /_admin/purge", { ...post, headers });
      assert.equal(answer.status, 403, JSON.stringify(headers));
      assert.equal(errorOf(answer).code, "DENIED");
    }
    assert.deepEqual(fake.removed, []);
  });

  test("that shows a page of this very origin is let in", async () => {
    const fake = await createAdministration();
    for (const headers of [
      { origin: "http://127.0.0.1:8081", "sec-fetch-site": "same-origin" },
      { origin: "http://localhost:8081", host: "localhost:8081" },
      { origin: "http://[::1]:8081", host: "[::1]:8081" },
      { "sec-fetch-site": "none" },
    ]) {
      assert.equal((await ask(fake, "POST /_admin/purge", { ...post, headers })).status, 200, JSON.stringify(headers));
    }
    const named = { host: "cache.example.com", origin: "http://cache.example.com", authorization: "Bearer t" };
    assert.equal((await ask(fake, "POST /_admin/purge", { ...post, token: "t", headers: named })).status, 200);
  });
});

describe("the predecessor's deletes", () => {
  const cases: [target: string, host: string, namespace: string, repository: string][] = [
    ["docker.io/library/alpine", "m", "docker.io", "library/alpine"],
    ["alpine", "m", "docker.io", "library/alpine"],
    ["library/alpine", "m", "docker.io", "library/alpine"],
    ["quay.io/team/sub/app", "m", "quay.io", "team/sub/app"],
    ["team/app", "quay.mirror.example.com", "quay.io", "team/app"],
    ["manifests/blobs/manifests", "m", "docker.io", "manifests/blobs/manifests"],
  ];
  for (const [name, host, namespace, repository] of cases) {
    test(`${name} at ${host} is the ${repository} of ${namespace}`, async () => {
      for (const [path, kind] of [
        [`manifests/3`, "tag"],
        [`manifests/${manifestDigest}`, "digest"],
        [`blobs/${layerDigest}`, "digest"],
      ] as const) {
        const fake = await createAdministration();
        await ask(fake, `DELETE /_admin/${name}/${path}`, { headers: { host } });
        const [target] = fake.planned;
        assert.ok(target !== undefined && "id" in target);
        assert.deepEqual([target.kind, { ...target.id }], [kind, { namespace, repository }]);
      }
    });
  }

  test("?ns= is the registry, and the answer is empty", async () => {
    const fake = await createAdministration();
    const answer = await ask(fake, "DELETE /_admin/library/alpine/manifests/3?ns=registry-1.docker.io");
    assert.deepEqual([answer.status, answer.text, answer.headers["Content-Length"]], [200, "", 0]);
    assert.equal(fake.removed[0], `tag library/alpine 3 ${manifestDigest}`);
    assert.deepEqual(answer.facts, {
      endpoint: "admin",
      namespace: "docker.io",
      repository: "library/alpine",
      reference: "3",
    });
  });
});

test("without a token a GET by a name that anybody could have made lead here is refused", async () => {
  const fake = await createAdministration();
  const get = (host: string, method = "GET") => {
    const handler = createAdminHandler({
      administration: fake.administration,
      rules,
      version: "1",
      token: undefined,
      host: "Cache.example.com",
    });
    return handler({ method, target: "/_admin/usage", headers: { host } }, { endpoint: "other" });
  };
  for (const host of ["127.0.0.1:8081", "[::1]:8081", "localhost", "cache.example.com:8081", ""]) {
    assert.equal((await get(host)).status, 200, host);
  }
  for (const host of ["evil.example.com:8081", "evil.example.com", "localhost.evil.example.com", "a b"]) {
    assert.equal((await get(host)).status, 403, host);
    assert.equal((await get(host, "HEAD")).status, 403, host);
  }
  const headers = { host: "any.example.com", authorization: "Bearer t" };
  assert.equal((await ask(fake, "GET /_admin/usage", { token: "t", headers })).status, 200);
});

test("a refusal is short, however much is wrong", async () => {
  const fake = await createAdministration();
  const keys = Object.fromEntries(Array.from({ length: 1_000 }, (_, index) => [`key${index}`, 1]));
  const unknown = errorOf(await ask(fake, "POST /_admin/purge", { body: { target: "a", ...keys } }));
  assert.equal(unknown.message.length, 500);
  const images = Array.from({ length: 1_000 }, () => 5);
  const wrong = errorOf(await ask(fake, "POST /_admin/jobs", { body: { kind: "warm", images } }));
  assert.match(wrong.message, /images\.4: [^;]+; and 995 more$/);
});

test("a list of jobs has no steps, a job has them", async () => {
  const fake = await createAdministration();
  const { id } = fake.administration.start({ kind: "evict" });
  await fake.jobs.idle();
  const [listed] = JSON.parse((await ask(fake, "GET /_admin/jobs")).text).items;
  assert.deepEqual([listed.id, "steps" in listed], [id, false]);
  assert.equal(JSON.parse((await ask(fake, `GET /_admin/jobs/${id}`)).text).steps.length, 1);
});

test("tags are listed by a name as in a purge", async () => {
  const fake = await createAdministration();
  for (const name of ["alpine", "library/alpine", "docker.io/library/alpine"]) {
    const answer = await ask(fake, `GET /_admin/tags?repository=${name}`);
    assert.equal(JSON.parse(answer.text).items[0]?.repository, "library/alpine", name);
  }
});

test("the document says that a token is needed where one is", async () => {
  const fake = await createAdministration();
  const without = JSON.parse((await ask(fake, "GET /_admin/openapi.json")).text);
  assert.deepEqual([without.security, "securitySchemes" in without.components], [[], false]);
  const headers = { authorization: "Bearer t" };
  const with_ = JSON.parse((await ask(fake, "GET /_admin/openapi.json", { token: "t", headers })).text);
  assert.deepEqual(with_.security, [{ token: [] }]);
  const { parameters } = without.paths["/_admin/repositories"].get;
  const limit = parameters.find(({ name }: { name: string }) => name === "limit");
  assert.equal(limit.schema.type, "integer");
});

test("who follows a job hears of it every 20 seconds, also when nothing changes", async () => {
  const { promise: held, resolve: release } = Promise.withResolvers<void>();
  const state: JobState = { id: "x", kind: "evict", dryRun: false, state: "running", startedAt: 0, steps: [] };
  const { jobs: real } = await createAdministration();
  const jobs: AdministrationOptions["jobs"] = {
    start: () => assert.fail(),
    list: () => real.list(),
    cancel: (id) => real.cancel(id),
    get: () => state,
    async *follow() {
      yield state;
      await held;
      yield { ...state, state: "succeeded" };
    },
  };
  const { administration } = await createAdministration({ overrides: { jobs } });
  const waits: number[] = [];
  const clock: Clock = {
    now: () => 0,
    monotonic: () => 0,
    // Only the second wait ends by itself: the first is cut by the state that comes.
    wait: (ms, signal) => {
      waits.push(ms);
      if (waits.length === 2) return Promise.resolve();
      return new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error("told"))));
    },
  };
  const handler = createAdminHandler({ administration, rules, version: "1", token: undefined, clock });
  const { body } = await handler(
    { method: "GET", target: "/_admin/jobs/x/events", headers: {} },
    { endpoint: "other" },
  );
  assert.ok(body !== undefined && "read" in body);
  const states: string[] = [];
  for await (const chunk of body.read(new AbortController().signal)) {
    states.push(JSON.parse(Buffer.from(chunk).toString()).state);
    if (states.length === 2) release();
  }
  assert.deepEqual(states, ["running", "running", "succeeded"]);
  assert.ok(waits.every((ms) => ms === 20_000));
});

test("what is changed is in the log's line", async () => {
  const fake = await createAdministration();
  assert.equal((await ask(fake, "POST /_admin/purge", { body: { target: "alpine:3" } })).facts.reference, "alpine:3");
  assert.equal((await ask(fake, "POST /_admin/pins", { body: { pattern: "a.io/b" } })).facts.reference, "a.io/b");
  assert.equal((await ask(fake, "DELETE /_admin/pins?pattern=a.io/b")).facts.reference, "a.io/b");
  const started = await ask(fake, "POST /_admin/jobs", { body: { kind: "evict" } });
  assert.equal(started.status, 202);
  const [job] = fake.administration.jobs();
  assert.equal(started.facts.reference, job?.id);
  assert.equal((await ask(fake, `DELETE /_admin/jobs/${job?.id}`)).facts.reference, job?.id);
});

test("a job that there is not cannot be followed, and nobody on the way stores how one went", async () => {
  const fake = await createAdministration();
  assert.equal((await ask(fake, "GET /_admin/jobs/none/events")).status, 404);
  const { id } = fake.administration.start({ kind: "evict" });
  const followed = await ask(fake, `GET /_admin/jobs/${id}/events`);
  assert.deepEqual([followed.status, followed.headers["Cache-Control"]], [200, "no-store"]);
});

test("a job is followed until the client leaves", async () => {
  const barrier = createBarrier();
  const fake = await createAdministration({ step: () => barrier.wait() });
  const { id } = fake.administration.start({ kind: "evict" });
  const handler = createAdminHandler({ administration: fake.administration, rules, version: "1", token: undefined });
  const request = { method: "GET", target: `/_admin/jobs/${id}/events`, headers: { host: "127.0.0.1" } };
  const { body } = await handler(request, { endpoint: "other" });
  assert.ok(body !== undefined && "read" in body);
  const gone = new AbortController();
  const states: string[] = [];
  for await (const chunk of body.read(gone.signal)) {
    states.push(JSON.parse(Buffer.from(chunk).toString()).state);
    gone.abort();
  }
  assert.deepEqual(states, ["running"]);
  assert.equal(fake.administration.job(id).state, "running");
  barrier.release();
  await fake.jobs.idle();
});
