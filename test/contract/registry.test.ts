import assert from "node:assert/strict";
import { Upstreams } from "../../src/app/upstreams.ts";
import type { Repository } from "../../src/oci/reference.ts";
import type { Registry } from "../../src/registry/registry.ts";
import { Budget } from "../../src/upstream/budget.ts";
import { type Barrier, createBarrier } from "../support/barrier.ts";
import { MemoryBucket } from "../support/bucket.ts";
import { mirrorConfig } from "../support/mirror.ts";
import { createUpstream, type ScriptedUpstream } from "../support/upstream.ts";
import { createFakeMirror } from "../unit/registry/fake-mirror.ts";
import { registrySuite } from "./registry.ts";
import { blobTests } from "./registry-blobs.ts";
import { type Instance, onFolder, quietObservers, started } from "./registry-engine.ts";
import { capabilitiesOfMirrors, describeRegistry, type Image, type SetUp, type Subject } from "./registry-subject.ts";

/** Longer than a tag is fresh, and than an upstream that fails is left alone. */
const whileMs = 3_600_000;

/** A mirror, and what it is made of. */
interface Mirror extends Omit<Instance, "root" | "registryOf"> {
  readonly registry: Registry;
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

/** A mirror as the program composes it, on a folder. */
async function mirrorOnFolder(...how: Parameters<typeof onFolder>): Promise<Mirror> {
  const instance = await onFolder(...how);
  return { ...instance, registry: instance.registryOf("docker.io") };
}

/** How a test sets a mirror up that `start` starts. */
function settingUp(start: (host: string) => Promise<Mirror>): SetUp {
  return async () => {
    const upstream = await createUpstream();
    return new MirrorSubject(upstream, await start(upstream.host));
  };
}

registrySuite("a mirror with a store in memory", settingUp(inMemory), capabilitiesOfMirrors);
registrySuite(
  "a mirror on a folder",
  settingUp((host) => mirrorOnFolder(host)),
  capabilitiesOfMirrors,
);
registrySuite(
  "a mirror on a folder with a bucket behind it",
  settingUp((host) => mirrorOnFolder(host, {}, new MemoryBucket())),
  capabilitiesOfMirrors,
);
// Only blobs are read in another way then.
describeRegistry("a mirror on a folder that checks digests", "blobs", () =>
  blobTests(
    settingUp((host) => mirrorOnFolder(host, { checkCacheDigest: true })),
    capabilitiesOfMirrors,
  ),
);
