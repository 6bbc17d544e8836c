import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import type { Digest } from "../../../src/oci/digest.ts";
import { type Namespace, parseNamespace } from "../../../src/oci/reference.ts";
import { Background } from "../../../src/concurrency/background.ts";
import type { Content } from "../../../src/registry/content.ts";
import { Fills } from "../../../src/registry/fills.ts";
import { createMirror } from "../../../src/registry/mirror.ts";
import type { MirrorTools } from "../../../src/registry/mirror-tools.ts";
import type { BlobContent, PullRegistry, Warmable } from "../../../src/registry/registry.ts";
import { BufferPool } from "../../../src/store/buffers.ts";
import { HashPool } from "../../../src/store/hashing.ts";
import { MemoryStore } from "../../../src/store/memory.ts";
import type { ObjectStore } from "../../../src/store/object-store.ts";
import { Budget } from "../../../src/upstream/budget.ts";
import { Breaker } from "../../../src/upstream/breaker.ts";
import type { UpstreamError } from "../../../src/upstream/upstream.ts";
import { endlessSpace, openContent } from "../../support/books.ts";
import { holdEventLoop, never, until } from "../../support/event-loop.ts";
import { createFakeUpstream, type FakeUpstream } from "../../support/fake-upstream.ts";
import { openFilesBelow } from "../../support/open-files.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";
import { hashIn } from "../../support/hashing.ts";

/**
 * A mirror over a fake upstream and a store in memory, with a clock that stands still. What does not wait for the
 * upstream or for a fill happens before the event loop's next turn.
 */
export interface FakeMirror extends AsyncDisposable {
  readonly mirror: PullRegistry & Warmable;
  readonly upstream: FakeUpstream;
  readonly content: Content;
  readonly store: ObjectStore;
  /** The clock, in milliseconds. */
  now: number;
  /** By how much the time has been set since, forward or back: what only waits does not see it. */
  setMs: number;
  /** The upstream's failures that were told. */
  readonly failures: UpstreamError[];
  /** A mirror of another namespace over the same content store. */
  another(
    namespace: string,
    changes?: Partial<MirrorTools>,
  ): { mirror: PullRegistry & Warmable; upstream: FakeUpstream };
  /** The same, as a process that is started now finds it: nothing in memory. */
  restart(): PullRegistry & Warmable;
  /** Resolves when nothing is under way behind the answers. */
  idle(): Promise<void>;
}

/** Makes a mirror of docker.io whose tags are fresh for a minute. */
export async function createFakeMirror(changes: Partial<MirrorTools> = {}): Promise<FakeMirror> {
  const loop = holdEventLoop();
  const folder = await createTemporaryDirectory();
  const pool = new BufferPool();
  const store = new MemoryStore();
  const hashes = new HashPool(1);
  const background = new Background((error) => {
    throw error;
  });
  const failures: UpstreamError[] = [];
  const observer = {
    started: () => undefined,
    received: () => undefined,
    resumed: () => undefined,
    ended: () => undefined,
  };
  const make = (content: Content, fills: Fills, upstream: FakeUpstream, namespace: Namespace): MirrorTools => {
    const breaker = new Breaker(() => subject.now, {
      failed: (error) => failures.push(error),
      changed: () => undefined,
    });
    return {
      namespace,
      upstream: breaker.guard(upstream),
      breaker,
      budget: new Budget({ monotonic: () => subject.now }),
      content,
      fills,
      hashes,
      background,
      policy: { ttlMs: 60_000, staleWhileRevalidateMs: 0, staleIfErrorMs: Infinity, keepDeleted: false },
      retries: 0,
      staleWaitMs: 60_000,
      trusted: true,
      remembered: 100,
      checkDigest: false,
      prefetch: false,
      noteUse: () => undefined,
      now: () => subject.now + subject.setMs,
      monotonic: () => subject.now,
      signal: never(),
      ...changes,
    };
  };
  const fillsOf = (content: Content): Fills => {
    const fills = new Fills({
      content,
      hashes,
      pool,
      space: endlessSpace,
      maxObjectBytes: Infinity,
      spoolFolder: folder.path,
      observer,
    });
    all.push(fills);
    return fills;
  };
  const all: Fills[] = [];
  const content = openContent(store, undefined, store);
  const fills = fillsOf(content);
  const upstream = createFakeUpstream();
  const dockerHub = parseNamespace("docker.io");
  const subject: FakeMirror = {
    mirror: createMirror(make(content, fills, upstream, dockerHub)),
    upstream,
    content,
    store,
    now: 1_700_000_000_000,
    setMs: 0,
    failures,
    another(namespace, others = {}) {
      const own = createFakeUpstream();
      return {
        upstream: own,
        mirror: createMirror({ ...make(content, fills, own, parseNamespace(namespace)), ...others }),
      };
    },
    restart: () => {
      const next = openContent(store, undefined, store);
      return createMirror(make(next, fillsOf(next), upstream, dockerHub));
    },
    async idle() {
      for (const each of all) await each.idle();
      await background.idle();
    },
    async [Symbol.asyncDispose]() {
      try {
        await until(() => all.every((each) => each.size === 0));
        await background.idle();
        assert.equal(pool.lentBytes, 0);
        assert.deepEqual(await readdir(folder.path), []);
        // The one thread takes messages in order, so that it has let go of its files when this is done.
        await hashIn(hashes, Buffer.alloc(0), "sha256");
        assert.deepEqual(openFilesBelow(folder.path), []);
        await hashes.close();
        await store.close();
        await folder[Symbol.asyncDispose]();
      } finally {
        // A test that failed may have left a fill that waits for a barrier.
        await Promise.all(all.map((each) => each.close(new Error("the test is over"))));
        loop[Symbol.dispose]();
      }
    },
  };
  return subject;
}

/** Reads a blob to its end and closes it. */
export async function readBlob(blob: BlobContent, span?: { start: number; end: number }): Promise<Buffer> {
  const chunks: Buffer[] = [];
  try {
    for await (const chunk of blob.read(span, never())) chunks.push(Buffer.from(chunk));
  } finally {
    await blob.close();
  }
  return Buffer.concat(chunks);
}

/** A manifest's document that lists these blobs as its layers. */
export function imageOf(seed: string, layers: readonly { digest: Digest; size: number }[] = []): object {
  return {
    schemaVersion: 2,
    config: { mediaType: "application/vnd.oci.empty.v1+json", digest: layers[0]?.digest ?? emptyDigest, size: 2 },
    layers: layers.map((layer) => ({ mediaType: "application/vnd.oci.image.layer.v1.tar+gzip", ...layer })),
    annotations: { seed },
  };
}

const emptyDigest = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
