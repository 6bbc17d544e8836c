import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { JobState } from "../../../src/jobs/job.ts";
import { OciError, type OciErrorCode } from "../../../src/oci/errors.ts";
import { createAdministration, layerDigest, manifestDigest } from "../../support/administration.ts";

function refusal(code: OciErrorCode, message: RegExp): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof OciError);
    assert.equal(error.code, code);
    assert.match(error.message, message);
    return true;
  };
}

describe("what is cached", () => {
  test("usage has the limits, and no infinite numbers", async () => {
    const { administration } = await createAdministration();
    assert.deepEqual(await administration.usage(), {
      bytes: 12_288,
      exact: true,
      reservedBytes: 0,
      limitBytes: undefined,
      volume: { totalBytes: 1_000_000, freeBytes: 500_000 },
      pinnedBytes: 8_192,
      namespaces: [{ namespace: "docker.io", repositories: 1, bytes: 12_288, usedAt: 1_000, limitBytes: 1_000_000 }],
    });
  });

  test("a registry is known by all its names; one of which nothing is cached is an error", async () => {
    const { administration } = await createAdministration();
    const { items } = await administration.repositories({ namespace: "registry-1.docker.io", limit: 10 });
    assert.deepEqual(
      items.map(({ repository }) => repository),
      ["library/alpine"],
    );
    assert.equal((await administration.repositories({ limit: 10 })).items.length, 1);
    const unknown = administration.repositories({ namespace: "quay.io", limit: 10 });
    await assert.rejects(unknown, refusal("NAME_UNKNOWN", /nothing of quay\.io\/ is cached/));
    assert.deepEqual(await administration.repositories({ namespace: "quay.io", after: "x", limit: 10 }), {
      items: [],
      next: undefined,
    });
    await assert.rejects(
      administration.repositories({ namespace: "no host", limit: 1 }),
      refusal("NAME_INVALID", /host/),
    );
  });

  test("a repository's tags, with what pins keep", async () => {
    const { administration } = await createAdministration();
    const ask = { namespace: "docker.io", repository: "alpine", limit: 10 };
    assert.deepEqual(
      (await administration.tags(ask)).items.map(({ pinned }) => pinned),
      [false, false],
    );
    await administration.addPin("docker.io/library/alpine:3");
    assert.equal((await administration.tags(ask)).items[0]?.pinned, true);
    const unknown = administration.tags({ ...ask, repository: "busybox" });
    await assert.rejects(unknown, refusal("NAME_UNKNOWN", /docker\.io\/library\/busybox/));
  });
});

describe("purge", () => {
  test("a dry run says what goes, and removes nothing", async () => {
    const { administration, removed } = await createAdministration();
    const report = await administration.purge(administration.target("alpine:3"), { dryRun: true });
    assert.deepEqual(report, {
      target: "docker.io/library/alpine:3",
      dryRun: true,
      tags: 1,
      links: 2,
      pages: 1,
      contents: 2,
      contentsInUse: 0,
      incomplete: false,
      freesBytes: 12_288,
    });
    assert.deepEqual(removed, []);
  });

  test("tags, then links, pages and content, in the plan's order; a tag only as it was planned", async () => {
    const { administration, removed } = await createAdministration({ busy: [layerDigest] });
    const report = await administration.purge(administration.target("alpine:3"), { dryRun: false });
    assert.deepEqual(removed, [
      `tag library/alpine 3 ${manifestDigest}`,
      `link library/alpine ${manifestDigest}`,
      `link library/alpine ${layerDigest}`,
      "page library/alpine tags page",
      `blob ${manifestDigest}`,
    ]);
    assert.equal(report.contentsInUse, 1);
  });

  test("while it is not known what is cached, nothing is removed, nor said to be absent", async () => {
    const { options } = await createAdministration();
    const ledger = { ...options.ledger, totals: undefined };
    const { administration, removed } = await createAdministration({ overrides: { ledger } });
    for (const dryRun of [true, false]) {
      await assert.rejects(
        administration.purge(administration.target("alpine"), { dryRun }),
        refusal("UNAVAILABLE", /./),
      );
    }
    assert.deepEqual(removed, []);
  });

  test("a purge ends when the process does", async () => {
    const { administration, removed } = await createAdministration({ overrides: { signal: AbortSignal.abort() } });
    const purge = administration.purge(administration.target("alpine"), { dryRun: false });
    await assert.rejects(purge, refusal("UNAVAILABLE", /stopping/));
    assert.deepEqual(removed, []);
  });

  test("what is not cached cannot be removed, nor tried", async () => {
    const { administration } = await createAdministration();
    for (const dryRun of [true, false]) {
      await assert.rejects(
        administration.purge(administration.target("alpine:4"), { dryRun }),
        refusal("NOT_FOUND", /nothing of docker\.io\/library\/alpine:4 is cached/),
      );
    }
  });
});

