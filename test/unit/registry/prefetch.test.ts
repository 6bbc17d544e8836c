import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { Digest } from "../../../src/oci/digest.ts";
import { parseRepository } from "../../../src/oci/reference.ts";
import { Background } from "../../../src/concurrency/background.ts";
import { Prefetch } from "../../../src/registry/prefetch.ts";
import type { ManifestContent } from "../../../src/registry/registry.ts";
import { Budget } from "../../../src/upstream/budget.ts";
import { Breaker } from "../../../src/upstream/breaker.ts";
import { UpstreamError } from "../../../src/upstream/upstream.ts";
import { type Barrier, createBarrier } from "../../support/barrier.ts";
import { buildImage, type BuiltManifest, manifestContent } from "../../support/image.ts";

const repository = parseRepository("library/test");

interface Subject {
  readonly prefetch: Prefetch;
  readonly breaker: Breaker;
  readonly budget: Budget;
  readonly stop: AbortController;
  /** The blobs that were asked for, in order. */
  readonly asked: Digest[];
  /** Each blob waits here, after it was noted. */
  hold: Barrier | undefined;
  failure: Error | undefined;
  idle(): Promise<void>;
}

function createSubject(): Subject {
  const stop = new AbortController();
  const background = new Background((error) => {
    throw error;
  });
  const now = (): number => 0;
  const budget = new Budget({ monotonic: now }, { reserve: 0.5 });
  const breaker = new Breaker(now, { failed: () => undefined, changed: () => undefined });
  const subject: Subject = {
    prefetch: new Prefetch({ breaker, budget, background, signal: stop.signal }, async (_repository, digest) => {
      subject.asked.push(digest);
      await subject.hold?.wait();
      if (subject.failure !== undefined) throw subject.failure;
    }),
    breaker,
    budget,
    stop,
    asked: [],
    hold: undefined,
    failure: undefined,
    idle: () => background.idle(),
  };
  return subject;
}

function contentOf({ bytes, mediaType }: BuiltManifest): ManifestContent {
  return manifestContent(bytes, mediaType);
}

/** An image of ten blobs, the configuration first. */
function createImage(): { readonly manifest: ManifestContent; readonly blobs: readonly Digest[] } {
  const [platform] = buildImage({ layers: 9 }).platforms;
  assert.ok(platform !== undefined);
  return { manifest: contentOf(platform.manifest), blobs: [platform.config, ...platform.layers] };
}

describe("a prefetch", () => {
  test("asks for an image's blobs in its order, four at a time", async () => {
    const subject = createSubject();
    const { manifest, blobs } = createImage();
    subject.hold = createBarrier();
    subject.prefetch.begin(repository, manifest);
    assert.deepEqual(subject.asked, blobs.slice(0, 4));
    subject.hold.release();
    await subject.idle();
    assert.deepEqual(subject.asked, blobs);
  });

  test("of the same manifest is made once", async () => {
    const subject = createSubject();
    const { manifest, blobs } = createImage();
    subject.prefetch.begin(repository, manifest);
    subject.prefetch.begin(repository, manifest);
    await subject.idle();
    subject.prefetch.begin(repository, manifest);
    await subject.idle();
    assert.equal(subject.asked.length, blobs.length);
  });

  test("of an index asks for nothing", async () => {
    const subject = createSubject();
    subject.prefetch.begin(repository, contentOf(buildImage({ platforms: 2 }).root));
    await subject.idle();
    assert.deepEqual(subject.asked, []);
  });

  test("ends at the first failure, and is made anew at the next pull", async () => {
    const subject = createSubject();
    const { manifest, blobs } = createImage();
    subject.failure = new Error("the connection broke");
    subject.prefetch.begin(repository, manifest);
    await subject.idle();
    assert.deepEqual(subject.asked, blobs.slice(0, 4));
    subject.failure = undefined;
    subject.asked.length = 0;
    subject.prefetch.begin(repository, manifest);
    await subject.idle();
    assert.deepEqual(subject.asked, blobs);
  });

  const unwelcome: Readonly<Record<string, (subject: Subject) => void>> = {
    "the upstream fails": ({ breaker }) =>
      breaker.late(repository, new UpstreamError("registry.example.com", "timeout", "late")),
    "the rate limit is nearly used up": ({ budget }) =>
      budget.note("us", { limit: 100, remaining: 49, windowSeconds: 60 }),
    "the process is stopping": ({ stop }) => stop.abort(),
  };
  for (const [when, happen] of Object.entries(unwelcome)) {
    test(`is not begun when ${when}`, async () => {
      const subject = createSubject();
      happen(subject);
      subject.prefetch.begin(repository, createImage().manifest);
      await subject.idle();
      assert.deepEqual(subject.asked, []);
    });

    test(`asks for nothing more when ${when} meanwhile`, async () => {
      const subject = createSubject();
      const { manifest, blobs } = createImage();
      subject.hold = createBarrier();
      subject.prefetch.begin(repository, manifest);
      happen(subject);
      subject.hold.release();
      await subject.idle();
      assert.deepEqual(subject.asked, blobs.slice(0, 4));
    });
  }

  test("of an ambiguous manifest asks for nothing", async () => {
    const subject = createSubject();
    const { manifest } = createImage();
    const ambiguous = Buffer.from(`{"Layers":[],${manifest.bytes.toString().slice(1)}`);
    subject.prefetch.begin(repository, manifestContent(ambiguous, manifest.descriptor.mediaType));
    await subject.idle();
    assert.deepEqual(subject.asked, []);
  });
});
