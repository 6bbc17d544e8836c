import type { Digest } from "../oci/digest.ts";
import { isLink, isTagRecord, type Link, type TagRecord } from "../store/content-records.ts";
import { linkKey, type RepositoryId, repositoriesPrefix } from "../store/layout.ts";
import { chargedBytes } from "../ledger/ledger.ts";
import type { Step, StepProgress } from "./job.ts";
import type { Scrub } from "./verify-scrub.ts";

/** Looks at what says that a repository contains a digest, and how large that is. */
export function linksStep(scrub: Scrub): Step {
  const read = scrub.records(isLink);
  return {
    name: "links",
    title: "Read links and compare sizes",
    async run(progress, signal) {
      for await (const { object, place } of scrub.walk(repositoriesPrefix, signal)) {
        if (place === undefined) progress.count("foreign");
        else scrub.chargedBytes += chargedBytes(object.sizeBytes);
        if (place?.kind !== "link") continue;
        progress.count("examined");
        const { id, digest } = place;
        let isTorn = false;
        await scrub.attempt(progress, async () => {
          const link = await read(object.key);
          isTorn = link === "torn";
          if (isTorn) progress.count("torn");
          if (isTorn && scrub.repair) {
            await scrub.tools.content.removeLink(id, digest);
            scrub.chargedBytes -= chargedBytes(object.sizeBytes);
            progress.count("removed");
          }
          if (typeof link === "object") await checkSize(scrub, id, digest, link, progress, signal);
        });
        // What could not be read may hold its content.
        if (!isTorn) scrub.held.add(digest);
      }
    },
  };
}

async function checkSize(
  scrub: Scrub,
  id: RepositoryId,
  digest: Digest,
  link: Link,
  progress: StepProgress,
  signal: AbortSignal,
): Promise<void> {
  const { content } = scrub.tools;
  const stored = await content.statBlob(digest);
  // A manifest lists what nobody has pulled yet.
  if (stored === undefined) progress.count("without content");
  if (stored === undefined || stored.sizeBytes === link.sizeBytes) return;
  const inspected = await scrub.inspect(digest, signal);
  // If it is not the link that is wrong, the step that reads all content finds out.
  if (inspected?.sound !== true || inspected.sizeBytes === link.sizeBytes) return;
  progress.count("wrong size");
  if (!scrub.repair || (await content.link(id, digest)) === undefined) return;
  await content.addLink(id, digest, { ...link, sizeBytes: inspected.sizeBytes });
  progress.count("corrected");
}

/** Whether what was read of a tag twice is one record: what is recorded anew is of another check. */
function isSame(first: TagRecord | "torn", now: TagRecord | "torn" | "absent"): boolean {
  if (typeof first !== "object" || typeof now !== "object") return first === now;
  return first.digest === now.digest && first.checkedAt === now.checkedAt;
}

/** Looks at tags, and removes those that stand for nothing. */
export function tagsStep(scrub: Scrub): Step {
  const { content } = scrub.tools;
  const read = scrub.records(isTagRecord);
  const readLink = scrub.records(isLink);
  // What is being written is not in the store yet; asking for all links there would make them look used.
  const isLinked = async (id: RepositoryId, digest: Digest): Promise<boolean> =>
    typeof (await readLink(linkKey(id, digest))) === "object" || (await content.link(id, digest)) !== undefined;
  const isStored = async (digest: Digest): Promise<boolean> =>
    (await content.statBlob(digest)) !== undefined ||
    content.isBusy(digest) ||
    // Storing it may have ended between the two.
    (await content.statBlob(digest)) !== undefined;
  return {
    name: "tags",
    title: "Read tags and look for their manifests",
    async run(progress, signal) {
      for await (const { object, place } of scrub.walk(repositoriesPrefix, signal)) {
        if (place?.kind !== "tag") continue;
        progress.count("examined");
        const { id, tag } = place;
        await scrub.attempt(progress, async () => {
          const record = await read(object.key);
          if (record === "absent") return;
          const digest = record === "torn" ? undefined : record.digest;
          if (digest !== undefined && (await isLinked(id, digest)) && (await isStored(digest))) return;
          // Somebody may have removed the tag first, and then its manifest; and both may be back by now.
          const now = await read(object.key);
          if (!isSame(record, now)) return;
          progress.count(digest === undefined ? "torn" : "dangling");
          if (scrub.repair && (await content.removeTag(id, tag, digest))) progress.count("removed");
        });
      }
    },
  };
}
