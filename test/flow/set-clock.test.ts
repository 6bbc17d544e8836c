import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type Mirror, startMirror } from "../support/mirror.ts";
import { createUpstream, type ScriptedUpstream } from "../support/upstream.ts";

const hour = 3_600_000;
const path = "/v2/library/test/manifests/1";

/** A mirror whose time can be set while something waits, and the upstream that it asks. */
interface Subject {
  readonly mirror: Mirror;
  readonly upstream: ScriptedUpstream;
}

/** What makes the mirror wait, and for how long. */
const waiting: Readonly<Record<string, { readonly ms: number; readonly begin: (subject: Subject) => Promise<void> }>> =
  {
    "a breaker that is open": {
      ms: 1_000,
      begin: async ({ mirror, upstream }) => {
        upstream.when({ path: /\/manifests\// }, { status: 503 });
        for (let failures = 0; failures < 5; failures++) await mirror.get(`/v2/library/other-${failures}/manifests/1`);
        upstream.behave();
      },
    },
    "an absence that is remembered": {
      ms: 30_000,
      begin: async ({ mirror, upstream }) => {
        upstream.when({ path }, { status: 404 });
        assert.equal((await mirror.get(path)).status, 404);
        upstream.behave();
      },
    },
  };

describe("a time that is set by an hour changes nothing for", () => {
  for (const [what, { ms, begin }] of Object.entries(waiting)) {
    for (const [how, setMs] of Object.entries({ back: -hour, forward: hour })) {
      test(`${what}, set ${how}`, async () => {
        const clock = { now: Date.now(), monotonic: 0 };
        await using upstream = await createUpstream();
        upstream.addImage("library/test", "1");
        await using mirror = await startMirror(upstream.host, {
          now: () => clock.now,
          monotonic: () => clock.monotonic,
          upstream: { retries: 0, negativeTtlMs: 30_000 },
        });
        const asked = (): number => upstream.count({ path });
        await begin({ mirror, upstream });
        const before = asked();
        clock.now += setMs;
        assert.notEqual((await mirror.get(path)).status, 200);
        assert.equal(asked(), before, "it is asked before its time");
        clock.monotonic += ms;
        clock.now += ms;
        assert.equal((await mirror.get(path)).status, 200);
      });
    }
  }
});

test("a tag that was checked in the future, by a clock that was wrong, is checked again at once", async () => {
  const clock = { now: Date.now() };
  await using upstream = await createUpstream();
  upstream.addImage("library/test", "1", { seed: "old" });
  await using mirror = await startMirror(upstream.host, { now: () => clock.now, monotonic: () => 0 });
  assert.equal((await mirror.get(path)).status, 200);
  const { digest } = upstream.addImage("library/test", "1", { seed: "new" });
  clock.now -= hour;
  assert.equal((await mirror.get(path)).headers["docker-content-digest"], digest);
});
