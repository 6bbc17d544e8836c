/* Who fetches what: with leases and replicas that do as a test says. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { digestOf } from "../../../src/oci/digest.ts";
import { parseNamespace, parseRepository } from "../../../src/oci/reference.ts";
import type { ReplicaId } from "../../../src/replicas/board.ts";
import { HeldLease, type Taken } from "../../../src/replicas/leases.ts";
import { PeerRefusal } from "../../../src/replicas/peer-client.ts";
import { type AnswerForm, type SharedBlob, Sharing } from "../../../src/replicas/sharing.ts";
import { MemoryStore } from "../../../src/store/memory.ts";
import type { Key, Version } from "../../../src/store/object-store.ts";
import { type UpstreamBlob, UpstreamError } from "../../../src/upstream/upstream.ts";
import { TestClock } from "../../support/clock.ts";
import { never, turn } from "../../support/event-loop.ts";

const second = 1_000;
const id = { namespace: parseNamespace("docker.io"), repository: parseRepository("library/test") };
const digest = digestOf(Buffer.from("content"));
const name = `blob docker.io/library/test@${digest}`;
const peer = "peer" as ReplicaId;
const wanted: SharedBlob = { id, digest, offset: 0, sizeBytes: undefined };

/** A fill that ends when a test says. */
class FakeFill {
  readonly #ending = Promise.withResolvers<void>();
  readonly ended = this.#ending.promise;
  isVerified = false;
  failure: Error | undefined;

  async end(outcome: "verified" | Error): Promise<void> {
    this.isVerified = outcome === "verified";
    this.failure = outcome === "verified" ? undefined : outcome;
    this.#ending.resolve();
    await turn(3);
  }
}

function blobOf(origin?: "replica"): UpstreamBlob & { cancelled: number } {
  const blob = {
    sizeBytes: 1,
    cancelled: 0,
    body: (async function* () {})(),
    cancel: () => void blob.cancelled++,
    ...(origin !== undefined && { origin }),
  };
  return blob;
}

class World {
  readonly clock = new TestClock();
  readonly happened: string[] = [];
  /** What the next takes come to, the last of them again and again. */
  taken: (Taken | "hangs")[] = [this.lease()];
  onBlob: (peer: ReplicaId) => Promise<UpstreamBlob> = async () => blobOf("replica");
  onAnswer: () => Promise<unknown> = async () => {
    throw new PeerRefusal("it has nothing");
  };
  stored: () => Promise<UpstreamBlob | undefined> = async () => undefined;
  spared = false;
  copied: Promise<void> = Promise.resolve();
  asks = 0;
  readonly sharing = new Sharing({
    leases: {
      take: async (what) => {
        this.happened.push(`take ${what}`);
        const [next] = this.taken.length > 1 ? this.taken.splice(0, 1) : this.taken;
        return next === "hangs" || next === undefined ? new Promise(() => undefined) : next;
      },
      clear: async (what, holder) => void this.happened.push(`clear ${what} of ${holder}`),
    },
    calls: {
      blob: (from) => this.onBlob(from),
      answer: () => this.onAnswer(),
      noteWrong: (who) => void this.happened.push(`wrong ${who}`),
    },
    copied: () => this.copied,
    isSpared: () => this.spared,
    clock: this.clock,
    onUnsettled: ({ message }) => void this.happened.push(`unsettled: ${message}`),
  });

  lease(): Taken {
    const lease = new HeldLease(new MemoryStore(), "a" as Key, "1" as Version);
    lease.release = async () => void this.happened.push("release");
    return { lease };
  }

  follow(): FakeFill {
    const fill = new FakeFill();
    this.sharing.follow(fill, id, digest);
    return fill;
  }

  blob(ask?: () => Promise<UpstreamBlob | undefined>, signal = never()): Promise<UpstreamBlob | undefined> {
    return this.sharing.blob(wanted, ask ?? (async () => (this.asks++, blobOf())), () => this.stored(), signal);
  }

