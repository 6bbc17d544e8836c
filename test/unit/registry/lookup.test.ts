import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type Digest, digestOf } from "../../../src/oci/digest.ts";
import { parseRepository, parseTag } from "../../../src/oci/reference.ts";
import { Background } from "../../../src/concurrency/background.ts";
import { blobKey } from "../../../src/store/layout.ts";
import type { CacheStatus, PullRegistry, Warmable } from "../../../src/registry/registry.ts";
import { type ObjectStore, StoreError } from "../../../src/store/object-store.ts";
import { UpstreamError } from "../../../src/upstream/upstream.ts";
import { createBarrier } from "../../support/barrier.ts";
import { pseudoRandomBytes } from "../../support/content.ts";
import { turn } from "../../support/event-loop.ts";
import { createFakeMirror, type FakeMirror, imageOf, readBlob } from "./fake-mirror.ts";

const repository = parseRepository("library/a");
const other = parseRepository("library/b");
const tag = parseTag("latest");
const bytes = pseudoRandomBytes(200_000, "unreadable");

interface Image {
  readonly subject: FakeMirror;
  readonly blob: Digest;
  readonly manifest: Digest;
}

/** A mirror whose store holds an image. */
async function setUp(): Promise<Image> {
  // What could not be stored is nobody's concern here; the store tells of it itself.
  const background = new Background((error) => assert.ok(error instanceof StoreError));
  const subject = await createFakeMirror({ background });
  const idle = subject.idle.bind(subject);
  subject.idle = async () => {
    await idle();
    await background.idle();
  };
  const { upstream, mirror } = subject;
  const blob = upstream.addBlob(repository, bytes);
  const { descriptor } = upstream.addManifest(repository, tag, imageOf("1", [{ digest: blob, size: bytes.length }]));
  upstream.setPage(`tags ${repository} `, { tags: [tag] });
  await mirror.manifest(repository, tag);
  await pull(mirror, blob);
  await mirror.tags(repository, "");
  await subject.idle();
  upstream.asked.length = 0;
  return { subject, blob, manifest: descriptor.digest };
}

/** Has operations of the store fail until the result is disposed of. */
function breakStore(store: ObjectStore, operations: readonly ("get" | "head")[], code: string): Disposable {
  const kept = operations.map((operation) => [operation, store[operation]] as const);
  for (const operation of operations) {
    store[operation] = async () => {
      throw new StoreError("it could not be read", Object.assign(new Error(code), { code }));
    };
  }
  return {
    [Symbol.dispose]: () => {
      for (const [operation, original] of kept) Object.assign(store, { [operation]: original.bind(store) });
    },
  };
}

async function pull(
  mirror: PullRegistry & Warmable,
  digest: Digest,
  of = repository,
): Promise<[Buffer, CacheStatus] | undefined> {
  const answer = await mirror.openBlob(of, digest);
  return answer && [await readBlob(answer.value), answer.cache];
}

describe("what cannot be read is asked of the upstream:", () => {
  const failures: Record<string, readonly ("get" | "head")[]> = {
    EMFILE: ["get"],
    EACCES: ["get"],
    EIO: ["get", "head"],
  };
  for (const [code, operations] of Object.entries(failures)) {
    test(code, async () => {
      const { subject, blob, manifest } = await setUp();
      await using _ = subject;
      const { upstream, store } = subject;
      const restarted = subject.restart();
      {
        using __ = breakStore(store, operations, code);
        const byTag = await restarted.manifest(repository, tag);
        assert.equal(byTag?.value.descriptor.digest, manifest);
        assert.equal(byTag.cache.forward, "uri-miss");
        const byDigest = await subject.restart().manifest(repository, manifest);
        assert.equal(byDigest?.cache.forward, "uri-miss");
        assert.equal((await subject.restart().resolve(repository, tag))?.value.digest, manifest);
        assert.equal((await subject.restart().resolve(repository, manifest))?.cache.forward, "uri-miss");
        const stat = await subject.restart().statBlob(repository, blob);
        assert.deepEqual([stat?.value, stat?.cache.forward], [{ sizeBytes: bytes.length }, "uri-miss"]);
        for (const mirror of [subject.mirror, subject.restart()]) {
          const pulled = await pull(mirror, blob);
          assert.deepEqual(pulled, [bytes, { hit: false, forward: "uri-miss", stored: true, collapsed: false }]);
          await subject.idle();
        }
      }
      assert.ok(upstream.asked.length > 0);
      upstream.asked.length = 0;
      const after = subject.restart();
      assert.deepEqual((await pull(after, blob))?.[1], { hit: true });
      assert.deepEqual((await after.manifest(repository, tag))?.cache, { hit: true });
      assert.deepEqual(upstream.asked, []);
    });
  }
});

