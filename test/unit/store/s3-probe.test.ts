import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { S3Refusal } from "../../support/fake-s3-bucket.ts";
import { s3Subject } from "../../support/s3-store.ts";

const options = { partSizeBytes: 64 * 1024 };

describe("the probe", () => {
  test("takes an empty bucket for a healthy one, asks only for what is used, and leaves nothing", async () => {
    await using subject = await s3Subject({ equalParts: true, refusesChecksums: true, conflicts: true }, options);
    const { server, store } = subject;
    assert.deepEqual(await store.probe(), { lacks: [] });
    assert.equal(server.count("other"), 0);
    assert.equal(server.bucket.objects.size, 0);
    assert.equal(server.bucket.uploads.size, 0);
    for (const { query, operation } of server.asked) {
      if (operation === "ListObjectsV2") assert.match(query.get("prefix") ?? "", /^some\/prefix\/probe\//);
    }
  });

  test("finds what lets several win at once, though each one alone is refused", async () => {
    await using subject = await s3Subject({ looksEarly: true }, options);
    assert.deepEqual(await subject.store.probe(), { lacks: ["conditional writes are not safe: more than one wins"] });
  });

  test("finds what is lacking otherwise", async () => {
    for (const [profile, lacking] of [
      [{ ignoresConditions: true }, ["conditional writes", "conditions of deletes"]],
      [{ refusesConditions: true }, ["conditional writes", "conditions of deletes"]],
      [{ refusesParts: true }, ["uploads in parts"]],
      [{ listsInDisorder: true }, ["listings"]],
    ] as const) {
      await using subject = await s3Subject(profile, options);
      const { lacks } = await subject.store.probe();
      assert.equal(lacks.length, lacking.length, lacks.join());
      for (const [index, start] of lacking.entries()) assert.ok(lacks[index]?.startsWith(start), lacks.join());
    }
  });

  test("fails where the bucket cannot be used, and says why", async () => {
    await using subject = await s3Subject({}, options);
    const { server, store } = subject;
    server.fail("PutObject", { refuse: new S3Refusal(403, "AccessDenied") });
    await assert.rejects(store.probe(), { name: "StoreError", code: "AccessDenied" });
    await using missing = await s3Subject({}, { ...options, bucket: "elsewhere" });
    await assert.rejects(missing.store.probe(), { name: "StoreError", code: "NoSuchBucket" });
  });
});
