import type { Digest } from "../oci/digest.ts";
import { blobsPrefix, quarantinePrefix } from "../store/layout.ts";
import { chargedBytes, LedgerNotReady } from "../ledger/ledger.ts";
import type { Step } from "./job.ts";
import type { Scrub } from "./verify-scrub.ts";

const defaultGraceMs = 10 * 60_000;
const quarantineMs = 30 * 24 * 3_600_000;

/**
 * Looks for content that no link holds. The links were read before; a link that was made since is in the ledger. It
 * comes before content is read: where the reader's reads are noted, all of it looks used then.
 */
export function orphansStep(scrub: Scrub): Step {
  const { content, ledger, now, graceMs = defaultGraceMs } = scrub.tools;
  const isHeldByNow = async (digest: Digest): Promise<boolean> => {
    if (ledger === undefined) return false;
    try {
      // The ledger may know of links that are gone.
      for (const id of await ledger.holders(digest)) {
        if ((await content.link(id, digest)) !== undefined) return true;
      }
      return false;
    } catch (error) {
      // It may be held by what the ledger does not know yet.
      if (error instanceof LedgerNotReady) return true;
      throw error;
    }
  };
  return {
    name: "orphans",
    title: "Look for content that no repository holds",
    async run(progress, signal) {
      for await (const { object, place } of scrub.walk(blobsPrefix, signal)) {
        if (place?.kind !== "content") continue;
        const { digest } = place;
        const { sizeBytes } = object;
        progress.count("examined");
        let isRemoved = false;
        if (!scrub.held.has(digest)) {
          await scrub.attempt(progress, async () => {
            if (object.usedAt > now() - graceMs || content.isBusy(digest)) progress.count("in use");
            else if (!(await isHeldByNow(digest))) {
              progress.count("orphans");
              progress.count("orphan bytes", sizeBytes);
              isRemoved = scrub.repair && (await content.removeBlob(digest));
              if (isRemoved) progress.count("removed");
            }
          });
        }
        if (isRemoved) continue;
        scrub.contentBytes += sizeBytes;
        scrub.chargedBytes += chargedBytes(sizeBytes);
      }
    },
  };
}

/** Reads all content, and puts what does not have its digest aside. */
export function contentStep(scrub: Scrub): Step {
  return {
    name: "content",
    title: "Read content and compare digests",
    async run(progress, signal) {
      progress.total(scrub.contentBytes, "bytes");
      for await (const { object, place } of scrub.walk(blobsPrefix, signal)) {
        if (place?.kind !== "content") {
          progress.count("foreign");
          continue;
        }
        const { digest } = place;
        progress.count("examined");
        await scrub.attempt(progress, async () => {
          const first = await scrub.inspect(digest, signal, (bytes) => progress.advance(bytes));
          if (first?.sound !== false) return;
          // It may have been replaced while it was read, and nothing good may be thrown away: what is put aside is what
          // was there before it was read once more.
          const { content } = scrub.tools;
          const seen = await content.openBlob(digest);
          try {
            if ((await scrub.inspect(digest, signal))?.sound !== false) return;
            progress.count("damaged");
            progress.count("damaged bytes", object.sizeBytes);
            if (scrub.repair && (await content.quarantineBlob(digest, seen))) progress.count("quarantined");
          } finally {
            await seen?.close();
          }
        });
      }
    },
  };
}

/**
 * Removes what was put aside and not used for 30 days. It comes before content is read, so that nothing goes in the run
 * that has put it aside.
 */
export function quarantineStep(scrub: Scrub): Step {
  const { content, now } = scrub.tools;
  return {
    name: "quarantine",
    title: "Remove damaged content that was put aside long ago",
    async run(progress, signal) {
      for await (const { object } of scrub.walk(quarantinePrefix, signal)) {
        progress.count("examined");
        if (object.usedAt > now() - quarantineMs) continue;
        progress.count("expired");
        if (!scrub.repair) continue;
        await scrub.attempt(progress, async () => {
          await content.quarantine.remove(object.key);
          progress.count("removed");
        });
      }
    },
  };
}
