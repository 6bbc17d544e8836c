import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import type { Key } from "../../../src/store/object-store.ts";
import { KeptKeys } from "../../../src/store/s3-keys.ts";
import type { S3Keys } from "../../../src/store/s3-options.ts";
import { S3Store } from "../../../src/store/s3.ts";
import { environment } from "../../support/environment.ts";
import { turn } from "../../support/event-loop.ts";
import { S3Refusal } from "../../support/fake-s3-bucket.ts";
import type { FakeKeys } from "../../support/fake-s3-signature.ts";
import { request } from "../../support/http.ts";
import { createListener } from "../../support/listener.ts";
import { all, readAll, s3Subject } from "../../support/s3-store.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";

const key = "blobs/sha256/00/01" as Key;
const minuteMs = 60_000;

/** Gives keys anew each time it is asked, which end after so long. */
function issuer(lifetimeMs: number): { readonly issued: S3Keys[]; readonly issue: () => Promise<S3Keys> } {
  const issued: S3Keys[] = [];
  return {
    issued,
    issue: async () => {
      const keys = {
        accessKeyId: "temporary",
        secretAccessKey: "secret",
        sessionToken: `token ${issued.length + 1}`,
        expiration: new Date(Date.now() + lifetimeMs),
      };
      issued.push(keys);
      return keys;
    },
  };
}

function temporary(sessionToken: string): FakeKeys {
  return { accessKeyId: "temporary", secretAccessKey: "secret", sessionToken };
}

describe("temporary credentials", () => {
  test("are kept while they last, and not got anew for each request when they are near their end", async () => {
    for (const lifetimeMs of [60 * minuteMs, 4 * minuteMs, 20_000]) {
      const { issued, issue } = issuer(lifetimeMs);
      await using subject = await s3Subject({}, { credentials: issue });
      const { server, store } = subject;
      server.keys = [1, 2, 3].map((count) => temporary(`token ${count}`));
      for (let asked = 0; asked < 2; asked++) await store.head(key);
      assert.equal(issued.length, 1);
    }
  });

  test("are used until their end where there are no newer ones", async (context) => {
    context.mock.timers.enable({ apis: ["Date"], now: Date.now() });
    let passedMs = 0;
    context.mock.method(performance, "now", () => passedMs);
    const { issued, issue } = issuer(60 * minuteMs);
    let failing = false;
    const keys = new KeptKeys(async () => {
      const given = await issue();
      if (failing) throw new Error("nobody is there");
      return given;
    });
    const pass = (ms: number): void => {
      passedMs += ms;
      context.mock.timers.setTime(Date.now() + ms);
    };
    const first = await keys.get();
    failing = true;
    for (const [ms, asked] of [
      [54 * minuteMs, 1],
      [2 * minuteMs, 2],
      [10_000, 2],
      [minuteMs, 3],
    ] as const) {
      pass(ms);
      assert.deepEqual([await keys.get(), issued.length], [first, asked]);
      await turn();
    }
    pass(3 * minuteMs);
    await assert.rejects(keys.get(), /nobody is there/);
    failing = false;
    assert.equal((await keys.get()).sessionToken, "token 5", "newer ones are used at once");
  });

  for (const way of ["head", "get"] as const) {
    test(`that the server says have ended are got anew, once for each request (${way})`, async () => {
      const { issued, issue } = issuer(60 * minuteMs);
      await using subject = await s3Subject({}, { credentials: issue, retries: 0 });
      const { server, store } = subject;
      server.keys = [temporary("token 1")];
      assert.equal(await store[way](key), undefined);
      server.keys = [temporary("token 2")];
      // To a HEAD the server cannot say what is wrong.
      assert.equal(await store[way](key), undefined);
      assert.equal(issued.length, 2);
      server.keys = [temporary("none")];
      await assert.rejects(store.get(key), { code: "ExpiredToken", message: /there are no newer ones/ });
      assert.equal(issued.length, 3);
    });
  }

  test("are not got anew for each HEAD that is refused", async () => {
    const { issued, issue } = issuer(60 * minuteMs);
    await using subject = await s3Subject({}, { credentials: issue, retries: 0 });
    const { server, store } = subject;
    server.keys = [1, 2, 3].map((count) => temporary(`token ${count}`));
    for (let asked = 0; asked < 3; asked++) {
      const denied = { refuse: new S3Refusal(403, "AccessDenied") };
      server.fail("HeadObject", denied, denied);
      await assert.rejects(store.head(key), { code: "HTTP 403" });
    }
    assert.equal(issued.length, 2);
  });
});

