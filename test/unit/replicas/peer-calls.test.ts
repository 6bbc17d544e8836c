/* How other replicas are asked, and what becomes of those that do not answer as they should; over real connections. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterEach, beforeEach, describe, test } from "node:test";
import { setTimeout as rest } from "node:timers/promises";
import "../../support/network.ts";
import { systemClock } from "../../../src/concurrency/clock.ts";
import { type Digest, digestOf } from "../../../src/oci/digest.ts";
import { parseNamespace, parseRepository } from "../../../src/oci/reference.ts";
import type { ReplicaId } from "../../../src/replicas/board.ts";
import { PeerCalls } from "../../../src/replicas/peer-calls.ts";
import { PeerRefusal } from "../../../src/replicas/peer-client.ts";
import { callHeader, epochHeader } from "../../../src/replicas/peer-protocol.ts";
import { SharedSecret } from "../../../src/replicas/shared-secret.ts";
import { UpstreamError } from "../../../src/upstream/upstream.ts";
import { never, until } from "../../support/event-loop.ts";
import { FakePeer } from "../../support/fake-peer.ts";

const secret = new SharedSecret(["an example of a secret that replicas share"]);
const content = Buffer.alloc(300_000, "content");
const digest = digestOf(content);
const id = { namespace: parseNamespace("docker.io"), repository: parseRepository("library/test") };
/** Nobody waits for longer than about a second for another replica; and a busy machine takes some time, too. */
const patienceMs = 2_000;

interface Wanted {
  readonly offset?: number;
  readonly sizeBytes?: number;
  readonly digest?: Digest;
}

