import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import "../support/network.ts";
import { BufferPool } from "../../src/store/buffers.ts";
import { createBarrier } from "../support/barrier.ts";
import { largeContent } from "../support/content.ts";
import type { HerdClient, HerdCommand, HerdData, HerdMessage } from "../support/herd-clients.ts";
import { type Mirror, startMirror } from "../support/mirror.ts";
import { soaks } from "../support/soak.ts";
import { inspectStorage } from "../support/storage.ts";
import { createUpstream, type ScriptedUpstream } from "../support/upstream.ts";

/** The blob is 256 of these: much more than the MiB that a fill keeps in memory. */
const piece = (soaks ? 1024 : 128) * 1024;
const size = 256 * piece;
/** Several times what the whole herd takes. */
const patienceMs = 100_000;

function times(count: number, make: (index: number) => HerdClient): HerdClient[] {
  return Array.from({ length: count }, (_, index) => make(index));
}

function part(start: number, end: number): HerdClient {
  return { range: { header: `bytes=${start}-${end - 1}`, start, end } };
}

/** A hundred clients; the first one starts the fill, and leaves. */
const clients: readonly HerdClient[] = [
  { leaveAfterBytes: 2 * piece },
  ...times(36, () => ({})),
  // Slow ones: they stop at different places, and go on when the quick ones are done and the fill is over.
  ...times(16, (index) => ({ restAfterBytes: 1 + index * 7 * piece })),
  // Some leave in the middle, two of them while they are waiting for bytes that are far away.
  ...times(15, (index) => ({ leaveAfterBytes: 1 + index * 17 * piece })),
  ...times(2, () => ({ ...part(200 * piece, size), leaveAfterBytes: 0 })),
  ...times(10, (index) => part(index * 1000, index * 1000 + 1)),
  ...times(8, (index) => part(index * 31 * piece + 17, index * 31 * piece + 5 * piece + index)),
  // From somewhere to the end, beyond the end, and from the end.
  ...times(4, (index) => {
    const start = size - 1 - index * 9 * piece;
    return { range: { header: `bytes=${start}-`, start, end: size } };
  }),
  ...times(3, (index) => {
    const start = 100 * piece + index;
    return { range: { header: `bytes=${start}-${size * 2}`, start, end: size } };
  }),
  ...times(3, (index) => {
    const length = 1 + index * 20 * piece;
    return { range: { header: `bytes=-${length}`, start: size - length, end: size } };
  }),
  { range: { header: `bytes=-${size * 2}`, start: 0, end: size } },
  { range: { header: `bytes=${size - 1}-${size - 1}`, start: size - 1, end: size } },
];

/** Runs the clients in a thread of their own. */
function startHerd(
  data: HerdData,
  upstream: ScriptedUpstream,
): {
  /** Resolves when as many messages of that kind have come; rejects when one client got something wrong. */
  told(count: number, kind: HerdMessage["kind"], index?: number): Promise<HerdMessage[]>;
  send(command: HerdCommand): void;
  end(): Promise<unknown>;
} {
  const worker = new Worker(new URL("../support/herd-clients.ts", import.meta.url), { workerData: data });
  const messages: HerdMessage[] = [];
  const awaited = new Set<() => void>();
  let failure: Error | undefined;
  worker.on("message", (message: HerdMessage) => {
    messages.push(message);
    for (const look of awaited) look();
  });
  worker.on("error", (error: Error) => {
    failure = error;
    for (const look of awaited) look();
  });
  return {
    send: (command) => worker.postMessage(command),
    end: () => worker.terminate(),
    told(count, kind, index) {
      const { promise, resolve, reject } = Promise.withResolvers<HerdMessage[]>();
      // A test that waited for ever would take all others with it.
      const late = setTimeout(() => {
        reject(new Error(`not ${count} clients told "${kind}" in time; ${upstream.requests.length} transfers`));
      }, patienceMs);
      const look = (): void => {
        const wrong = messages.find((message) => message.kind === "wrong");
        const found = messages.filter(
          (message) => message.kind === kind && (index === undefined || message.index === index),
        );
        if (failure !== undefined || wrong !== undefined) reject(failure ?? new Error(JSON.stringify(wrong)));
        else if (found.length >= count) resolve(found);
        else return;
        clearTimeout(late);
        awaited.delete(look);
      };
      awaited.add(look);
      look();
      return promise;
    },
  };
}

