import { Collection, type CollectionOptions } from "../hosted/collect.ts";
import { OciError } from "../oci/errors.ts";
import type { Lease } from "../store/lease.ts";
import type { Step } from "./job.ts";

/** What a collection of what is hosted works with. */
export interface CollectTools extends Omit<CollectionOptions, "acquire"> {
  /** The right to collect, where others have the same store. */
  readonly lease: Pick<Lease, "acquire" | "release"> | undefined;
  /** Throws where the store cannot do what makes it safe to collect while others push. */
  readonly assertSafe: (() => Promise<void>) | undefined;
}

/**
 * One pass over all that is hosted: what no rule keeps, what nothing reaches, and what nobody goes on with. A dry run
 * names what would go.
 *
 * @param tools `undefined` where nothing is hosted.
 * @throws {OciError} UNSUPPORTED where nothing is hosted.
 */
export function collectSteps(
  tools: CollectTools | undefined,
  { dryRun }: { readonly dryRun: boolean },
): readonly Step[] {
  if (tools === undefined) throw new OciError("UNSUPPORTED", "nothing is hosted here: `hosted` names no namespace");
  const { assertSafe, ...options } = tools;
  // Who only looks disturbs nobody.
  const lease = dryRun ? undefined : options.lease;
  const collection = new Collection({ ...options, acquire: lease && (() => lease.acquire()) }, { dryRun });
  let isSafe = false;
  const step = (name: "tags" | "links" | "content" | "uploads", title: string): Step => ({
    name,
    title,
    run: async (progress, signal) => {
      try {
        if (!isSafe) await assertSafe?.();
        isSafe = true;
        await collection[name](progress, signal);
      } finally {
        // What comes next takes it again, or somebody else has.
        await lease?.release().catch(() => undefined);
      }
    },
  });
  return [
    step("tags", "Remove tags that retention does not keep"),
    step("links", "Remove what no tag reaches"),
    step("content", "Remove content that no repository has"),
    step("uploads", "Remove uploads that nobody goes on with"),
  ];
}