describe("AWS's chain", () => {
  const nothing = {
    AWS_ACCESS_KEY_ID: undefined,
    AWS_SECRET_ACCESS_KEY: undefined,
    AWS_PROFILE: undefined,
    AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: undefined,
    AWS_CONTAINER_CREDENTIALS_FULL_URI: undefined,
    AWS_SHARED_CREDENTIALS_FILE: "/nowhere",
    AWS_CONFIG_FILE: "/nowhere",
    AWS_EC2_METADATA_DISABLED: undefined,
  };

  test("is used where no keys are given; a web identity's token is read each time, and STS is not at S3's endpoint", async (context) => {
    await using folder = await createTemporaryDirectory();
    const asked: string[] = [];
    const sts = await createListener((incoming, response) => {
      void (async () => {
        const body = new URLSearchParams(Buffer.concat(await all(incoming as AsyncIterable<Buffer>)).toString());
        asked.push(`${body.get("Action")} ${body.get("WebIdentityToken")}`);
        const soon = new Date(Date.now() + 60 * minuteMs).toISOString();
        response.end(
          "<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>" +
            `<AccessKeyId>temporary</AccessKeyId><SecretAccessKey>secret</SecretAccessKey>` +
            `<SessionToken>token ${asked.length}</SessionToken><Expiration>${soon}</Expiration>` +
            "</Credentials></AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>",
        );
      })();
    });
    context.after(() => sts.down());
    const token = join(folder.path, "token");
    using _ = environment({
      ...nothing,
      AWS_ROLE_ARN: "arn:aws:iam::123456789012:role/cache",
      AWS_WEB_IDENTITY_TOKEN_FILE: token,
      AWS_REGION: "eu-west-1",
      AWS_ENDPOINT_URL_STS: `http://${sts.host}`,
    });
    await using subject = await s3Subject({}, { credentials: undefined });
    const { server, store } = subject;
    const expect = (sessionToken: string): void => {
      server.keys = [temporary(sessionToken)];
    };
    await writeFile(token, "first");
    expect("token 1");
    await store.put(key, Buffer.from("written"));
    await writeFile(token, "second");
    expect("token 2");
    assert.equal((await readAll(store, key))?.toString(), "written");
    assert.deepEqual(asked, ["AssumeRoleWithWebIdentity first", "AssumeRoleWithWebIdentity second"]);
    assert.equal(server.count("other"), 0);
  });

  test("that finds nothing says so soon, and names the instance's hop limit", async (context) => {
    // Who asks the instance's metadata from behind one hop too many gets no answer.
    const silent = await createListener(() => {});
    context.after(() => silent.down());
    using _ = environment({ ...nothing, AWS_EC2_METADATA_SERVICE_ENDPOINT: `http://${silent.host}` });
    await using subject = await s3Subject({}, { credentials: undefined });
    await assert.rejects(subject.store.get(key), {
      name: "StoreError",
      message:
        /access_key and secret_key, or a role.* EC2 .*hop limit of the instance \(HttpPutResponseHopLimit\) has to be 2/,
    });
    assert.deepEqual(subject.server.asked, []);
  });
});

describe("a presigned URL", () => {
  test("gives the object, also in ranges, to whoever has it, for a while", async () => {
    await using subject = await s3Subject();
    const { server, store } = subject;
    await store.put(key, Buffer.from("the object"));
    const url = await store.presign(key, { expiresInSeconds: 60 });
    assert.equal((await request(url)).body.toString(), "the object");
    const part = await request(url, { headers: { range: "bytes=4-" } });
    assert.deepEqual([part.status, part.body.toString()], [206, "object"]);
    assert.equal((await request(url, { headers: { authorization: "Basic YTpi" } })).status, 400);
    const signed = new URL(url).searchParams;
    assert.equal(signed.get("X-Amz-Expires"), "60");
    assert.equal(signed.get("X-Amz-SignedHeaders"), "host");
    server.clockOffsetMs = 61_000;
    assert.equal((await request(url)).status, 403);
  });

  test("is signed for the host that clients reach", async () => {
    await using subject = await s3Subject();
    const { server, store } = subject;
    await store.put(key, Buffer.from("the object"));
    const publicEndpoint = server.endpoint.replace("127.0.0.1", "localhost");
    const store2 = await S3Store.open(server.options({ publicEndpoint }));
    const url = await store2.presign(key, { expiresInSeconds: 60 });
    assert.ok(url.startsWith(`${publicEndpoint}/cache/some/prefix/blobs/`), url);
    assert.equal((await request(url)).body.toString(), "the object");
    assert.equal((await request(url.replace("localhost", "127.0.0.1"))).status, 403);
    await store2.close();
  });

  test("for a host with a path is refused at once", async () => {
    await using subject = await s3Subject();
    for (const publicEndpoint of ["https://example.com/s3", "https://example.com/?a=b"]) {
      await assert.rejects(S3Store.open(subject.server.options({ publicEndpoint })), /public_endpoint .* has a path/);
    }
  });

  test("never outlives the credentials that sign it; they are got anew first where they end before", async () => {
    for (const [lifetimeMs, asked, signed, times] of [
      [60 * minuteMs, 600, 600, 1],
      [8 * minuteMs, 600, 480, 2],
    ] as const) {
      const { issued, issue } = issuer(lifetimeMs);
      await using subject = await s3Subject({}, { credentials: issue });
      const url = new URL(await subject.store.presign(key, { expiresInSeconds: asked }));
      const expires = Number(url.searchParams.get("X-Amz-Expires"));
      assert.ok(expires <= signed && expires > signed - 30, `${expires}`);
      assert.equal(issued.length, times);
      assert.equal(url.searchParams.get("X-Amz-Security-Token"), `token ${times}`);
    }
  });
});