test("clients that find the store unreadable share one question each", async () => {
  const { subject, blob, manifest } = await setUp();
  await using _ = subject;
  const { upstream, store } = subject;
  using __ = breakStore(store, ["get", "head"], "EIO");
  const mirror = subject.restart();
  const barrier = createBarrier();
  upstream.hold = barrier;
  const clients = Array.from({ length: 20 });
  const answers = Promise.all([
    ...clients.map(() => pull(mirror, blob)),
    ...clients.map(() => mirror.manifest(repository, tag)),
    ...clients.map(() => mirror.manifest(repository, manifest)),
  ]);
  await barrier.reached;
  await turn(10);
  barrier.release();
  assert.ok((await answers).every((answer) => answer !== undefined));
  const kinds = upstream.asked.map((question) => question.split(" ")[0] ?? "").toSorted();
  assert.deepEqual(kinds, ["blob", "manifest", "manifest"]);
});

test("a link that cannot be read is no proof: another repository gets nothing that its upstream does not give", async () => {
  const { subject, blob } = await setUp();
  await using _ = subject;
  using __ = breakStore(subject.store, ["get"], "EACCES");
  const mirror = subject.restart();
  assert.equal(await mirror.openBlob(other, blob), undefined);
  assert.equal(await mirror.statBlob(other, blob), undefined);
});

test("when the upstream fails too, the error is its own", async () => {
  const { subject, blob, manifest } = await setUp();
  await using _ = subject;
  const error = new UpstreamError("registry.example.com", "timeout", "it is slow");
  subject.upstream.failure = error;
  using __ = breakStore(subject.store, ["get", "head"], "EIO");
  const mirror = subject.restart();
  await assert.rejects(mirror.manifest(repository, tag), error);
  await assert.rejects(mirror.resolve(repository, manifest), error);
  await assert.rejects(mirror.statBlob(repository, blob), error);
  await assert.rejects(mirror.openBlob(repository, blob), error);
  await assert.rejects(mirror.tags(repository, ""), error);
});

test("where the upstream is never asked, the storage's error is told, and not that it is not cached", async () => {
  const { subject, blob, manifest } = await setUp();
  await using _ = subject;
  const offline = new UpstreamError("registry.example.com", "offline", "it is never asked");
  subject.upstream.failure = offline;
  {
    using __ = breakStore(subject.store, ["get", "head"], "EIO");
    const mirror = subject.restart();
    const isStorage = { name: "StoreError", code: "EIO" };
    await assert.rejects(mirror.manifest(repository, tag), isStorage);
    await assert.rejects(mirror.manifest(repository, manifest), isStorage);
    await assert.rejects(mirror.resolve(repository, tag), isStorage);
    await assert.rejects(mirror.resolve(repository, manifest), isStorage);
    await assert.rejects(mirror.statBlob(repository, blob), isStorage);
    await assert.rejects(mirror.openBlob(repository, blob), isStorage);
    await assert.rejects(mirror.tags(repository, ""), isStorage);
  }
  const mirror = subject.restart();
  assert.ok((await pull(mirror, blob))?.[0].equals(bytes));
  await assert.rejects(mirror.openBlob(repository, digestOf(Buffer.from("none"))), offline);
});

