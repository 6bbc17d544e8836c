import assert from "node:assert/strict";
import { createMetrics } from "../../src/observe/metrics.ts";
import { createLogger } from "../../src/observe/log.ts";
import { createObservers, type Observers } from "../../src/app/observers.ts";
import { startEngine } from "../../src/app/engine.ts";
import { systemClock } from "../../src/concurrency/clock.ts";
import { Upstreams } from "../../src/app/upstreams.ts";
import type { Config } from "../../src/config/file-schema.ts";
import type { Repository } from "../../src/oci/reference.ts";
import type { Registry } from "../../src/registry/registry.ts";
import { Budget } from "../../src/upstream/budget.ts";
import { type Barrier, createBarrier } from "../support/barrier.ts";
import { MemoryBucket } from "../support/bucket.ts";
import { until } from "../support/event-loop.ts";
import { mirrorConfig } from "../support/mirror.ts";
import { openFilesBelow } from "../support/open-files.ts";
import { inspectStorage } from "../support/storage.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";
import { createUpstream, type ScriptedUpstream } from "../support/upstream.ts";
import { createFakeMirror } from "../unit/registry/fake-mirror.ts";
import { registrySuite } from "./registry.ts";
import { blobTests } from "./registry-blobs.ts";
import { a, type Capabilities, describeRegistry, type Image, type SetUp, type Subject } from "./registry-subject.ts";

/** Longer than a tag is fresh, and than an upstream that fails is left alone. */
const whileMs = 3_600_000;
const started = 1_700_000_000_000;

/** A mirror, and what it is made of. */
interface Mirror {
  readonly registry: Registry;
  idle(): Promise<void>;
  /** Moves its clock on. */
  advance(ms: number): void;
  /** Ends it, after it was found that nothing is left open. */
  close(): Promise<void>;
}

/** A mirror of a scripted upstream, on which everything is published. */
class MirrorSubject implements Subject {
  readonly registry: Registry;
  readonly #mirror: Mirror;
  readonly #upstream: ScriptedUpstream;

  constructor(upstream: ScriptedUpstream, mirror: Mirror) {
    this.registry = mirror.registry;
    this.#mirror = mirror;
    this.#upstream = upstream;
  }

  async publish(repository: Repository, { manifests = [], blobs = [] }: Image): Promise<void> {
    for (const { tag, bytes, mediaType, digest } of manifests) {
      this.#upstream.addManifest(repository, tag, bytes, mediaType, digest);
      // As registries do (distribution#4812).
      this.#upstream.addBlob(bytes, { repository, digest });
    }
    for (const { bytes, digest } of blobs) this.#upstream.addBlob(bytes, { repository, digest });
    this.#mirror.advance(whileMs);
  }

  settle(): Promise<void> {
    return this.#mirror.idle();
  }

  fail(): void {
    this.#upstream.when({}, { status: 503 });
  }

  mend(): void {
    this.#upstream.behave();
    this.#mirror.advance(whileMs);
  }

  stallAfter(bytes: number): Barrier {
    const barrier = createBarrier();
    this.#upstream.when({ path: /\/blobs\// }, { stallAfterBytes: bytes, stallAt: barrier });
    return barrier;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#mirror.close();
    await this.#upstream[Symbol.asyncDispose]();
  }
}

/** The program's observers, which tell nobody. */
async function quietObservers(monotonic: () => number): Promise<Observers> {
  const metrics = createMetrics("0.0.0-test");
  const log = await createLogger({ level: "silent", format: "json" });
  const namespaces = new Set(["docker.io"]);
  return createObservers({ metrics, log, monotonic, namespaces });
}

/** A mirror as the program composes it, on a folder. */
async function onFolder(host: string, changes: Partial<Config> = {}, bucket?: MemoryBucket): Promise<Mirror> {
  const folder = await createTemporaryDirectory();
  const root = `${folder.path}/root`;
  let now = started;
  const clock = { ...systemClock, now: () => now, monotonic: () => now };
  const engine = await startEngine(
    mirrorConfig(host, root, { config: changes }),
    { version: "0.0.0-test", ...(bucket && { bucketStore: bucket }) },
    {
      clock,
      observers: await quietObservers(clock.monotonic),
      onError: (error) => {
        throw error;
      },
    },
  );
  return {
    registry: engine.mirrors.namespaces.open({ name: a, prefix: [], ns: "docker.io" }, undefined).registry,
    idle: () => engine.idle(),
    advance: (ms) => void (now += ms),
    async close() {
      await engine.idle();
      const ofContent = (path: string): boolean => !/\/(?:lock|ledger)[^/]*$/.test(path);
      await until(() => openFilesBelow(root).filter(ofContent).length === 0);
      await engine.close();
      assert.equal(bucket?.open ?? 0, 0);
      assert.deepEqual((await inspectStorage(root)).temporary, []);
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** A mirror with a store in memory. */
async function inMemory(host: string): Promise<Mirror> {
  const config = mirrorConfig(host, "/nowhere");
  const upstreams = new Upstreams(config, { version: "0.0.0-test" }, await quietObservers(() => started));
  const [settings] = config.upstreams;
  assert.ok(settings !== undefined);
  const budget = new Budget({ monotonic: () => started });
  const subject = await createFakeMirror({ upstream: upstreams.listed(settings, budget) });
  return {
    registry: subject.mirror,
    idle: () => subject.idle(),
    advance: (ms) => void (subject.now += ms),
    async close() {
      await subject[Symbol.asyncDispose]();
      await upstreams.close();
    },
  };
}

const capabilities: Capabilities = { warms: true, isLiedTo: true, stalls: true };

/** How a test sets a mirror up that `start` starts. */
function settingUp(start: (host: string) => Promise<Mirror>): SetUp {
  return async () => {
    const upstream = await createUpstream();
    return new MirrorSubject(upstream, await start(upstream.host));
  };
}

registrySuite("a mirror with a store in memory", settingUp(inMemory), capabilities);
registrySuite("a mirror on a folder", settingUp(onFolder), capabilities);
registrySuite(
  "a mirror on a folder with a bucket behind it",
  settingUp((host) => onFolder(host, {}, new MemoryBucket())),
  capabilities,
);
// Only blobs are read in another way then.
describeRegistry("a mirror on a folder that checks digests", "blobs", () =>
  blobTests(
    settingUp((host) => onFolder(host, { checkCacheDigest: true })),
    capabilities,
  ),
);
