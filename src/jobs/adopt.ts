import { type Ledger, LedgerNotReady } from "../ledger/ledger.ts";
import { adoptBlob } from "./adopt-blob.ts";
import { earlierBlobs, earlierManifests, parseManifestKey } from "./adopt-layout.ts";
import { adoptManifest } from "./adopt-manifest.ts";
import { type Adopted, Adoption, type AdoptOptions, type AdoptTools, type Skipped } from "./adoption.ts";
import type { JobState, Step, StepProgress } from "./job.ts";

/** What could be adopted by another run, when there is more room, or when the disk is well. */
const left: ReadonlySet<string> = new Set(["no room", "unreadable"] satisfies Skipped[]);
const sorts = ["tags", "manifests", "blobs"] as const;
const unreadableFolders = "folders unreadable";

/**
 * The steps that take over the cache of mcronce/oci-registry: manifests with their tags first, as only they tell which
 * repositories have which blobs, then blobs. The source is only read. What is there already is skipped, so that a run that
 * was stopped goes on where it was; and nothing that is here makes way: up to the low watermark there is room.
 *
 * A dry run remembers 16 bytes of each digest that manifests list; else nothing is remembered, however much there is.
 */
export function adoptSteps(tools: AdoptTools, options: AdoptOptions): Step[] {
  const adoption = new Adoption(tools, options);
  return [surveyStep(adoption), manifestsStep(adoption), blobsStep(adoption)].map((step) =>
    adoption.interruptible(step),
  );
}

/** How many objects of a sort had each fate. */
export interface AdoptRow {
  readonly sort: (typeof sorts)[number];
  readonly adopted: number;
  readonly alreadyThere: number;
  /** Those that were left, by the reason. */
  readonly skipped: ReadonlyMap<string, number>;
}

/** What a run of `adoptSteps` has come to, or would come to. */
export interface AdoptReport {
  readonly rows: readonly AdoptRow[];
  readonly adoptedBytes: number;
  /** How much was left that could be adopted: for want of room, or as it could not be read. */
  readonly left: number;
}

/** Reads the counts of a job. */
export function reportAdoption({ steps }: Pick<JobState, "steps">): AdoptReport {
  const counts = new Map<string, number>();
  for (const [what, count] of steps.flatMap((step) => Object.entries(step.counts))) {
    counts.set(what, (counts.get(what) ?? 0) + count);
  }
  const rows = sorts.map((sort): AdoptRow => {
    const skipped = new Map<string, number>();
    for (const [what, count] of counts) {
      const reason = what.startsWith(`${sort} skipped: `) ? what.slice(`${sort} skipped: `.length) : undefined;
      if (reason !== undefined && count > 0) skipped.set(reason, count);
    }
    const adopted = counts.get(`${sort} adopted`) ?? 0;
    return { sort, adopted, alreadyThere: counts.get(`${sort} already there`) ?? 0, skipped };
  });
  const unfinished = rows.flatMap(({ skipped }) => [...skipped].filter(([reason]) => left.has(reason)));
  return {
    rows,
    adoptedBytes: counts.get("bytes adopted") ?? 0,
    left: unfinished.reduce((sum, [, count]) => sum + count, counts.get(unreadableFolders) ?? 0),
  };
}

/** Counts what there is, so that it can be told how far the others are; and waits until the ledger knows the storage. */
function surveyStep(adoption: Adoption): Step {
  const { found, tools } = adoption;
  return {
    name: "survey",
    title: "Look at what there is",
    async run(progress, signal) {
      for (const what of ["manifests", "blobs", "bytes of blobs"]) progress.count(what, 0);
      const onUnreadable = (): void => progress.count(unreadableFolders);
      for await (const _ of adoption.walk(earlierManifests, signal, onUnreadable)) {
        found.manifests++;
        progress.count("manifests");
      }
      for await (const { sizeBytes } of adoption.walk(earlierBlobs, signal, onUnreadable)) {
        found.blobBytes += sizeBytes;
        progress.count("blobs");
        progress.count("bytes of blobs", sizeBytes);
      }
      await awaitLedger(tools.ledger);
    },
  };
}

/** Until the ledger knows all of the storage, it knows neither who holds a blob nor what room there is. */
async function awaitLedger(ledger: AdoptTools["ledger"]): Promise<void> {
  const anything = `sha256:${"0".repeat(64)}` as Parameters<Ledger["holders"]>[0];
  try {
    await ledger.holders(anything);
  } catch (error) {
    if (!(error instanceof LedgerNotReady)) throw error;
    await ledger.rebuild();
  }
}

function manifestsStep(adoption: Adoption): Step {
  return {
    name: "manifests",
    title: "Adopt manifests and tags",
    async run(progress, signal) {
      progress.total(adoption.found.manifests, "objects");
      await adoption.forEach(earlierManifests, signal, async (object) => {
        const place = parseManifestKey(object.key);
        const sort = place === undefined || place.reference.includes(":") ? "manifests" : "tags";
        const fate =
          place === undefined ? "misnamed" : await adoption.storing(() => adoptManifest(adoption, object, place));
        count(progress, sort, fate);
        progress.advance(1);
      });
    },
  };
}

function blobsStep(adoption: Adoption): Step {
  return {
    name: "blobs",
    title: "Adopt blobs",
    async run(progress, signal) {
      progress.total(adoption.found.blobBytes, "bytes");
      progress.count("bytes adopted", 0);
      try {
        await adoption.forEach(earlierBlobs, signal, async (object) => {
          let advanced = 0;
          const onRead = (bytes: number): void => {
            advanced += bytes;
            progress.advance(bytes);
          };
          const fate = await adoption.storing(() => adoptBlob(adoption, object, signal, onRead));
          count(progress, "blobs", fate);
          if (fate === "adopted") progress.count("bytes adopted", object.sizeBytes);
          progress.advance(object.sizeBytes - advanced);
        });
      } finally {
        adoption.end();
      }
    },
  };
}

function count(progress: StepProgress, sort: AdoptRow["sort"], fate: Adopted): void {
  const isSkipped = fate !== "adopted" && fate !== "already there";
  progress.count(isSkipped ? `${sort} skipped: ${fate}` : `${sort} ${fate}`);
}
