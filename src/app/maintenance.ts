import { readFile } from "node:fs/promises";
import type { RetentionRuns } from "../bucket/retention-runs.ts";
import type { Config } from "../config/file-schema.ts";
import { decodeText } from "../config/text.ts";
import { adoptSteps } from "../jobs/adopt.ts";
import { Administration } from "../jobs/administration.ts";
import type { ReplicaReport } from "../jobs/reports.ts";
import type { JobSteps } from "../jobs/job-request.ts";
import type { Evictor } from "../jobs/evict.ts";
import type { JobObserver } from "../jobs/job.ts";
import { Jobs } from "../jobs/jobs.ts";
import { collectSteps } from "../jobs/collect.ts";
import type { PinList } from "../jobs/pin-list.ts";
import { Schedule } from "../jobs/schedule.ts";
import { retainSteps } from "../jobs/retain.ts";
import { verifySteps } from "../jobs/verify.ts";
import { warmSteps } from "../jobs/warm.ts";
import type { WarmPlace } from "../jobs/warm-image.ts";
import type { OpenNamespace } from "../registry/namespaces.ts";
import type { OpenCollection } from "./collection.ts";
import type { Mirrors } from "./mirrors.ts";
import { isObject } from "../oci/document.ts";
import { OciError } from "../oci/errors.ts";
import { ImageListError, type ImageReference, parseImageList } from "../oci/image-reference.ts";
import { stateKey } from "../store/layout.ts";
import { Records, unaccounted } from "../registry/records.ts";
import type { Storage } from "./storage.ts";

const tidyMs = 60_000;

/** What maintenance works on. */
export interface MaintenanceOptions {
  readonly storage: Storage;
  readonly mirrors: Mirrors;
  readonly evictor: Evictor;
  /** Where something is hosted. */
  readonly collection: OpenCollection | undefined;
  /** Where there is a bucket. */
  readonly retention: RetentionRuns | undefined;
  readonly pins: PinList;
  readonly observer: JobObserver;
  readonly now: () => number;
  /** Those that are there. */
  readonly replicas?: (() => readonly ReplicaReport[]) | undefined;
  /** Has the other replicas do what this one was told. */
  readonly tellOthers?: ((order: string) => Promise<void>) | undefined;
  /** How long content that no repository holds is left alone by a scrub, where nobody pulls meanwhile. */
  readonly scrubGraceMs?: number | undefined;
  /** From 0 to 1: how late jobs begin that the configuration wants. */
  readonly random?: (() => number) | undefined;
  /** Told of what fails outside of jobs. */
  readonly onError: (error: unknown) => void;
}

/** The work that keeps a cache in order, and what people may do to it. */
export interface Maintenance {
  readonly administration: Administration;
  /** Begins with what is done by the clock: eviction, and the jobs that the configuration wants. */
  start(): void;
  /** Cancels what runs, and waits for its end. */
  close(): Promise<void>;
}

