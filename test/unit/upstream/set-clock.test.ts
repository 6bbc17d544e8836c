import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { Budget } from "../../../src/upstream/budget.ts";
import { fingerprint } from "../../../src/upstream/credentials.ts";
import { RenewingSource } from "../../../src/upstream/credentials/renewing.ts";
import { Rotation } from "../../../src/upstream/credentials/rotation.ts";
import { Failover } from "../../../src/upstream/failover.ts";
import { TextCache } from "../../../src/upstream/text-cache.ts";
import { type Upstream, UpstreamError } from "../../../src/upstream/upstream.ts";
import { fakeSource } from "./credentials/fake-source.ts";
import { anyAsk, createClock, never, repository, tag } from "./scripted.ts";

const hour = 3_600_000;
const anonymous = fingerprint(undefined);

/** Something that waits for `ms` from now on, and whether it still does. */
type Waiting = (
  clock: ReturnType<typeof createClock>,
) => Promise<{ readonly ms: number; readonly waits: () => boolean | Promise<boolean> }>;

const waiting: Readonly<Record<string, Waiting>> = {
  "a Retry-After": async (clock) => {
    const budget = new Budget(clock);
    budget.hold("registry.example.com", anonymous, 10);
    return { ms: 10_000, waits: () => budget.heldSeconds("registry.example.com", anonymous) > 0 };
  },
  "a limit that is used up": async (clock) => {
    const budget = new Budget(clock);
    budget.exhaust(anonymous);
    return { ms: 60_000, waits: () => budget.remaining(anonymous) === 0 };
  },
  "what is left of a limit": async (clock) => {
    const budget = new Budget(clock);
    budget.note(anonymous, { limit: 100, remaining: 7, windowSeconds: 60 });
    return { ms: 60_000, waits: () => budget.remaining(anonymous) === 7 };
  },
  "a token's life": async (clock) => {
    const cache = new TextCache(clock, 10);
    await cache.get("a", () => Promise.resolve({ value: "one", lifetimeSeconds: 100 }), never());
    return { ms: 90_000, waits: () => cache.peek("a") === "one" };
  },
  "a mirror's rest": async (clock) => {
    let asked = 0;
    const resolve = (): Promise<undefined> => {
      asked++;
      return Promise.reject(new UpstreamError("mirror.example.com", "unreachable", "it is down"));
    };
    const last = { resolve: () => Promise.resolve(undefined) };
    const failover = new Failover([{ resolve } as unknown as Upstream], last as unknown as Upstream, clock);
    const ask = (): Promise<unknown> => failover.resolve(repository, tag, anyAsk());
    await ask();
    const waits = async (): Promise<boolean> => {
      const before = asked;
      await ask();
      return asked === before;
    };
    return { ms: 30_000, waits };
  },
  "an account that was refused": async (clock) => {
    const [one, two] = ["one", "two"].map((username) => ({ username, password: "x" }));
    const sources = [one, two].map((credentials) => fakeSource(credentials).source);
    const rotation = new Rotation(sources, { remaining: (key) => (key === fingerprint(one) ? 10 : 1) }, clock);
    rotation.refused({ username: "one", password: "x" });
    const waits = async (): Promise<boolean> => (await rotation.get(repository, never()))?.username === "two";
    return { ms: 60_000, waits };
  },
  "credentials that a cloud gave": async (clock) => {
    let given = 0;
    const fetch = (): Promise<{ credentials: { username: string; password: string }; expiresAt: number }> =>
      Promise.resolve({ credentials: { username: "x", password: `${++given}` }, expiresAt: clock.now() + hour });
    const source = new RenewingSource({ name: "test", clock, random: () => 0, fetch });
    const waits = async (): Promise<boolean> => (await source.get(repository, never()))?.password === "1";
    await waits();
    return { ms: hour, waits };
  },
};

describe("a time that is set by an hour changes nothing for", () => {
  for (const [what, begin] of Object.entries(waiting)) {
    for (const [how, setMs] of Object.entries({ back: -hour, forward: hour })) {
      test(`${what}, set ${how}`, async () => {
        const clock = createClock();
        const { ms, waits } = await begin(clock);
        clock.setMs = setMs;
        assert.ok(await waits(), "it is over before its time");
        clock.time += ms;
        assert.ok(!(await waits()), "it goes on after its time");
      });
    }
  }
});
