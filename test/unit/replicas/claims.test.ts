/* The leases of one process: how those who need the same share one, and that each is given back. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { ReplicaId } from "../../../src/replicas/board.ts";
import { type Claim, Claims } from "../../../src/replicas/claims.ts";
import { HeldLease, type Taken } from "../../../src/replicas/leases.ts";
import { MemoryStore } from "../../../src/store/memory.ts";
import type { Key, Version } from "../../../src/store/object-store.ts";
import { TestClock } from "../../support/clock.ts";
import { turn } from "../../support/event-loop.ts";

const second = 1_000;

/** Claims on leases that come as a test says. */
class World {
  readonly clock = new TestClock();
  readonly taking: { readonly name: string; readonly come: (taken: Taken | Error) => void }[] = [];
  readonly released: string[] = [];
  readonly unsettled: string[] = [];
  releaseFails = false;
  readonly claims = new Claims({
    leases: {
      take: (name) => {
        const { promise, resolve, reject } = Promise.withResolvers<Taken>();
        this.taking.push({ name, come: (taken) => (taken instanceof Error ? reject(taken) : resolve(taken)) });
        return promise;
      },
    },
    clock: this.clock,
    onUnsettled: ({ message }) => this.unsettled.push(message),
  });

  lease(name: string): Taken {
    const lease = new HeldLease(new MemoryStore(), name as Key, "1" as Version);
    lease.release = async () => {
      if (this.releaseFails) throw new Error("the bucket is away");
      this.released.push(name);
    };
    return { lease };
  }

  /** What comes of the takes so far, in their order. */
  async come(...taken: (Taken | Error)[]): Promise<void> {
    for (const each of taken) this.taking.shift()?.come(each);
    await turn(2);
  }
}

function give(world: World, claim: unknown): void {
  assert.ok(typeof claim === "object" && claim !== null && "users" in claim);
  world.claims.give(claim as Claim);
}

test("whoever needs the same at once shares one lease, which is given back when the last has done", async () => {
  const world = new World();
  const both = [world.claims.take("a", second), world.claims.take("a", second)];
  assert.equal(world.taking.length, 1);
  assert.deepEqual(world.claims.held, []);
  await world.come(world.lease("a"));
  assert.deepEqual(world.claims.held, ["a"]);
  const [first, other] = await Promise.all(both);
  const third = await world.claims.take("a", second);
  give(world, first);
  give(world, third);
  await turn(2);
  assert.deepEqual(world.released, []);
  give(world, other);
  await turn(2);
  assert.deepEqual([world.released, world.claims.held], [["a"], []]);
});

test("who else has it is asked each time", async () => {
  const world = new World();
  for (const holder of ["one", "two"] as ReplicaId[]) {
    const taken = world.claims.take("a", second);
    await world.come({ holder });
    assert.deepEqual(await taken, { holder });
  }
});

test("a lease that comes when nobody waits any more is given back, but not while a later one wants it", async () => {
  const world = new World();
  const late = world.claims.take("a", second);
  await world.clock.pass(second);
  assert.equal(await late, undefined);
  await world.come(world.lease("a"));
  assert.deepEqual([world.released, world.claims.held], [["a"], []]);
  await world.clock.pass(second);
  const early = world.claims.take("b", second);
  await world.clock.pass(500);
  const later = world.claims.take("b", second);
  await world.clock.pass(600);
  assert.equal(await early, undefined);
  await world.come(world.lease("b"));
  give(world, await later);
  await turn(2);
  assert.deepEqual(world.released, ["a", "b"]);
});

test("a bucket that cannot tell is asked again after a second, then two, and is told of once for each", async () => {
  const world = new World();
  const failing = ["a", "b"].map((name) => world.claims.take(name, second));
  await world.come(new Error("it is away"), new Error("it is away"));
  assert.deepEqual(await Promise.all(failing), [undefined, undefined]);
  assert.deepEqual(world.unsettled, ["it is away"]);
  for (const rest of [1, 2, 4, 8, 16, 30, 30]) {
    await world.clock.pass(rest * second - 1);
    assert.equal(await world.claims.take("a", second), undefined);
    assert.equal(world.taking.length, 0);
    await world.clock.pass(1);
    const taken = world.claims.take("a", second);
    await world.come(new Error("it is away"));
    assert.equal(await taken, undefined);
  }
  await world.clock.pass(30 * second);
  const taken = world.claims.take("a", second);
  await world.come(world.lease("a"));
  give(world, await taken);
  const again = world.claims.take("a", second);
  await world.come(new Error("it is away"));
  await again;
  await world.clock.pass(second);
  void world.claims.take("a", second);
  assert.equal(world.taking.length, 1);
});

test("what cannot be given back is tried until it can be", async () => {
  const world = new World();
  const taken = world.claims.take("a", second);
  await world.come(world.lease("a"));
  world.releaseFails = true;
  give(world, await taken);
  await world.clock.pass(10 * second);
  assert.deepEqual(world.released, []);
  world.releaseFails = false;
  await world.clock.pass(8 * second);
  assert.deepEqual(world.released, ["a"]);
  await world.clock.pass(60 * second);
  assert.equal(world.clock.waiting, 0);
});

test("at the end all is given back, also what comes only then, and nothing more is taken", async () => {
  const world = new World();
  const held = world.claims.take("a", second);
  await world.come(world.lease("a"));
  const coming = world.claims.take("b", second);
  const closing = world.claims.close();
  await world.come(world.lease("b"));
  await closing;
  assert.deepEqual(world.released, ["a", "b"]);
  assert.equal(await world.claims.take("c", second), undefined);
  give(world, await held);
  give(world, await coming);
  await turn(2);
  assert.equal(world.taking.length, 0);
  assert.equal(world.clock.waiting, 0);
});
