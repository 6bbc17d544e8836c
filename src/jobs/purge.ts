import { OciError } from "../oci/errors.ts";
import type { Content } from "../registry/content.ts";
import { errorOf, type Key } from "../store/object-store.ts";
import { type Ledger, LedgerNotReady, type PurgePlan, type PurgeTarget } from "../ledger/ledger.ts";
import type { JobState, Step, StepProgress } from "./job.ts";
import { formatPurgeTarget } from "./purge-target.ts";

/** How many objects are removed at a time: removing one is mostly waiting, for the disk and for the ledger. */
const removalsAtOnce = 8;

/** What purging works with. */
export interface PurgeTools {
  readonly ledger: Pick<Ledger, "totals" | "purgePlan">;
  readonly content: Pick<Content, "removeTag" | "removeLink" | "removeBlob"> & {
    readonly pages: Pick<Content["pages"], "remove">;
  };
  /** What is behind the folder. */
  readonly bucket?: PurgedBucket | undefined;
  /** Has the other replicas do what `Administration.obey` reads. Throws where they cannot be told. */
  readonly tellOthers?: ((order: string) => Promise<void>) | undefined;
}

/** A bucket, as far as a purge goes; see `BucketPurge`. */
export interface PurgedBucket {
  find(target: PurgeTarget, links: PurgePlan["links"]): AsyncIterable<Key>;
  remove(key: Key): Promise<void>;
}

/** What was removed, or would be. */
export interface PurgeReport {
  /** The target by its full name. */
  readonly target: string;
  readonly dryRun: boolean;
  readonly tags: number;
  /** Manifests and blobs of repositories. */
  readonly links: number;
  /** Stored listings. */
  readonly pages: number;
  /** Content that nobody else holds. */
  readonly contents: number;
  /** Of `contents`, what is read or stored right now, or held by now: eviction sees to what nobody holds. */
  readonly contentsInUse: number;
  /** What `contents`, tags and links take. */
  readonly freesBytes: number;
  /** Objects of the bucket, where there is one. */
  readonly bucketObjects?: number;
  /** Whether a dry run counted only a part, as there is so much of it, or the bucket fails. */
  readonly incomplete: boolean;
}

/** What a purge's step counts, by the field of the report that it is in. */
const counts = {
  tags: "tags",
  links: "manifests and blobs",
  pages: "listings",
  contents: "contents",
  contentsInUse: "contents in use",
  freesBytes: "bytes freed",
} as const;
const inBucket = "objects in the bucket";

/**
 * What removing something from the cache comes to.
 *
 * @throws {OciError} NOT_FOUND where nothing of it is cached; UNAVAILABLE where only the bucket could tell, and fails.
 * @throws {LedgerNotReady} it is not known what is.
 */
export async function previewPurge(tools: PurgeTools, target: PurgeTarget): Promise<PurgeReport> {
  const plan = await findPlan(tools, target);
  let bucketObjects: number | undefined;
  let isCounted = true;
  try {
    bucketObjects = tools.bucket && (await countOf(tools.bucket.find(target, plan.links)));
  } catch (error) {
    if (isEmpty(plan)) throw bucketFails(target, error);
    isCounted = false;
  }
  if (isEmpty(plan) && (bucketObjects ?? 0) === 0) throw notCached(target);
  const { tags, links, pages, contents, freesBytes, more = false } = plan;
  return {
    target: formatPurgeTarget(target),
    dryRun: true,
    tags: tags.length,
    links: links.length,
    pages: pages.length,
    contents: contents.length,
    contentsInUse: 0,
    freesBytes,
    ...(bucketObjects !== undefined && { bucketObjects }),
    incomplete: more || !isCounted,
  };
}

/**
 * Removes something from the cache: a job of one step, which fails where nothing of it is cached. A large target comes
 * in parts, each planned when the one before it is gone. What the bucket has of it goes last.
 */
export function purgeSteps(tools: PurgeTools, target: PurgeTarget): readonly Step[] {
  const name = formatPurgeTarget(target);
  return [
    {
      name: "purge",
      title: `Remove ${name}`,
      async run(progress, signal) {
        for (const what of Object.values(counts)) progress.count(what, 0);
        const { bucket } = tools;
        if (bucket !== undefined) progress.count(inBucket, 0);
        const links: PurgePlan["links"][number][] = [];
        let planned = 0;
        for (let more = true; more;) {
          const plan = await findPlan(tools, target);
          // Of all else the bucket is listed.
          if (target.kind !== "namespace" && target.kind !== "repository") links.push(...plan.links);
          planned += plan.tags.length + plan.links.length + plan.pages.length + plan.contents.length;
          progress.total(planned, "objects");
          await carryOut(tools, plan, progress, signal);
          progress.count(counts.freesBytes, plan.freesBytes);
          more = plan.more === true;
        }
        // Before the bucket: what they have, they would copy there again.
        await tools.tellOthers?.(`purge ${name}`);
        const removed = bucket === undefined ? 0 : await purgeBucket(bucket, target, links, progress, signal);
        if (planned + removed === 0) throw notCached(target);
      },
    },
  ];
}

