/* What other replicas are answered, and that nobody else is. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { parseNamespace, parseRepository } from "../../src/oci/reference.ts";
import type { Asker } from "../../src/concurrency/interest.ts";
import { createPeerHandler, type PeersOptions } from "../../src/http/peers.ts";
import type { BodyStream, Facts, Reply } from "../../src/http/reply.ts";
import type { Fill } from "../../src/registry/fill.ts";
import { Answers } from "../../src/replicas/answers.ts";
import type { ReplicaId } from "../../src/replicas/board.ts";
import { PeerGuard } from "../../src/replicas/peer-guard.ts";
import { callHeader, epochHeader, formatQuestion, type PeerQuestion } from "../../src/replicas/peer-protocol.ts";
import { SharedSecret } from "../../src/replicas/shared-secret.ts";
import type { OpenObject, Version } from "../../src/store/object-store.ts";
import { never, turn } from "../support/event-loop.ts";

const secret = new SharedSecret(["an example of a secret that replicas share"]);
const self = "this one" as ReplicaId;
const content = Buffer.alloc(100_000, "content");
const digest = digestOf(content);
const id = { namespace: parseNamespace("docker.io"), repository: parseRepository("library/test") };
const blob: PeerQuestion = { kind: "blob", id, digest, offset: 0 };
const progress: PeerQuestion = { kind: "progress", id, digest };

/** A fill as far as others see it. */
class FakeFill {
  readonly #opening = Promise.withResolvers<"streaming" | "absent" | "stored">();
  readonly opened = this.#opening.promise;
  readonly askers: (Asker | undefined)[] = [];
  sizeBytes: number | undefined = content.length;
  receivedBytes = 0;
  isVerified = false;
  open = 0;

  settle(opened: "streaming" | "absent" | "stored" | Error): void {
    this.opened.catch(() => undefined);
    if (opened instanceof Error) this.#opening.reject(opened);
    else this.#opening.resolve(opened);
  }

  join(asker?: Asker): unknown {
    this.askers.push(asker);
    this.open++;
    return {
      read: async function* ({ start, end }: { start: number; end: number }) {
        yield content.subarray(start, Math.min(end, content.length));
      },
      close: async () => void this.open--,
    };
  }
}

class World {
  readonly guard = new PeerGuard(secret, self, () => 0);
  readonly answers = new Answers(() => 0);
  fill: FakeFill | undefined;
  isFromPeer = false;
  /** What the repository has it as, and how much of it is stored. */
  link: { readonly role?: "blob" | "manifest"; readonly sizeBytes: number } | undefined;
  stored: Buffer | undefined;
  open = 0;
  now = 1_000;
  readonly facts: Facts = { endpoint: "other" };
  readonly #handler;
  #names = 0;

  constructor() {
    const options: PeersOptions = {
      guard: this.guard,
      sharing: { answers: this.answers, isFromPeer: () => this.isFromPeer },
      fills: { find: () => this.fill as unknown as Fill | undefined },
      content: {
        link: async () => this.link && { mediaType: "application/octet-stream", ...this.link },
        statBlob: async () =>
          this.stored && { key: "a" as never, version: "1" as Version, sizeBytes: this.stored.length },
        openBlob: async () => this.#open(),
      },
      now: () => this.now,
    };
    this.#handler = createPeerHandler(options);
  }

  /** Asks as another replica does, or as the header says. */
  async ask(question: PeerQuestion, { header, asker, method = "GET" }: Partial<Asking> = {}): Promise<Reply> {
    const target = formatQuestion(question);
    const call = header ?? this.call(target);
    return this.#handler({ method, target, headers: { [callHeader]: call }, ...(asker && { asker }) }, this.facts);
  }

  call(target: string, signer = secret, called = self): string {
    const name = String(this.#names++);
    const { epoch } = this.guard;
    return `${epoch} ${name} ${signer.sign("call", called, epoch, name, target)}`;
  }

  #open(): OpenObject | undefined {
    const { stored } = this;
    if (stored === undefined) return undefined;
    this.open++;
    return {
      sizeBytes: stored.length,
      version: "1" as Version,
      async *read({ start, end }) {
        yield stored.subarray(start, end);
      },
      close: async () => void this.open--,
    };
  }
}

interface Asking {
  readonly header: string;
  readonly asker: Asker;
  readonly method: string;
}

function document(reply: Reply): unknown {
  assert.ok(reply.body instanceof Uint8Array);
  return JSON.parse(Buffer.from(reply.body).toString());
}

async function bytesOf(reply: Reply): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  const body = reply.body as BodyStream;
  for await (const chunk of body.read(never())) chunks.push(Buffer.from(chunk));
  await body.close();
  return Buffer.concat(chunks);
}

test("whoever is no replica is told the epoch, and nothing else", async () => {
  const world = new World();
  world.link = { role: "blob", sizeBytes: content.length };
  world.stored = content;
  const target = formatQuestion(blob);
  const once = world.call(target);
  assert.equal((await bytesOf(await world.ask(blob, { header: once }))).length, content.length);
  const stranger = new SharedSecret(["a secret that somebody else has thought up"]);
  for (const asking of [
    { header: "" },
    { header: once },
    { header: world.call(target, stranger) },
    { header: world.call(target, secret, "another one" as ReplicaId) },
    { header: world.call(formatQuestion(progress)) },
    { header: world.call(target), method: "HEAD" },
    { header: world.call(target), method: "POST" },
  ]) {
    const { status, headers, body } = await world.ask(blob, asking);
    assert.deepEqual([status, body], [401, undefined]);
    assert.deepEqual(headers, { [epochHeader]: world.guard.epoch, "Content-Length": 0 });
  }
  assert.equal(world.open, 0);
});

