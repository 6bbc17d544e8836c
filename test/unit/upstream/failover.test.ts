import assert from "node:assert/strict";
import { test } from "node:test";
import { Failover } from "../../../src/upstream/failover.ts";
import {
  type Upstream,
  type UpstreamBlob,
  UpstreamError,
  type UpstreamFailure,
} from "../../../src/upstream/upstream.ts";
import { manifestContent } from "../../support/image.ts";
import {
  collect,
  createClock,
  failure,
  indexBytes,
  indexType,
  anyAsk,
  repository,
  someDigest,
  tag,
} from "./scripted.ts";

/** What a source says now, and how often it was asked. */
interface Scripted extends Upstream {
  says: "content" | "absent" | UpstreamFailure;
  retryAfterSeconds: number | undefined;
  readonly asked: string[];
  /** The offsets from which the blob was asked for. */
  readonly offsets: number[];
  /** What the blob is sent as. */
  label: "page" | undefined;
  /** How many opened blobs were given up. */
  cancelled: number;
  /** The blob breaks after so many bytes. */
  breaksAfter: number | undefined;
  closed: boolean;
}

const content = "0123456789";

function source(name: string, says: Scripted["says"] = "content"): Scripted {
  const self: Scripted = {
    says,
    label: undefined,
    cancelled: 0,
    retryAfterSeconds: undefined,
    asked: [],
    offsets: [],
    breaksAfter: undefined,
    closed: false,
    resolve: () => reply("resolve", { mediaType: name, digest: someDigest, size: 1 }),
    manifest: () =>
      reply("manifest", {
        ...manifestContent(indexBytes, indexType),
        descriptor: { mediaType: name, digest: someDigest, size: 1 },
        bytes: Buffer.from(name),
      }),
    statBlob: () => reply("statBlob", { sizeBytes: 10, ...labelled() }),
    blob: (_repository, _digest, { offset }) => {
      self.offsets.push(offset);
      return reply("blob", open(offset));
    },
    tags: () => reply("tags", page(name)),
    referrers: () => reply("referrers", page(name)),
    close: () => {
      self.closed = true;
      return Promise.resolve();
    },
  };
  const labelled = (): { readonly label?: "page" } => (self.label === undefined ? {} : { label: self.label });
  const page = (from: string): NonNullable<Awaited<ReturnType<Upstream["tags"]>>> => ({
    document: { from },
    nextQuery: undefined,
    filtersApplied: undefined,
  });
  const open = (offset: number): UpstreamBlob => ({
    sizeBytes: content.length,
    ...labelled(),
    body: (async function* (): AsyncGenerator<Buffer, void, undefined> {
      yield Buffer.from(content.slice(offset, self.breaksAfter));
      if (self.breaksAfter !== undefined) {
        throw new UpstreamError(name, "unreachable", "reset");
      }
    })(),
    cancel: () => (self.cancelled += 1),
  });
  const reply = <T>(question: string, answer: T): Promise<T | undefined> => {
    self.asked.push(question);
    if (self.says === "content" || self.says === "absent") {
      return Promise.resolve(self.says === "content" ? answer : undefined);
    }
    const { retryAfterSeconds } = self;
    const options = retryAfterSeconds === undefined ? {} : { retryAfterSeconds };
    return Promise.reject(new UpstreamError(name, self.says, "scripted", options));
  };
  return self;
}

function start(...says: Scripted["says"][]): {
  sources: Scripted[];
  upstream: Upstream;
  clock: ReturnType<typeof createClock>;
} {
  const clock = createClock();
  const sources = says.map((word, index) => source(`s${index}`, word));
  const last = sources.at(-1);
  assert.ok(last !== undefined);
  return { sources, clock, upstream: new Failover(sources.slice(0, -1), last, clock) };
}

const whoResolves = async (upstream: Upstream): Promise<string | undefined> => {
  const told = await upstream.resolve(repository, tag, anyAsk());
  return told !== undefined && "mediaType" in told ? told.mediaType : undefined;
};

test("the first mirror that has it answers every kind of question, and nobody else is asked", async () => {
  const { upstream, sources } = start("content", "content", "content");
  assert.equal(await whoResolves(upstream), "s0");
  assert.equal((await upstream.manifest(repository, tag, anyAsk()))?.bytes.toString(), "s0");
  assert.deepEqual(await upstream.statBlob(repository, someDigest, anyAsk()), { sizeBytes: 10 });
  assert.equal((await upstream.tags(repository, "", anyAsk()))?.document["from"], "s0");
  assert.equal((await upstream.referrers(repository, someDigest, "", anyAsk()))?.document["from"], "s0");
  const blob = await upstream.blob(repository, someDigest, { offset: 4 }, anyAsk());
  assert.ok(blob !== undefined);
  assert.equal(await collect(blob.body), "456789");
  assert.deepEqual(
    sources.map(({ asked }) => asked.length),
    [6, 0, 0],
  );
});

test("a blob that a mirror sends as a web page is taken from the next source, if that has better", async () => {
  for (const [says, label, giver] of [
    ["content", undefined, 1],
    ["content", "page", 0],
    ["absent", undefined, 0],
    ["unreachable", undefined, 0],
  ] as const) {
    const { upstream, sources } = start("content", says);
    const [mirror, own] = sources;
    assert.ok(mirror !== undefined && own !== undefined);
    mirror.label = "page";
    own.label = label;
    const blob = await upstream.blob(repository, someDigest, { offset: 0 }, anyAsk());
    assert.ok(blob !== undefined);
    assert.equal(blob.label, giver === 0 ? "page" : undefined);
    assert.equal(await collect(blob.body), content);
    assert.deepEqual([mirror.cancelled, own.cancelled], [giver === 0 ? 0 : 1, label === undefined ? 0 : 1]);
    const info = await upstream.statBlob(repository, someDigest, anyAsk());
    assert.equal(info?.label, giver === 0 ? "page" : undefined);
  }
});