  get released(): number {
    return this.happened.filter((what) => what === "release").length;
  }
}

const form: AnswerForm<string> = {
  write: (text) => ({ checkedAt: 0, text }),
  read: async (told) => (typeof told === "string" ? { found: told } : undefined),
  freshMs: () => Infinity,
};

test("whoever has the lease asks the upstream, and keeps it until the bucket has the blob and 15 s more", async () => {
  const world = new World();
  const copied = Promise.withResolvers<void>();
  world.copied = copied.promise;
  const fill = world.follow();
  assert.equal((await world.blob())?.origin, undefined);
  assert.deepEqual(world.sharing.fetching, [name]);
  // Where the upstream broke off, it asks it again without anybody else.
  await world.blob();
  assert.deepEqual([world.asks, world.happened], [2, [`take ${name}`]]);
  await fill.end("verified");
  await world.clock.pass(60 * second);
  assert.equal(world.released, 0);
  copied.resolve();
  await world.clock.pass(15 * second - 1);
  assert.equal(world.released, 0);
  await world.clock.pass(1);
  assert.deepEqual([world.released, world.sharing.fetching], [1, []]);
});

test("what does not come is given back at once; and a fill that ends gives nothing back that a later one has taken", async () => {
  for (const outcome of [undefined, new UpstreamError("docker.io", "unreachable", "it is away")]) {
    const world = new World();
    const fill = world.follow();
    const ask = async (): Promise<undefined> => {
      if (outcome !== undefined) throw outcome;
    };
    const asked = world.blob(ask);
    if (outcome === undefined) assert.equal(await asked, undefined);
    else await assert.rejects(asked, outcome);
    // The next one begins before that has ended.
    const next = world.follow();
    await world.blob();
    await fill.end(outcome ?? new Error("it is absent"));
    assert.deepEqual([world.released, world.sharing.fetching], [0, [name]]);
    await next.end("verified");
    await world.clock.pass(15 * second);
    assert.deepEqual([world.released, world.sharing.fetching], [1, []]);
  }
});

test("what another replica fetches comes from that one, and is not this one's to send on", async () => {
  const world = new World();
  world.taken = [{ holder: peer }];
  const fill = world.follow();
  assert.equal((await world.blob())?.origin, "replica");
  assert.ok(world.sharing.isFromPeer(id, digest));
  assert.deepEqual([world.asks, world.sharing.fetching], [0, []]);
  await fill.end("verified");
  assert.ok(!world.sharing.isFromPeer(id, digest));
  assert.deepEqual(world.happened, [`take ${name}`]);
});

test("a fill that ends says nothing of a later one of the same blob", async () => {
  const world = new World();
  world.taken = [{ holder: peer }];
  const early = world.follow();
  world.follow();
  await world.blob();
  await early.end(new Error("nobody could join it any more"));
  assert.ok(world.sharing.isFromPeer(id, digest));
});

test("what has no fill that is followed is not shared", async () => {
  const world = new World();
  await world.blob();
  assert.deepEqual([world.asks, world.happened], [1, []]);
});

test("one that breaks off is not asked again for the same blob, whatever the lease says", async () => {
  const world = new World();
  world.taken = [{ holder: peer }];
  let asked = 0;
  world.onBlob = async () => {
    asked++;
    return blobOf("replica");
  };
  const fill = world.follow();
  await world.blob();
  const again = world.blob();
  await world.clock.pass(2 * second);
  assert.equal((await again)?.origin, undefined);
  assert.equal(asked, 1);
  assert.ok(!world.sharing.isFromPeer(id, digest));
  // From another one that has it by then it comes, too.
  world.taken = [{ holder: "another" as ReplicaId }];
  assert.equal((await world.blob())?.origin, "replica");
  await fill.end(new UpstreamError("docker.io", "invalid", "another digest"));
  assert.ok(!world.happened.some((what) => what.startsWith("wrong")), "nobody knows whose bytes were wrong");
});

