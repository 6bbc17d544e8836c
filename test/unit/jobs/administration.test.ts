import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { JobState } from "../../../src/jobs/job.ts";
import { OciError, type OciErrorCode } from "../../../src/oci/errors.ts";
import { type Digest, digestOf } from "../../../src/oci/digest.ts";
import { LedgerNotReady, type PurgePlan } from "../../../src/ledger/ledger.ts";
import { StoreError } from "../../../src/store/object-store.ts";
import { alpine, createAdministration, layerDigest, manifestDigest } from "../../support/administration.ts";
import { createBarrier } from "../../support/barrier.ts";
import { turn } from "../../support/event-loop.ts";

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
      besides: {
        ledgerBytes: 4_096,
        foldersBytes: 8_192,
        quarantineBytes: 0,
        hostedBytes: 0,
        othersBytes: 1_024,
        slackBytes: 512,
      },
      limitBytes: undefined,
      volume: { totalBytes: 1_000_000, freeBytes: 500_000 },
      pinnedBytes: 8_192,
      bucket: undefined,
      namespaces: [{ namespace: "docker.io", repositories: 1, bytes: 12_288, usedAt: 1_000, limitBytes: 1_000_000 }],
    });
  });

  test("usage has the volume as it is now, and a limit of nothing where it is full", async () => {
    const { options } = await createAdministration();
    let { state } = options.space;
    const space: typeof options.space = {
      refresh: async () => {
        state = { ...state, limitBytes: -0.5, volume: { totalBytes: 10, freeBytes: 1 } };
      },
      get state() {
        return state;
      },
    };
    const { administration } = await createAdministration({ overrides: { space } });
    const { limitBytes, volume } = await administration.usage();
    assert.deepEqual({ limitBytes, volume }, { limitBytes: 0, volume: { totalBytes: 10, freeBytes: 1 } });
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
    const ended = await administration.tags({ ...ask, repository: "busybox", after: "x" });
    assert.deepEqual(ended, { items: [], next: undefined });
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
      await assert.rejects(administration.purge(administration.target("alpine"), { dryRun }), LedgerNotReady);
    }
    for (const job of [{ kind: "purge", target: "alpine" }, { kind: "evict" }] as const) {
      assert.throws(() => administration.start(job), LedgerNotReady);
    }
    await assert.rejects(administration.repositories({ namespace: "quay.io", limit: 10 }), LedgerNotReady);
    const tags = { namespace: "docker.io", repository: "busybox", limit: 10 };
    await assert.rejects(administration.tags(tags), LedgerNotReady);
    assert.deepEqual(removed, []);
    assert.deepEqual(administration.jobs(), []);
  });

  test("it is a job: listed, followed, and stopped with what it has removed by then", async () => {
    const { options, removed } = await createAdministration();
    const barrier = createBarrier();
    const { removeTag } = options.content;
    const content: typeof options.content = {
      ...options.content,
      async removeTag(...which) {
        await barrier.wait();
        return removeTag(...which);
      },
    };
    const { administration } = await createAdministration({ overrides: { content } });
    const { id } = administration.start({ kind: "purge", target: "alpine:3" });
    await barrier.reached;
    const [listed] = administration.jobs();
    assert.deepEqual([listed?.id, listed?.kind, listed?.state, listed?.dryRun], [id, "purge", "running", false]);
    const [step] = listed?.steps ?? [];
    assert.equal(step?.title, "Remove docker.io/library/alpine:3");
    assert.deepEqual([step?.done, step?.total, step?.unit], [0, 6, "objects"]);
    // Another one does not wait for it.
    const other = administration.purge(administration.target("alpine:3"), { dryRun: false });
    administration.cancel(id);
    barrier.release();
    await other;
    const ended = administration.job(id);
    assert.equal(ended.state, "cancelled");
    assert.deepEqual(ended.steps[0]?.counts, {
      tags: 1,
      "manifests and blobs": 0,
      listings: 0,
      contents: 0,
      "contents in use": 0,
      "bytes freed": 0,
    });
    assert.equal(removed.filter((each) => each.startsWith("tag")).length, 2);
  });

  test("who waits for a purge hears of its being stopped, and why it failed", async () => {
    const { options, removed } = await createAdministration();
    const barrier = createBarrier();
    const failures: Error[] = [];
    const content: typeof options.content = {
      ...options.content,
      async removeLink() {
        await barrier.wait();
        for (const failure of failures) throw failure;
      },
    };
    const { administration, jobs } = await createAdministration({ overrides: { content } });
    const stopped = administration.purge(administration.target("alpine"), { dryRun: false });
    await barrier.reached;
    const closed = jobs.close();
    barrier.release();
    await assert.rejects(stopped, refusal("UNAVAILABLE", /stopped: a part/));
    await closed;
    assert.deepEqual(removed, [`tag library/alpine 3 ${manifestDigest}`]);
    const late = administration.purge(administration.target("alpine"), { dryRun: false });
    await assert.rejects(late, refusal("UNAVAILABLE", /stopping/));
    const failure = new StoreError("the disk fails", undefined);
    failures.push(failure);
    const again = await createAdministration({ overrides: { content } });
    const purge = again.administration.purge(again.administration.target("alpine"), { dryRun: false });
    await assert.rejects(purge, failure);
    assert.equal(again.administration.jobs()[0]?.state, "failed");
  });

  test("several things are removed at a time, and after a failure none any more", async () => {
    const { options } = await createAdministration();
    const links = Array.from({ length: 100 }, (_, number) => ({ id: alpine, digest: digestOf(Buffer.from([number])) }));
    const running = new Set<Digest>();
    let most = 0;
    let begun = 0;
    const content: typeof options.content = {
      ...options.content,
      async removeLink(_id, digest) {
        begun++;
        running.add(digest);
        most = Math.max(most, running.size);
        await turn();
        running.delete(digest);
        if (begun >= 20) throw new StoreError("the disk fails", undefined);
      },
    };
    const purgePlan = async (): Promise<PurgePlan> => ({ tags: [], links, pages: [], contents: [], freesBytes: 0 });
    const ledger = { ...options.ledger, purgePlan };
    const { administration } = await createAdministration({ overrides: { content, ledger } });
    const purge = administration.purge(administration.target("alpine"), { dryRun: false });
    await assert.rejects(purge, /the disk fails/);
    assert.equal(running.size, 0, "it is over when it says so");
    assert.ok(most > 1 && most <= 8, `${most} at a time`);
    assert.ok(begun < 40, `${begun} were begun`);
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
      { kind: "retain", dryRun: true },
      { kind: "collect", dryRun: true },
      { kind: "verify", bytesPerSecond: 5 },
      { kind: "warm", images: ["alpine:3"], platforms: ["linux/amd64"] },
    ] as const) {
      assert.equal(administration.start(request).kind, request.kind);
    }
    await jobs.idle();
    administration.start({ kind: "verify", repair: true });
    assert.deepEqual(started, [
      { dryRun: true },
      { dryRun: true },
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
        ["collect", true],
        ["retain", true],
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

  test("are refused while the mirror stops", async () => {
    const { administration, jobs } = await createAdministration();
    await jobs.close();
    assert.throws(() => administration.start({ kind: "evict" }), refusal("UNAVAILABLE", /is stopping/));
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
