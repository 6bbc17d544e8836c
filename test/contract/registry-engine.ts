import assert from "node:assert/strict";
import { startEngine } from "../../src/app/engine.ts";
import { createObservers, type Observers } from "../../src/app/observers.ts";
import { systemClock } from "../../src/concurrency/clock.ts";
import type { Config } from "../../src/config/file-schema.ts";
import { createLogger } from "../../src/observe/log.ts";
import { createMetrics } from "../../src/observe/metrics.ts";
import type { Registry } from "../../src/registry/registry.ts";
import type { MemoryBucket } from "../support/bucket.ts";
import { until } from "../support/event-loop.ts";
import { mirrorConfig } from "../support/mirror.ts";
import { openFilesBelow } from "../support/open-files.ts";
import { inspectStorage } from "../support/storage.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";
import { a } from "./registry-subject.ts";

/** What the clocks of registries begin with, in milliseconds. */
export const started = 1_700_000_000_000;

/** Registries, and what they are made of. */
export interface Instance {
  readonly root: string;
  registryOf(namespace: string): Registry;
  /** Resolves when nothing is under way behind the answers. */
  idle(): Promise<void>;
  /** Moves its clock on. */
  advance(ms: number): void;
  /** Ends it, after it was found that nothing is left open. */
  close(): Promise<void>;
}

/** The program's observers, which tell nobody. */
export async function quietObservers(monotonic: () => number): Promise<Observers> {
  const metrics = createMetrics("0.0.0-test");
  const log = await createLogger({ level: "silent", format: "json" });
  const namespaces = new Set(["docker.io"]);
  return createObservers({ metrics, log, monotonic, namespaces });
}

/** The program's registries as it composes them, on a folder: mirrors of `host`, and what `changes` says. */
export async function onFolder(host: string, changes: Partial<Config> = {}, bucket?: MemoryBucket): Promise<Instance> {
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
    root,
    registryOf: (ns) => engine.mirrors.namespaces.open({ name: a, prefix: [], ns }, undefined).registry,
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