test("who has sent all of it, and other bytes, is told of; of an upstream's nobody is", async () => {
  const wrong = new UpstreamError("docker.io", "invalid", "another digest");
  for (const { from, failure, told } of [
    { from: { holder: peer }, failure: wrong, told: true },
    { from: { holder: peer }, failure: new UpstreamError("docker.io", "unreachable", "it is away"), told: false },
    { from: undefined, failure: wrong, told: false },
  ]) {
    const world = new World();
    if (from !== undefined) world.taken = [from];
    const fill = world.follow();
    await world.blob();
    await fill.end(failure);
    assert.equal(world.happened.includes(`wrong ${peer}`), told);
  }
});

test("a holder that refuses is asked for a second, then the upstream; its lease is cleared for those who come", async () => {
  const world = new World();
  world.taken = [{ holder: peer }];
  world.onBlob = async () => {
    throw new PeerRefusal("it has nothing");
  };
  world.follow();
  const asking = world.blob();
  await world.clock.pass(700);
  assert.equal(world.asks, 0);
  await world.clock.pass(300);
  assert.equal((await asking)?.origin, undefined);
  assert.ok(!world.happened.some((what) => what.startsWith("unsettled")));
  assert.deepEqual([world.asks, world.sharing.fetching], [1, []]);
  assert.equal(world.happened.at(-1), `clear ${name} of ${peer}`);
});

test("while it is refused it is taken where the holder has given it back, or found where it is stored by then", async () => {
  const world = new World();
  world.taken = [{ holder: peer }, world.lease()];
  world.onBlob = async () => {
    throw new PeerRefusal("it has nothing");
  };
  const fill = world.follow();
  const asking = world.blob();
  await world.clock.pass(60);
  await asking;
  assert.deepEqual([world.asks, world.sharing.fetching], [1, [name]]);
  await fill.end(new Error("over"));
  world.taken = [{ holder: peer }];
  world.stored = async () => ({ ...blobOf(), origin: "bucket" });
  world.follow();
  assert.equal((await world.blob())?.origin, "bucket");
});

test("nobody waits for a bucket that is slow: neither for who fetches it, nor for what it has", async () => {
  const world = new World();
  world.taken = ["hangs"];
  world.follow();
  const asking = world.blob();
  await world.clock.pass(999);
  assert.equal(world.asks, 0);
  await world.clock.pass(1);
  await asking;
  assert.equal(world.asks, 1);
  const other = new World();
  other.taken = [{ holder: peer }];
  other.onBlob = async () => {
    await other.clock.wait(900, never());
    throw new PeerRefusal("it is silent");
  };
  const late = blobOf();
  other.stored = async () => {
    await other.clock.wait(900, never());
    return late;
  };
  other.follow();
  const looking = other.blob();
  await other.clock.pass(1_200);
  await looking;
  assert.equal(other.asks, 1);
  await other.clock.pass(second);
  assert.equal(late.cancelled, 1, "what comes too late is closed");
});

test("where nothing is to be settled now, each asks the upstream at once", async () => {
  const world = new World();
  world.spared = true;
  world.follow();
  await world.blob();
  assert.equal(await world.sharing.answer("a", async () => "it", form, never()), "it");
  assert.deepEqual([world.asks, world.happened], [1, []]);
});

test("one for which the upstream fails has from others what they fetch, and lets nobody wait for what it asks itself", async () => {
  const world = new World();
  const mayHold = (): boolean => false;
  const fill = world.follow();
  const fetching = world.sharing.blob(
    wanted,
    async () => blobOf(),
    () => world.stored(),
    never(),
    mayHold,
  );
  const asking = world.sharing.answer("a", async () => "it", form, never(), mayHold);
  await Promise.all([fetching, asking]);
  await turn(2);
  assert.deepEqual([world.released, world.sharing.fetching], [2, []]);
  assert.equal(await world.sharing.answers.find("a"), undefined);
  await fill.end("verified");
  world.taken = [{ holder: peer }];
  world.onAnswer = async () => "of the peer";
  assert.equal(await world.sharing.answer("a", async () => "it", form, never(), mayHold), "of the peer");
});