test("a blob that cannot be read to its end is fetched anew for the next client, and stored in its place", async () => {
  const { subject, blob } = await setUp();
  await using _ = subject;
  const { store, mirror, upstream } = subject;
  const get = store.get.bind(store);
  store.get = async (key) => {
    const object = await get(key);
    if (object === undefined || key !== blobKey(blob)) return object;
    return {
      ...object,
      async *read(span) {
        yield* object.read({ start: span.start, end: 100_000 });
        throw new StoreError("the file could not be read", Object.assign(new Error("EIO"), { code: "EIO" }));
      },
    };
  };
  await assert.rejects(pull(mirror, blob), { code: "EIO" });
  assert.deepEqual(upstream.asked, []);
  const next = await pull(mirror, blob);
  assert.deepEqual(next, [bytes, { hit: false, forward: "uri-miss", stored: true, collapsed: false }]);
  await subject.idle();
  store.get = get;
  assert.deepEqual(await pull(mirror, blob), [bytes, { hit: true }]);
  assert.deepEqual(upstream.asked, [`blob ${repository} ${blob} 0`]);
});

test("a blob that cannot be read to its end and is stored anew ahead of the next client is served to it", async () => {
  const { subject, blob } = await setUp();
  await using _ = subject;
  const { store, mirror, upstream } = subject;
  const get = store.get.bind(store);
  store.get = async (key) => {
    const object = await get(key);
    return object && { ...object, read: () => failing() };
  };
  await assert.rejects(pull(mirror, blob), { code: "EIO" });
  store.get = get;
  await mirror.storeBlob(repository, blob);
  await subject.idle();
  assert.deepEqual(await pull(mirror, blob), [bytes, { hit: true }]);
  assert.deepEqual(upstream.asked, [`blob ${repository} ${blob} 0`]);
});

test("a blob that cannot be read, of an upstream that is never asked, is tried again after a while", async () => {
  const { subject, blob } = await setUp();
  await using _ = subject;
  const { store, mirror } = subject;
  subject.upstream.failure = new UpstreamError("registry.example.com", "offline", "it is never asked");
  const get = store.get.bind(store);
  store.get = async (key) => {
    const object = await get(key);
    return object && { ...object, read: () => failing() };
  };
  await assert.rejects(pull(mirror, blob), { code: "EIO" });
  store.get = get;
  await assert.rejects(pull(mirror, blob), { code: "EIO" });
  subject.now += 60_000;
  assert.ok((await pull(mirror, blob))?.[0].equals(bytes));
});

test("a blob that is removed before it is opened is looked for again, and filled", async () => {
  const { subject, blob } = await setUp();
  await using _ = subject;
  const { content, mirror, upstream } = subject;
  // It is absent for the look-up; meanwhile another fill ends, so that this one looks again and finds it; and it is gone
  // when it is opened. That happens twice.
  const openBlob = content.openBlob.bind(content);
  let opened = 0;
  let others = 0;
  content.openBlob = async (digest) => {
    if (digest !== blob || ++opened > 4) return openBlob(digest);
    const other = Buffer.from(`other ${others++}`);
    await mirror.storeBlob(repository, upstream.addBlob(repository, other));
    return undefined;
  };
  const asked = (): string[] => upstream.asked.filter((question) => question.includes(blob));
  assert.deepEqual(await pull(mirror, blob), [bytes, { hit: true }]);
  assert.deepEqual(asked(), []);
  opened = -Infinity;
  await assert.rejects(mirror.openBlob(repository, blob), /removed/);
  content.openBlob = async (digest) => {
    await subject.store.delete(blobKey(digest));
    return undefined;
  };
  assert.ok((await pull(mirror, blob))?.[0].equals(bytes));
  assert.deepEqual(asked(), [`blob ${repository} ${blob} 0`]);
});

test("what is no failure of the store is not taken for one", async () => {
  const { subject, blob } = await setUp();
  await using _ = subject;
  const bug = new TypeError("a mistake of ours");
  subject.content.link = async () => {
    throw bug;
  };
  await assert.rejects(subject.mirror.openBlob(repository, blob), bug);
  await assert.rejects(subject.mirror.statBlob(repository, blob), bug);
});

async function* failing(): AsyncGenerator<Uint8Array> {
  yield* [];
  throw new StoreError("the file could not be read", Object.assign(new Error("EIO"), { code: "EIO" }));
}