/** Makes the maintenance; nothing is done until `start`, or until the administration is asked for it. */
export function createMaintenance(config: Config, options: MaintenanceOptions): Maintenance {
  const {
    storage,
    mirrors,
    evictor,
    collection,
    retention,
    pins,
    observer,
    now,
    scrubGraceMs: graceMs,
    random,
    onError,
    tellOthers,
    replicas,
  } = options;
  const { content, ledger, space, hashes, files } = storage;
  const jobs = new Jobs(observer);
  const steps: JobSteps = {
    adopt: (wanted) =>
      adoptSteps(
        {
          content,
          ledger,
          bucket: storage.tier?.bucket,
          space,
          hashes,
          pool: storage.pool,
          spoolFolder: files.temporaryPath,
          maxObjectBytes: config.storage.maxObjectBytes ?? Infinity,
          now,
          place: ({ namespace: ns, repository: name }) => {
            const { namespaces } = mirrors;
            const { namespace, repository } = namespaces.open({ prefix: [], ns, name }, undefined);
            const id = { namespace, repository };
            return { ...id, trusted: namespaces.rules.isListed(namespace), isPermitted: mirrors.permits(id) };
          },
        },
        wanted,
      ),
    collect: (wanted) => collectSteps(collection?.tools(), wanted),
    evict: (wanted) => evictor.steps(wanted),
    retain: (wanted) => retainSteps(retention, wanted),
    verify: ({ dryRun, repair, bytesPerSecond }) =>
      verifySteps(
        { content, ledger, hashes, files, reader: files.caretaker, now, graceMs },
        { repair: repair && !dryRun, bytesPerSecond: bytesPerSecond ?? config.verify.bytesPerSecond },
      ),
    warm: ({ images, platforms, parallel }) =>
      warmSteps(
        {
          open: (image) =>
            warmable(mirrors.namespaces.open({ prefix: [], ns: image.namespace, name: image.repository }, undefined)),
        },
        {
          images,
          platforms: platforms ?? config.warm.platforms,
          parallel: parallel ?? config.warm.parallel,
        },
      ),
  };
  const administration = new Administration({
    content,
    ledger,
    bucket: storage.tier?.purge,
    tellOthers,
    replicas,
    space,
    retention,
    namespaceMaxBytes: (namespace) => storage.settings(namespace).maxBytes,
    rules: mirrors.namespaces.rules,
    pins,
    jobs,
    steps,
  });
  const running: { close(): Promise<void> }[] = [];
  return {
    administration,
    start() {
      const tidying = setInterval(() => void evictor.tidy(), tidyMs);
      tidying.unref();
      running.push(
        { close: async () => clearInterval(tidying) },
        scheduleVerify(),
        ...scheduleCollection(),
        ...scheduleWarm(),
      );
    },
    async close() {
      // First, as a job may wait for a run of it.
      await evictor.close();
      await Promise.all(running.map((each) => each.close()));
      await jobs.close();
    },
  };

  function scheduleVerify(): Schedule {
    const records = new Records(storage.store, { isRecord: isEndedAt, maxInMemory: 0 });
    const key = stateKey("verified");
    return new Schedule({
      jobs,
      kind: "verify",
      steps: () => steps.verify({ dryRun: false, repair: true, bytesPerSecond: undefined }),
      intervalMs: config.verify.intervalMs,
      recall: async () => (await records.get(key))?.endedAt,
      remember: (endedAt) => records.set(key, { endedAt }, true, unaccounted),
      onError,
      random,
    });
  }

  function scheduleCollection(): Schedule[] {
    if (collection === undefined) return [];
    return [
      new Schedule({
        jobs,
        kind: "collect",
        steps: () => steps.collect({ dryRun: false }),
        intervalMs: config.collection.intervalMs,
        recall: () => collection.recall(),
        remember: (endedAt) => collection.remember(endedAt),
        onError,
        random,
      }),
    ];
  }

  function scheduleWarm(): Schedule[] {
    const { images, file, intervalMs } = config.warm;
    if (images.length === 0 && file === undefined) return [];
    return [
      new Schedule({
        jobs,
        kind: "warm",
        // The list is read anew each time.
        steps: async () =>
          steps.warm({
            images: [...images, ...(file === undefined ? [] : await readList(file, onError))],
            platforms: undefined,
            parallel: undefined,
          }),
        intervalMs,
        // A new process begins at once: what is there already costs little.
        recall: () => Promise.resolve(undefined),
        remember: () => Promise.resolve(),
        onError,
        random,
      }),
    ];
  }
}

/** The images that a file names. What of it cannot be read is told, and does not keep the others from being warmed. */
async function readList(file: string, onError: (error: unknown) => void): Promise<readonly ImageReference[]> {
  try {
    return parseImageList(decodeText(await readFile(file)));
  } catch (error) {
    onError(new Error(`warm.file ${file} cannot be read whole`, { cause: error }));
    return error instanceof ImageListError ? error.images : [];
  }
}

function isEndedAt(value: unknown): value is { readonly endedAt: number } {
  return isObject(value) && typeof value["endedAt"] === "number";
}

function warmable({ registry, namespace, repository }: OpenNamespace): WarmPlace {
  const storeBlob = registry.storeBlob?.bind(registry);
  if (storeBlob === undefined) throw new OciError("UNSUPPORTED", `${namespace} has nothing that could be fetched`);
  return { namespace, repository, registry: { manifest: (...question) => registry.manifest(...question), storeBlob } };
}