test("whoever stops asking gives back what has come meanwhile", async () => {
  for (const what of ["blob", "answer"] as const) {
    const world = new World();
    const leaving = new AbortController();
    world.follow();
    const ask = async (): Promise<never> => assert.fail("it was asked");
    const asking =
      what === "blob" ? world.blob(ask, leaving.signal) : world.sharing.answer("a", ask, form, leaving.signal);
    leaving.abort(new Error("it left"));
    await assert.rejects(asking, /it left/);
    await turn(2);
    assert.deepEqual([world.released, world.sharing.fetching], [1, []]);
  }
});

test("an answer is told to others while it is asked for and after; its lease is kept for 5 s, or while it is of use", async () => {
  for (const [freshMs, keptMs] of [
    [Infinity, 5 * second],
    [2 * second, 2 * second],
    [0, 0],
  ] as const) {
    const world = new World();
    const { promise, resolve } = Promise.withResolvers<string>();
    const asking = world.sharing.answer("a", () => promise, { ...form, freshMs: () => freshMs }, never());
    await turn(2);
    const told = world.sharing.answers.find("a");
    resolve("it");
    assert.deepEqual([await asking, await told], ["it", { checkedAt: 0, text: "it" }]);
    if (keptMs > 0) await world.clock.pass(keptMs - 1);
    assert.equal(world.released, keptMs > 0 ? 0 : world.released);
    await world.clock.pass(1);
    assert.equal(world.released, 1);
  }
});

test("two here that ask the same at once keep the lease until both have their answers", async () => {
  const world = new World();
  const answers = [Promise.withResolvers<string>(), Promise.withResolvers<string>()] as const;
  const asking = answers.map(({ promise }) => world.sharing.answer("a", () => promise, form, never()));
  await turn(2);
  answers[0].resolve("first");
  await asking[0];
  await world.clock.pass(10 * second);
  assert.equal(world.released, 0);
  answers[1].resolve("second");
  await asking[1];
  await world.clock.pass(5 * second);
  assert.equal(world.released, 1);
});

test("an answer comes from who asks for it; one that is of no use, or that fails there, is asked for here", async () => {
  const world = new World();
  world.taken = [{ holder: peer }];
  world.onAnswer = async () => "of the peer";
  const ask = async (): Promise<string> => "of the upstream";
  assert.equal(await world.sharing.answer("a", ask, form, never()), "of the peer");
  world.onAnswer = async () => ({ text: "of another version" });
  const asking = world.sharing.answer("a", ask, form, never());
  await world.clock.pass(1_100);
  assert.equal(await asking, "of the upstream");
  assert.equal(await world.sharing.answers.find("a"), undefined, "nobody is sent here for it");
});

test("a question that failed is given back at once, and told to nobody", async () => {
  const world = new World();
  const failure = new UpstreamError("docker.io", "unreachable", "it is away");
  await assert.rejects(
    world.sharing.answer("a", () => Promise.reject(failure), form, never()),
    failure,
  );
  await turn(2);
  assert.equal(world.released, 1);
  assert.equal(await world.sharing.answers.find("a"), undefined);
});

test("at the end all is given back, and each asks for itself", async () => {
  const world = new World();
  const fill = world.follow();
  await world.blob();
  await world.sharing.answer("a", async () => "it", form, never());
  await world.sharing.close();
  assert.equal(world.released, 2);
  await fill.end("verified");
  await world.clock.pass(60 * second);
  world.follow();
  await world.blob();
  assert.equal(world.asks, 2);
  assert.equal(world.happened.filter((what) => what.startsWith("take")).length, 2);
});