test("a stored blob is sent from an offset on, to its own repository, as what that has it as", async () => {
  const world = new World();
  world.link = { role: "blob", sizeBytes: content.length };
  world.stored = content;
  assert.ok((await bytesOf(await world.ask({ ...blob, offset: 99_000 }))).equals(content.subarray(99_000)));
  assert.deepEqual(document(await world.ask(progress)), { readyBytes: content.length });
  assert.equal((await world.ask({ ...blob, offset: content.length + 1 })).status, 404);
  world.link = { role: "manifest", sizeBytes: content.length };
  assert.equal((await world.ask(blob)).status, 404, "it has it as a manifest");
  world.link = { role: "blob", sizeBytes: 5 };
  assert.equal((await world.ask(blob)).status, 404, "it has another size than it should");
  world.link = undefined;
  assert.equal((await world.ask(blob)).status, 404, "another repository's");
  assert.equal((await world.ask(progress)).status, 404);
  assert.equal(world.open, 0);
});

test("of a fill is sent what comes; how much can be had is told as a reader has it", async () => {
  const world = new World();
  world.fill = new FakeFill();
  world.fill.receivedBytes = 50_000;
  const asking = world.ask(blob);
  await turn(2);
  assert.deepEqual(document(await world.ask(progress)), { readyBytes: 0 }, "it may be something else still");
  world.fill.settle("streaming");
  assert.ok((await bytesOf(await asking)).equals(content));
  assert.deepEqual(document(await world.ask(progress)), { readyBytes: 50_000 - 16 * 1024 });
  world.fill.receivedBytes = content.length;
  world.fill.isVerified = true;
  assert.deepEqual(document(await world.ask(progress)), { readyBytes: content.length });
  assert.equal(world.fill.open, 0);
});

test("what comes from another replica is not sent on, also where that turns out later", async () => {
  const world = new World();
  world.fill = new FakeFill();
  const asking = world.ask(blob);
  await turn(2);
  world.isFromPeer = true;
  world.fill.settle("streaming");
  assert.equal((await asking).status, 404);
  assert.equal((await world.ask(progress)).status, 404);
  assert.equal(world.fill.open, 0);
});

test("a fill that fails, or finds nothing, is none; nor is one that is behind what is asked for", async () => {
  for (const opened of ["absent", new Error("the upstream is away")] as const) {
    const world = new World();
    world.fill = new FakeFill();
    world.fill.settle(opened);
    assert.equal((await world.ask(blob)).status, 404);
    assert.equal(world.fill.open, 0);
  }
  const world = new World();
  world.fill = new FakeFill();
  world.fill.settle("streaming");
  assert.equal((await world.ask({ ...blob, offset: content.length + 1 })).status, 404);
  assert.equal(world.fill.open, 0);
  // One that has turned out to be stored.
  const stored = new World();
  stored.fill = new FakeFill();
  stored.fill.settle("stored");
  stored.link = { role: "blob", sizeBytes: content.length };
  stored.stored = content;
  assert.ok((await bytesOf(await stored.ask(blob))).equals(content));
  assert.deepEqual([stored.fill.open, stored.open], [0, 0]);
});

test("a replica that leaves is counted as one who waits no longer", async () => {
  const world = new World();
  world.fill = new FakeFill();
  world.fill.settle("streaming");
  const asker: Asker = { isWaiting: true, watch: () => () => undefined };
  await world.ask(blob, { asker });
  assert.deepEqual(world.fill.askers, [asker]);
});

test("an answer is told with its age, also one that is still to come; one that failed is none", async () => {
  const world = new World();
  const question: PeerQuestion = { kind: "answer", name: "a" };
  assert.equal((await world.ask(question)).status, 404);
  const { promise, resolve } = Promise.withResolvers<{ checkedAt: number; digest: Digest }>();
  world.answers.tell("a", promise);
  const asking = world.ask(question);
  resolve({ checkedAt: 1_000, digest });
  world.now = 3_500;
  assert.deepEqual(document(await asking), { digest, ageMs: 2_500 });
  // A clock that was set back does not make it younger than new.
  world.now = 0;
  assert.deepEqual(document(await world.ask(question)), { digest, ageMs: 0 });
  world.answers.tell("a", Promise.reject(new Error("it is away")));
  const failed = await world.ask(question);
  assert.ok(failed.status === 502 || failed.status === 404);
});

test("what fails here is told as a refusal, and logged; nonsense is refused", async () => {
  const world = new World();
  world.fill = new FakeFill();
  world.fill.join = () => {
    throw new Error("the disk is broken");
  };
  assert.equal((await world.ask(blob)).status, 502);
  assert.match(String(world.facts.error), /disk is broken/);
  const reply = await world.ask({ ...progress, id: { ...id, repository: "/" as typeof id.repository } });
  assert.equal(reply.status, 404);
  assert.deepEqual(document(await world.ask({ kind: "alive" })), {});
});