/** What a purge has removed so far. */
export function reportPurge(target: string, job: JobState): PurgeReport {
  const [step] = job.steps;
  const count = (what: keyof typeof counts): number => step?.counts[counts[what]] ?? 0;
  const inBucketCount = step?.counts[inBucket];
  return {
    target,
    dryRun: false,
    tags: count("tags"),
    links: count("links"),
    pages: count("pages"),
    contents: count("contents"),
    contentsInUse: count("contentsInUse"),
    freesBytes: count("freesBytes"),
    ...(inBucketCount !== undefined && { bucketObjects: inBucketCount }),
    incomplete: false,
  };
}

async function findPlan({ ledger }: PurgeTools, target: PurgeTarget): Promise<PurgePlan> {
  // What is not known yet would stay, and what seems to be nobody's may be somebody's.
  if (ledger.totals === undefined) throw new LedgerNotReady();
  return ledger.purgePlan(target);
}

/**
 * Removes what a plan says: tags before links, links before content. For readers each link is absent as soon as its turn
 * has come, manifests before what they refer to.
 */
async function carryOut(
  { content }: PurgeTools,
  { tags, links, pages, contents }: PurgePlan,
  progress: StepProgress,
  signal: AbortSignal,
): Promise<void> {
  const each = async <T>(what: string, items: readonly T[], remove: (item: T) => Promise<unknown>): Promise<void> =>
    removeEach(items.values(), signal, async (item) => {
      if ((await remove(item)) !== false) progress.count(what);
      progress.advance(1);
    });
  // What was pulled again since the plan was made is something else, and stays.
  await each(counts.tags, tags, ({ id, tag, digest }) => content.removeTag(id, tag, digest));
  await each(counts.links, links, ({ id, digest }) => content.removeLink(id, digest));
  await each(counts.pages, pages, ({ id, page, name }) => content.pages.remove(id, page, name));
  await each(counts.contents, contents, async (digest) => {
    if (!(await content.removeBlob(digest))) progress.count(counts.contentsInUse);
  });
}

/** Removes what a bucket has of a target; how many objects that were. */
async function purgeBucket(
  bucket: PurgedBucket,
  target: PurgeTarget,
  links: PurgePlan["links"],
  progress: StepProgress,
  signal: AbortSignal,
): Promise<number> {
  let removed = 0;
  try {
    await removeEach(bucket.find(target, links)[Symbol.asyncIterator](), signal, async (key) => {
      await bucket.remove(key);
      removed++;
      progress.count(inBucket);
    });
  } catch (error) {
    signal.throwIfAborted();
    throw bucketFails(target, error);
  }
  return removed;
}

/** Removes several at a time. When this is over, nothing is being removed any more. */
async function removeEach<T>(
  left: Iterator<T> | AsyncIterator<T>,
  signal: AbortSignal,
  remove: (item: T) => Promise<void>,
): Promise<void> {
  const failed = new AbortController();
  const stop = AbortSignal.any([signal, failed.signal]);
  const work = async (): Promise<void> => {
    try {
      for (let next = await left.next(); next.done !== true; next = await left.next()) {
        stop.throwIfAborted();
        await remove(next.value);
      }
    } catch (error) {
      failed.abort(error);
    }
  };
  await Promise.all(Array.from({ length: removalsAtOnce }, work));
  stop.throwIfAborted();
}

async function countOf(items: AsyncIterable<unknown>): Promise<number> {
  let count = 0;
  for await (const _ of items) count++;
  return count;
}

function bucketFails(target: PurgeTarget, error: unknown): OciError {
  const reason = errorOf(error).message;
  return new OciError("UNAVAILABLE", `the bucket fails, and may still have ${formatPurgeTarget(target)}: ${reason}`);
}

function isEmpty({ tags, links, pages, contents }: PurgePlan): boolean {
  return tags.length + links.length + pages.length + contents.length === 0;
}

function notCached(target: PurgeTarget): OciError {
  return new OciError("NOT_FOUND", `nothing of ${formatPurgeTarget(target)} is cached`);
}