describe("pins", () => {
  test("are added once, saved, and taken away", async () => {
    const { administration, pins, saved } = await createAdministration();
    await Promise.all([
      administration.addPin("A.io/x"),
      administration.addPin("b.io/y"),
      administration.addPin("a.io/x"),
    ]);
    assert.deepEqual(await administration.pins(), {
      configured: ["docker.io/library/*:lts"],
      added: ["quay.io/team/**", "a.io/x", "b.io/y"],
    });
    assert.deepEqual(saved(), ["quay.io/team/**", "a.io/x", "b.io/y"]);
    assert.deepEqual(pins.all, ["docker.io/library/*:lts", "quay.io/team/**", "a.io/x", "b.io/y"]);
    await administration.removePin("a.io/X");
    assert.deepEqual(saved(), ["quay.io/team/**", "b.io/y"]);
    assert.deepEqual(pins.all, ["docker.io/library/*:lts", "quay.io/team/**", "b.io/y"]);
  });

  test("one of the configuration is not added again, nor taken away", async () => {
    const { administration, saved } = await createAdministration();
    await administration.addPin("docker.io/library/*:lts");
    assert.equal(saved(), undefined);
    await assert.rejects(administration.removePin("docker.io/library/*:lts"), refusal("CONFLICT", /configuration/));
    await assert.rejects(administration.removePin("docker.io/none"), refusal("NOT_FOUND", /docker\.io\/none/));
  });

  test("a bad pattern is told with its reason", async () => {
    const { administration } = await createAdministration();
    await assert.rejects(administration.addPin("alpine"), refusal("REQUEST_INVALID", /begins with a registry/));
  });
});

describe("jobs", () => {
  test("are started with what the request says, and the configuration's where it says nothing", async () => {
    const { administration, jobs, started } = await createAdministration();
    for (const request of [
      { kind: "evict", dryRun: true },
      { kind: "verify", bytesPerSecond: 5 },
      { kind: "warm", images: ["alpine:3"], platforms: ["linux/amd64"] },
    ] as const) {
      assert.equal(administration.start(request).kind, request.kind);
    }
    await jobs.idle();
    administration.start({ kind: "verify", repair: true });
    assert.deepEqual(started, [
      { dryRun: true },
      { dryRun: true, repair: false, bytesPerSecond: 5 },
      {
        images: [{ namespace: "docker.io", repository: "alpine", reference: "3" }],
        platforms: [{ os: "linux", architecture: "amd64", variant: undefined }],
        parallel: undefined,
      },
      { dryRun: false, repair: true, bytesPerSecond: undefined },
    ]);
    assert.deepEqual(
      administration.jobs().map(({ kind, dryRun }) => [kind, dryRun]),
      [
        ["verify", false],
        ["warm", false],
        ["verify", true],
        ["evict", true],
      ],
    );
    await jobs.close();
  });

  test("one of a kind at a time: the error names the one that runs", async () => {
    const { administration, jobs } = await createAdministration({ step: untilAborted });
    const { id } = administration.start({ kind: "evict" });
    assert.throws(
      () => administration.start({ kind: "evict" }),
      (error) =>
        refusal("CONFLICT", /running/)(error) &&
        error instanceof OciError &&
        assert.deepEqual(error.detail, { job: id }) === undefined,
    );
    await jobs.close();
  });

  test("an image that is none starts nothing", async () => {
    const { administration } = await createAdministration();
    assert.throws(() => administration.start({ kind: "warm", images: ["UPPER CASE"] }), refusal("NAME_INVALID", /./));
    assert.throws(
      () => administration.start({ kind: "warm", images: ["alpine"], platforms: ["linux"] }),
      refusal("NAME_INVALID", /platform/),
    );
    assert.deepEqual(administration.jobs(), []);
  });

  test("are followed to their end, also when they are cancelled", async () => {
    const { administration } = await createAdministration({ step: untilAborted });
    const { id } = administration.start({ kind: "evict" });
    const states: JobState["state"][] = [];
    for await (const { state } of administration.follow(id, new AbortController().signal)) {
      states.push(state);
      if (states.length === 1) assert.equal(administration.cancel(id).id, id);
    }
    assert.equal(states[0], "running");
    assert.equal(states.at(-1), "cancelled");
    assert.equal(administration.cancel(id).state, "cancelled");
  });

  test("one that there is not cannot be asked for", async () => {
    const { administration } = await createAdministration();
    const never = new AbortController().signal;
    for (const ask of [
      () => administration.job("x"),
      () => administration.cancel("x"),
      () => administration.follow("x", never),
    ]) {
      assert.throws(ask, refusal("NOT_FOUND", /there is no job "x"/));
    }
  });
});

function untilAborted(_progress: unknown, signal: AbortSignal): Promise<void> {
  return new Promise((_, reject) => signal.addEventListener("abort", () => reject(new Error("aborted"))));
}