const failures: UpstreamFailure[] = [
  "denied",
  "unreachable",
  "timeout",
  "status",
  "rate-limited",
  "token",
  "invalid",
  "refused",
  "offline",
];

for (const says of ["absent", ...failures] as const) {
  test(`a mirror that says ${says} leads to the next, and at last to the upstream`, async () => {
    const { upstream, sources } = start(says, says, "content");
    assert.equal(await whoResolves(upstream), "s2");
    assert.deepEqual(
      sources.map(({ asked }) => asked.length),
      [1, 1, 1],
    );
  });

  test(`that the upstream says ${says} is the last word, whatever mirrors said`, async () => {
    for (const mirror of ["absent", "denied", "unreachable"] as const) {
      const asking = start(mirror, says).upstream.resolve(repository, tag, anyAsk());
      await (says === "absent" ? assert.doesNotReject(asking) : assert.rejects(asking, failure(says)));
    }
  });
}

for (const says of failures) {
  const rests = ["unreachable", "timeout", "status", "rate-limited", "token"].includes(says);
  test(`a mirror that says ${says} is ${rests ? "passed over for 30 s" : "asked again at once"}`, async () => {
    const { upstream, sources, clock } = start(says, "content");
    await whoResolves(upstream);
    await whoResolves(upstream);
    assert.equal(sources[0]?.asked.length, rests ? 1 : 2);
    clock.time += 30_000;
    await whoResolves(upstream);
    assert.equal(sources[0]?.asked.length, rests ? 2 : 3);
  });
}

test("a mirror rests as long as it asks, at most an hour; the upstream is always asked", async () => {
  const { upstream, sources, clock } = start("rate-limited", "rate-limited");
  const [mirror, own] = sources;
  assert.ok(mirror !== undefined && own !== undefined);
  mirror.retryAfterSeconds = 7200;
  const ask = (): Promise<void> => assert.rejects(whoResolves(upstream), failure("rate-limited", /^s1/));
  await ask();
  clock.time += 3_599_999;
  await ask();
  assert.deepEqual([mirror.asked.length, own.asked.length], [1, 2]);
  clock.time += 1;
  await ask();
  assert.deepEqual([mirror.asked.length, own.asked.length], [2, 3]);
});

async function read(upstream: Upstream, offset: number): Promise<string> {
  const blob = await upstream.blob(repository, someDigest, { offset, sizeBytes: 10 }, anyAsk());
  assert.ok(blob !== undefined);
  return collect(blob.body);
}

test("a blob that breaks off goes on at the next source", async () => {
  const { upstream, sources } = start("content", "content");
  const [mirror, own] = sources;
  assert.ok(mirror !== undefined && own !== undefined);
  mirror.breaksAfter = 4;
  await assert.rejects(read(upstream, 0), failure("unreachable"));
  assert.equal(await read(upstream, 4), "456789");
  assert.deepEqual([mirror.offsets, own.offsets], [[0], [4]]);
});

test("a blob that is asked for again after it was delivered whole comes from the next source, for ten minutes", async () => {
  // Its bytes were wrong, as far as can be known here: the digest is checked by who reads them.
  const { upstream, sources, clock } = start("content", "content", "content");
  for (const expected of [
    [1, 0, 0],
    [1, 1, 0],
    [1, 1, 1],
    [2, 1, 1],
  ]) {
    assert.equal(await read(upstream, 0), content);
    assert.deepEqual(
      sources.map(({ offsets }) => offsets.length),
      expected,
    );
  }
  clock.time += 600_000;
  await read(upstream, 0);
  assert.equal(sources[0]?.offsets.length, 3);
});

test("where the turn begins with the upstream, mirrors come after it", async () => {
  const { upstream, sources } = start("content", "content");
  await read(upstream, 0);
  const own = sources[1];
  assert.ok(own !== undefined);
  own.says = "unreachable";
  assert.equal(await read(upstream, 0), content);
  assert.deepEqual(
    sources.map(({ offsets }) => offsets.length),
    [2, 1],
  );
});

test("a reader that leaves early says nothing against the source", async () => {
  const { upstream, sources } = start("content", "content");
  const blob = await upstream.blob(repository, someDigest, { offset: 0 }, anyAsk());
  for await (const chunk of blob?.body ?? []) {
    assert.ok(chunk.length > 0);
    break;
  }
  await read(upstream, 0);
  assert.deepEqual(
    sources.map(({ offsets }) => offsets.length),
    [2, 0],
  );
});

test("an abort ends the search; what is no failure of a source is thrown on", async () => {
  const { upstream, sources } = start("unreachable", "content");
  const controller = new AbortController();
  const reason = new Error("gone");
  controller.abort(reason);
  await assert.rejects(upstream.resolve(repository, tag, anyAsk(controller.signal)), (error) => error === reason);
  const bug = new TypeError("a bug");
  const broken = new Failover(
    [{ ...source("broken"), resolve: () => Promise.reject(bug) }],
    sources[1] ?? source("x"),
    createClock(),
  );
  await assert.rejects(broken.resolve(repository, tag, anyAsk()), (error) => error === bug);
  assert.deepEqual(sources[1]?.asked, []);
});

test("closing closes all sources", async () => {
  const { upstream, sources } = start("content", "content", "content");
  await upstream.close();
  assert.ok(sources.every(({ closed }) => closed));
});
