/* What a tag's revalidation asks of the store. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { type Digest, digestOf } from "../../../src/oci/digest.ts";
import { parseRepository, parseTag } from "../../../src/oci/reference.ts";
import { blobKey } from "../../../src/store/layout.ts";
import { UpstreamError } from "../../../src/upstream/upstream.ts";
import { createBarrier } from "../../support/barrier.ts";
import { turn } from "../../support/event-loop.ts";
import { createFakeMirror, type FakeMirror, imageOf } from "./fake-mirror.ts";

const a = parseRepository("library/a");
const latest = parseTag("latest");
const layers = Array.from({ length: 100 }, (_, index) => Buffer.from(`layer ${index}`));
const digests = layers.map((bytes) => digestOf(bytes));

/** A mirror that has a whole image of a hundred layers, whose tag is stale. */
async function createStale(stored: readonly Digest[] = digests): Promise<FakeMirror> {
  const subject = await createFakeMirror({ staleWaitMs: 3_000 });
  const { mirror, upstream } = subject;
  for (const bytes of layers) upstream.addBlob(a, bytes);
  const listed = layers.map((bytes, index) => ({ digest: digests[index] ?? assert.fail(), size: bytes.length }));
  upstream.addManifest(a, "latest", imageOf("image", listed));
  await mirror.manifest(a, latest);
  for (const digest of stored) await mirror.storeBlob(a, digest);
  await subject.idle();
  subject.now += 60_000;
  upstream.asked.length = 0;
  return subject;
}

/** The layers that are looked up in the store from now on. */
function watchLayers(context: TestContext, { store }: FakeMirror): string[] {
  const lookedUp: string[] = [];
  const keys = new Set<string>(digests.map((digest) => blobKey(digest)));
  for (const name of ["head", "get"] as const) {
    const original = store[name].bind(store) as (key: never) => never;
    context.mock.method(store, name, (key: never) => {
      if (keys.has(key)) lookedUp.push(key);
      return original(key);
    });
  }
  return lookedUp;
}

test("the upstream is asked for a stale tag before any of its blobs is looked up", async (context) => {
  await using subject = await createStale();
  const { mirror, upstream } = subject;
  const lookedUp = watchLayers(context, subject);
  const barrier = createBarrier();
  upstream.hold = barrier;
  const answer = mirror.manifest(a, latest);
  await barrier.reached;
  assert.deepEqual(lookedUp, []);
  barrier.release();
  assert.equal((await answer)?.cache.forwardStatus, 200);
  assert.equal((await mirror.resolve(a, latest))?.cache.hit, true);
  assert.deepEqual(lookedUp, []);
});

test("when the upstream fails, each blob of what stands in is looked up once", async (context) => {
  await using subject = await createStale();
  const lookedUp = watchLayers(context, subject);
  subject.upstream.failure = new UpstreamError("registry.example.com", "unreachable", "it is down");
  assert.equal((await subject.mirror.manifest(a, latest))?.cache.staleReason, "unreachable");
  assert.equal(lookedUp.length, layers.length);
  lookedUp.length = 0;
  // It is spared from here on.
  assert.equal((await subject.mirror.manifest(a, latest))?.cache.staleReason, "unreachable");
  assert.equal(lookedUp.length, layers.length);
});

test("an image that is not whole does not stand in for an upstream that is late", async (context) => {
  await using subject = await createStale(digests.slice(1));
  const { mirror, upstream } = subject;
  const barrier = createBarrier();
  upstream.hold = barrier;
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const answer = mirror.manifest(a, latest);
  await barrier.reached;
  context.mock.timers.tick(3_000);
  barrier.release();
  assert.equal((await answer)?.cache.forwardStatus, 200);
});

test("what the upstream answers while it is looked up whether an image is whole counts", async (context) => {
  await using subject = await createStale();
  const { mirror, upstream, store } = subject;
  const [asked, lookedUp] = [createBarrier(), createBarrier()];
  upstream.hold = asked;
  const head = store.head.bind(store) as (key: never) => never;
  context.mock.method(store, "head", async (key: never) => {
    await lookedUp.wait();
    return head(key);
  });
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const answer = mirror.manifest(a, latest);
  await asked.reached;
  context.mock.timers.tick(3_000);
  await lookedUp.reached;
  asked.release();
  await turn(20);
  lookedUp.release();
  const { cache } = (await answer) ?? assert.fail();
  assert.deepEqual([cache.staleReason, cache.forwardStatus], [undefined, 200]);
  assert.deepEqual(subject.failures, []);
});
