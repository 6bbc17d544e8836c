import { OciError } from "../oci/errors.ts";
import type { Content } from "../registry/content.ts";
import type { Ledger, PurgePlan, PurgeTarget } from "../registry/ledger/ledger.ts";
import { formatPurgeTarget } from "./purge-target.ts";

/** What purging works with. */
export interface PurgeTools {
  readonly ledger: Pick<Ledger, "totals" | "purgePlan">;
  readonly content: Pick<Content, "removeTag" | "removeLink" | "removePage" | "removeBlob">;
  /** Aborts a purge when the process ends. */
  readonly signal: AbortSignal;
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
  /** Whether a dry run counted only a part, as there is so much of it. */
  readonly incomplete: boolean;
}

/**
 * Removes something from the cache; a dry run says what that comes to.
 *
 * @throws {OciError} NOT_FOUND where nothing of it is cached; UNAVAILABLE while it is not known what is, or where the
 *   process ends.
 */
export async function purge(tools: PurgeTools, target: PurgeTarget, dryRun: boolean): Promise<PurgeReport> {
  const sums = { tags: 0, links: 0, pages: 0, contents: 0, contentsInUse: 0, freesBytes: 0 };
  let more = false;
  const { ledger } = tools;
  // A large target comes in parts, each made when the one before it is gone.
  do {
    // What is not known yet would stay, and what seems to be nobody's may be somebody's.
    if (ledger.totals === undefined) throw notReady();
    const plan = await ledger.purgePlan(target);
    const { tags, links, pages, contents, freesBytes } = plan;
    more = plan.more === true;
    sums.tags += tags.length;
    sums.links += links.length;
    sums.pages += pages.length;
    sums.contents += contents.length;
    sums.freesBytes += freesBytes;
    if (!dryRun) sums.contentsInUse += await carryOut(tools, plan);
  } while (more && !dryRun);
  if (sums.tags + sums.links + sums.pages + sums.contents === 0) {
    throw new OciError("NOT_FOUND", `nothing of ${formatPurgeTarget(target)} is cached`);
  }
  return { target: formatPurgeTarget(target), dryRun, ...sums, incomplete: more };
}

/** Removes what a plan says, in its order; returns how much content stays, as it is in use. */
async function carryOut({ content, signal }: PurgeTools, { tags, links, pages, contents }: PurgePlan): Promise<number> {
  const each = async <T>(items: readonly T[], remove: (item: T) => Promise<unknown>): Promise<void> => {
    for (const item of items) {
      if (signal.aborted) throw new OciError("UNAVAILABLE", "the mirror is stopping: a part of it was removed");
      await remove(item);
    }
  };
  // What was pulled again since the plan was made is something else, and stays.
  await each(tags, ({ id, tag, digest }) => content.removeTag(id, tag, digest));
  await each(links, ({ id, digest }) => content.removeLink(id, digest));
  await each(pages, ({ id, page, name }) => content.removePage(id, page, name));
  let inUse = 0;
  await each(contents, async (digest) => {
    if (!(await content.removeBlob(digest))) inUse++;
  });
  return inUse;
}

function notReady(): OciError {
  return new OciError("UNAVAILABLE", "what is cached is being read from the storage: try again when that is done");
}