describe("calls to another replica", () => {
  let peer: FakePeer;
  let calls: PeerCalls;
  let left: { readonly id: string; readonly why: string }[];
  let addresses: Map<ReplicaId, string>;
  let ms: number;

  beforeEach(async () => {
    peer = await FakePeer.start("peer", secret);
    left = [];
    ms = 0;
    addresses = new Map([[peer.id, peer.address]]);
    calls = new PeerCalls({
      secret,
      addressOf: async (replica) => addresses.get(replica),
      clock: { monotonic: () => ms + performance.now(), wait: (...wait) => systemClock.wait(...wait) },
      onLeft: (replica, { message }) => left.push({ id: replica, why: message }),
    });
  });
  afterEach(async () => {
    await calls.close();
    await peer[Symbol.asyncDispose]();
  });

  async function fetchBlob({ offset = 0, ...wanted }: Wanted = {}): Promise<Buffer> {
    const blob = await calls.blob(peer.id, { kind: "blob", id, digest, offset, ...wanted }, never());
    const chunks: Buffer[] = [];
    for await (const chunk of blob.body) chunks.push(chunk);
    return Buffer.concat(chunks);
  }

  /** Fails in time, with a refusal; whether the peer is left alone from then on. */
  async function refused(asking: Promise<unknown>): Promise<boolean> {
    const started = performance.now();
    await assert.rejects(asking, PeerRefusal);
    assert.ok(performance.now() - started < patienceMs, `it took ${performance.now() - started} ms`);
    return calls.isGone(peer.id);
  }

  /** Breaks off in time; whether the peer is left alone from then on. */
  async function broken(asking: Promise<unknown>): Promise<boolean> {
    const started = performance.now();
    await assert.rejects(asking, (error) => error instanceof UpstreamError && error.failure === "unreachable");
    assert.ok(performance.now() - started < patienceMs, `it took ${performance.now() - started} ms`);
    return calls.isGone(peer.id);
  }

  test("a blob comes from the offset that is asked for, and an answer as it was told", async () => {
    peer.on.blob = (call) => {
      assert.ok(call.question.kind === "blob");
      call.begin(content.length);
      call.response.end(content.subarray(call.question.offset));
    };
    peer.on.answer = (call) => call.json({ name: call.question.kind === "answer" && call.question.name });
    assert.ok((await fetchBlob()).equals(content));
    assert.ok((await fetchBlob({ offset: 1_000, sizeBytes: content.length })).equals(content.subarray(1_000)));
    assert.deepEqual(await calls.answer(peer.id, "a name & more", never()), { name: "a name & more" });
    assert.equal(await calls.isGone(peer.id), false);
    // The epoch is asked for once.
    assert.deepEqual(peer.asked, ["stranger", "blob", "blob", "answer"]);
  });

  test("one that is not there, or has nothing, refuses, and is not left alone for that", async () => {
    peer.on.blob = (call) => call.refuse();
    peer.on.answer = (call) => call.refuse(502);
    assert.equal(await refused(fetchBlob()), false);
    assert.equal(await refused(calls.answer(peer.id, "a", never())), false);
    addresses.clear();
    await assert.rejects(fetchBlob(), PeerRefusal);
    assert.deepEqual(left, []);
    assert.equal(await calls.isGone(peer.id), true);
  });

  test("what is not signed with the secret is no answer", async () => {
    peer.on.blob = (call) => {
      call.begin(content.length, new SharedSecret(["another secret than the one of replicas"]).sign("answer", "200"));
      call.response.end(content);
    };
    peer.on.answer = (call) => call.response.writeHead(200).end("{}");
    assert.equal(await refused(fetchBlob()), true);
    assert.equal(await refused(calls.answer(peer.id, "a", never())), true);
    await until(() => peer.connections <= 1);
  });

  test("an address at which somebody else answers gets no call that another replica would admit", async () => {
    await using other = await FakePeer.start("other", secret);
    const calledWith: string[] = [];
    peer.onStranger = (request, response) => {
      calledWith.push(String(request.headers[callHeader]), request.url ?? "");
      response.writeHead(401, { [epochHeader]: other.guard.epoch }).end();
    };
    assert.equal(await refused(fetchBlob()), true);
    const [header = "", target = ""] = calledWith.slice(-2);
    assert.equal(other.guard.admit(target, header), undefined);
  });

  test("one that takes no connection, or is silent, is left alone within a second", async () => {
    assert.equal(await refused(fetchBlob()), true, "no headers");
    delete peer.on.alive;
    await refused(calls.answer(peer.id, "a", never()));
    await using hole = await BlackHole.start();
    addresses.set(peer.id, hole.address);
    await refused(fetchBlob());
    await refused(calls.answer(peer.id, "a", never()));
    assert.match(left.at(-1)?.why ?? "", /Connect Timeout/);
  });

  test("a call that is given up is ended, also at the other side", async () => {
    delete peer.on.alive;
    const closed = Promise.withResolvers<void>();
    peer.on.answer = ({ response }) => response.once("close", () => closed.resolve());
    assert.equal(await refused(calls.answer(peer.id, "a", never())), true);
    await closed.promise;
  });

  test("one whose address the bucket does not tell is not waited for", async () => {
    const slow = new PeerCalls({
      secret,
      addressOf: () => new Promise(() => undefined),
      clock: systemClock,
      onLeft: () => undefined,
    });
    const started = performance.now();
    await assert.rejects(slow.blob(peer.id, { kind: "blob", id, digest, offset: 0 }, never()), PeerRefusal);
    await assert.rejects(slow.answer(peer.id, "a", never()), PeerRefusal);
    assert.ok(performance.now() - started < 2 * patienceMs);
    await slow.close();
  });

  test("who was kept from looking for a while takes nobody for silent", async () => {
    let stalls = 3;
    let stalledMs = 0;
    const busy = new PeerCalls({
      secret,
      addressOf: async () => peer.address,
      clock: {
        monotonic: () => stalledMs + performance.now(),
        wait: async (ms, signal) => {
          if (stalls-- <= 0) return systemClock.wait(ms, signal);
          // As on a busy machine: all that was waited for is over before anything is read.
          stalledMs += 10 * ms;
          return undefined;
        },
      },
      onLeft: (_id, { message }) => assert.fail(message),
    });
    peer.on.answer = (call) => call.json("it");
    assert.equal(await busy.answer(peer.id, "a", never()), "it");
    await busy.close();
  });

  test("one that waits itself is waited for as long as it says so", async () => {
    const progress: number[] = [];
    peer.on.progress = (call) => {
      progress.push(call.response.statusCode);
      call.json({ readyBytes: 0 });
    };
    let answer: (() => void) | undefined;
    peer.on.blob = (call) => {
      answer = () => {
        call.begin(content.length);
        call.response.end(content);
      };
    };
    const fetching = fetchBlob();
    await until(() => progress.length >= 5);
    answer?.();
    assert.ok((await fetching).equals(content));
  });

  for (const { what, sent, told } of [
    { what: "silent after its headers", sent: 0, told: content.length },
    { what: "silent in the middle", sent: 100_000, told: 100_001 },
    { what: "silent, and does not know of it any more", sent: 100_000, told: undefined },
  ]) {
    test(`one that is ${what} is left`, async () => {
      peer.on.progress = (call) => (told === undefined ? call.refuse() : call.json({ readyBytes: told }));
      peer.on.blob = (call) => {
        call.begin(content.length);
        call.response.write(content.subarray(0, sent));
      };
      assert.equal(await broken(fetchBlob()), told !== undefined);
      await until(() => peer.connections <= 1);
    });
  }

  test("one that drips what it has is left, and one that has no more is not", async () => {
    let ready = content.length;
    peer.on.progress = (call) => call.json({ readyBytes: ready });
    const drip = (sent: (count: number) => void): void => {
      peer.on.blob = (call) => {
        call.begin(content.length);
        let count = 0;
        const timer = setInterval(() => {
          call.response.write(content.subarray(count, ++count));
          sent(count);
          if (count === 50) call.response.end(content.subarray(count));
        }, 50);
        call.response.once("close", () => clearInterval(timer));
      };
    };
    drip(() => undefined);
    await assert.rejects(fetchBlob(), UpstreamError);
    assert.equal(await calls.isGone(peer.id), true);
    drip((count) => (ready = count));
    assert.ok((await fetchBlob()).equals(content));
  });

  test("one that answers nothing about a blob for a while, and sends another meanwhile, is busy and not left", async () => {
    peer.on.progress = () => undefined;
    const other = digestOf(Buffer.from("another"));
    let answered: (() => void) | undefined;
    peer.on.blob = (call) => {
      if (call.question.kind === "blob" && call.question.digest === other) {
        call.begin(content.length);
        let count = 0;
        const timer = setInterval(() => {
          call.response.write(content.subarray(count, (count += 10_000)));
          if (count < content.length) return;
          call.response.end();
          clearInterval(timer);
          answered?.();
        }, 50);
        return;
      }
      answered = () => {
        call.begin(content.length);
        call.response.end(content);
      };
    };
    const [slow, busy] = await Promise.all([fetchBlob({ digest: other }), fetchBlob()]);
    assert.ok(slow.equals(content) && busy.equals(content));
    assert.deepEqual(left, []);
  });

  for (const { what, body, size, sizeBytes } of [
    { what: "too much", body: Buffer.concat([content, content]), size: content.length, sizeBytes: undefined },
    { what: "more than is known, without a size", body: content, size: "", sizeBytes: 1_000 },
    { what: "too little", body: content.subarray(0, 1_000), size: content.length, sizeBytes: undefined },
  ]) {
    test(`one that sends ${what} is left, which is no failure of the blob`, async () => {
      peer.on.progress = (call) => call.json({ readyBytes: content.length });
      peer.on.blob = (call) => {
        call.begin(size);
        call.response.end(body);
      };
      assert.equal(await broken(fetchBlob({ ...(sizeBytes !== undefined && { sizeBytes }) })), true);
    });
  }

  test("one that tells another size than is known is left", async () => {
    peer.on.blob = (call) => {
      call.begin(content.length);
      call.response.end(content);
    };
    assert.equal(await refused(fetchBlob({ sizeBytes: content.length + 1 })), true);
    assert.deepEqual(
      left.map(({ why }) => why),
      [`it tells another size: ${content.length}`],
    );
  });

  test("one whose own source failed breaks off, and is not left alone for that; one that is gone is", async () => {
    peer.on.blob = (call) => {
      call.begin(content.length);
      call.response.write(content.subarray(0, 1_000), () => call.response.destroy());
    };
    peer.on.progress = (call) => call.refuse();
    assert.equal(await broken(fetchBlob()), false);
    peer.on.progress = (call) => call.json({ readyBytes: content.length });
    assert.equal(await broken(fetchBlob()), true);
  });

  test("an answer that is too large, or no JSON, is none", async () => {
    peer.on.answer = (call) => call.response.writeHead(200).end(Buffer.alloc(9 * 1024 * 1024));
    assert.equal(await refused(calls.answer(peer.id, "a", never())), true);
    assert.match(left[0]?.why ?? "", /more than/);
  });

  test("who fails is left alone, from half a second to five, and for ten minutes for wrong bytes, whatever comes after", async () => {
    for (const goneMs of [500, 1_000, 2_000, 4_000, 5_000, 5_000]) {
      assert.equal(await refused(fetchBlob()), true);
      ms += goneMs - 1;
      assert.equal(await calls.isGone(peer.id), true);
      ms += 1;
      assert.equal(await calls.isGone(peer.id), false);
    }
    peer.on.answer = (call) => call.json({});
    await calls.answer(peer.id, "a", never());
    assert.equal(await refused(fetchBlob()), true);
    ms += 500;
    assert.equal(await calls.isGone(peer.id), false, "what it did before it did well is forgotten");
    calls.noteWrong(peer.id);
    assert.equal(await refused(fetchBlob()), true);
    ms += 9 * 60_000;
    assert.equal(await calls.isGone(peer.id), true);
    ms += 60_000;
    assert.equal(await calls.isGone(peer.id), false);
  });

  test("whoever asked and stops asking gets its own reason, and nothing stays open", async () => {
    peer.on.progress = (call) => call.json({ readyBytes: 0 });
    for (const begins of [false, true]) {
      peer.on.blob = (call) => {
        if (begins) call.begin(content.length);
      };
      const leaving = new AbortController();
      const fetching = (async () => {
        const blob = await calls.blob(peer.id, { kind: "blob", id, digest, offset: 0 }, leaving.signal);
        for await (const _ of blob.body) assert.fail("nothing was sent");
      })();
      await until(() => peer.asked.includes("progress"));
      leaving.abort(new Error("it left"));
      await assert.rejects(fetching, /it left/);
      peer.asked.length = 0;
    }
    assert.deepEqual(left, []);
    // A blob that is given up without being read.
    const blob = await calls.blob(peer.id, { kind: "blob", id, digest, offset: 0 }, never());
    blob.cancel();
    await until(() => peer.connections <= 1);
  });
});

/** An address that drops what comes: its process is stopped, and as many connections wait for it as may. */
class BlackHole implements AsyncDisposable {
  readonly #process = spawn(process.execPath, ["-e", listening], { stdio: ["ignore", "pipe", "inherit"] });
  readonly #waiting: Socket[] = [];
  address = "";

  static async start(): Promise<BlackHole> {
    const hole = new BlackHole();
    const [line] = (await once(hole.#process.stdout, "data")) as [Buffer];
    const port = Number(line.toString());
    hole.#process.kill("SIGSTOP");
    for (let isFull = false; !isFull;) {
      const socket = connect(port, "127.0.0.1").on("error", () => undefined);
      hole.#waiting.push(socket);
      isFull = await Promise.race([once(socket, "connect").then(() => false), rest(200, true)]);
    }
    hole.address = `http://127.0.0.1:${port}`;
    return hole;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#waiting) socket.destroy();
    this.#process.kill("SIGKILL");
    await once(this.#process, "exit");
  }
}

const listening = `const server = require("node:net").createServer().listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () =>
  process.stdout.write(String(server.address().port)));`;