test("a hundred clients of one cold blob cost one transfer", { timeout: 240_000 }, async (context) => {
  assert.equal(clients.length, 100);
  const pools = new Set<BufferPool>();
  const acquire = Reflect.get(BufferPool.prototype, "acquire");
  BufferPool.prototype.acquire = function (this: BufferPool, wantedBytes: number) {
    pools.add(this);
    return acquire.call(this, wantedBytes);
  };
  context.after(() => {
    BufferPool.prototype.acquire = acquire;
  });
  await using upstream = await createUpstream();
  await using mirror = await startMirror(upstream.host, {
    upstream: { idleTimeoutMs: 60_000, headerTimeoutMs: 60_000 },
  });
  const digest = upstream.addLargeBlob(size, 1);
  const path = `/v2/library/herd/blobs/${digest}`;
  const content = new SharedArrayBuffer(size);
  let filled = 0;
  for (const chunk of largeContent(size, 1).read(0, size)) {
    chunk.copy(Buffer.from(content, filled));
    filled += chunk.length;
  }
  // The upstream stops until all have asked, and the one that started it has left.
  const everybody = createBarrier();
  upstream.when({ path }, { stallAfterBytes: 16 * piece, stallAt: everybody });
  const herd = startHerd({ port: Number(new URL(mirror.url).port), path, content, clients }, upstream);
  try {
    herd.send({ start: 0 });
    await herd.told(1, "headers");
    for (let index = 1; index < clients.length; index++) herd.send({ start: index });
    const answers = await herd.told(clients.length, "headers");
    await herd.told(1, "left", 0);
    everybody.release();

    const leaving = clients.filter(({ leaveAfterBytes }) => leaveAfterBytes !== undefined).length;
    const resting = clients.filter(({ restAfterBytes }) => restAfterBytes !== undefined).length;
    await herd.told(clients.length - leaving - resting, "right");
    await herd.told(resting, "resting");
    herd.send("hurry");
    const right = await herd.told(clients.length - leaving, "right");
    assert.equal(right.length, clients.length - leaving);
    await herd.told(leaving, "left");

    for (const answer of answers) {
      assert.ok(answer.kind === "headers");
      const ranged = clients[answer.index]?.range !== undefined;
      assert.equal(answer.status, ranged ? 206 : 200, answer.head);
      const joined = answer.index > 0 ? "; collapsed" : "";
      assert.ok(answer.head.includes(`\r\nCache-Status: entrepot; fwd=uri-miss; stored${joined}\r\n`), answer.head);
    }
  } finally {
    await herd.end();
  }
  assert.equal(upstream.requests.length, 1);
  assert.equal(upstream.bytesSent({ path }), size);

  await mirror.close();
  const stored = await inspectStorage(mirror.root);
  assert.deepEqual(stored.blobs, [digest]);
  assert.deepEqual(stored.temporary, []);
  assert.ok(pools.size > 0);
  for (const pool of pools) assert.equal(pool.lentBytes, 0);
  const complaints = mirror.log().filter((line) => Number(line["level"]) >= 40);
  assert.deepEqual(complaints, []);
});

function questions(upstream: ScriptedUpstream): string[] {
  return upstream.requests
    .filter(({ path }) => !path.includes("/other/"))
    .map(({ method, path }) => `${method} ${path}`);
}

/** Resolves when so many requests are being answered, and have got as far as they get without the upstream. */
async function joined(mirror: Mirror, count: number): Promise<void> {
  // The question itself is one of those that are counted.
  while ((await mirror.metric("entrepot_http_requests_in_flight")) <= count);
  // Later than theirs, its look-ups in the store end later, too.
  await mirror.get("/v2/library/other/manifests/absent");
}

test("a hundred clients of one cold tag cost one GET", async () => {
  await using upstream = await createUpstream();
  await using mirror = await startMirror(upstream.host);
  const image = upstream.addImage("library/herd", "1");
  const path = "/v2/library/herd/manifests/1";
  const everybody = createBarrier();
  upstream.when({ path }, { pauseAt: everybody });
  const asking = Array.from({ length: 100 }, () => mirror.get(path));
  await upstream.arrived({ path });
  await joined(mirror, 100);
  everybody.release();
  const answers = await Promise.all(asking);
  for (const { status, headers } of answers) {
    assert.equal(status, 200);
    assert.equal(headers["docker-content-digest"], image.digest);
  }
  assert.equal(answers.filter(({ headers }) => !headers["cache-status"]?.includes("collapsed")).length, 1);
  assert.deepEqual(questions(upstream), [`GET ${path}`]);
  await mirror.close();
  assert.deepEqual((await inspectStorage(mirror.root)).blobs, [image.digest]);
});

test("a hundred questions for one cold tag, or a blob's size, cost one question", async () => {
  await using upstream = await createUpstream();
  await using mirror = await startMirror(upstream.host);
  upstream.addImage("library/herd", "1");
  // Too large to be a manifest, which its bytes would have to tell.
  const blob = upstream.addLargeBlob(5 * 1024 * 1024, 1);
  const asked = { "/v2/library/herd/manifests/1": "HEAD", [`/v2/library/herd/blobs/${blob}`]: "GET" };
  for (const [path, method] of Object.entries(asked)) {
    const everybody = createBarrier();
    upstream.when({ path }, { pauseAt: everybody });
    const asking = Array.from({ length: 100 }, () => mirror.get(path, { method: "HEAD" }));
    await upstream.arrived({ path });
    await joined(mirror, 100);
    everybody.release();
    for (const { status, headers } of await Promise.all(asking)) {
      assert.equal(status, 200);
      assert.ok(Number(headers["content-length"]) > 0);
    }
    assert.deepEqual(
      questions(upstream).filter((question) => question.endsWith(path)),
      [`${method} ${path}`],
    );
  }
  assert.equal(upstream.bytesSent({ path: blob }), 1);
});
