import { blobsPrefix, repositoriesPrefix } from "../store/layout.ts";
import { settleOrAbort } from "../concurrency/settle-or-abort.ts";
import type { JobState, Step } from "./job.ts";
import { Rate } from "./rate.ts";
import { contentStep, orphansStep, quarantineStep } from "./verify-content.ts";
import { linksStep, tagsStep } from "./verify-records.ts";
import { Scrub, type VerifyTools } from "./verify-scrub.ts";

/** How a scrub is done. */
export interface VerifyOptions {
  /** Without it, nothing is changed. */
  readonly repair: boolean;
  /** How much is read a second; `undefined`: as much as possible. */
  readonly bytesPerSecond: number | undefined;
}

/** No fill waits for its upstream as long as this. */
const leftoverMs = 24 * 3_600_000;
/** How far the ledger may be from what is stored before it is built anew; it moves while it is compared. */
const ledgerTolerance = 0.01;
/** Counts of what a sound store has none of. What is merely waste is not among them. */
const problems: ReadonlySet<string> = new Set(["damaged", "dangling", "failed", "torn", "wrong size"]);

/**
 * The steps of a scrub: whatever is damaged, or of no use, is found, and with `repair` put right: damaged content is
 * put aside and fetched again by its next use, other things are removed. It may run beside pulls. Without `repair` the
 * counts say what was found, and nothing is changed.
 *
 * It reads every object once or twice, and remembers 16 bytes of each digest that some repository holds.
 */
export function verifySteps(tools: VerifyTools, { repair, bytesPerSecond }: VerifyOptions): Step[] {
  const scrub = new Scrub(tools, repair, new Rate(bytesPerSecond));
  return [
    leftoversStep(scrub),
    quarantineStep(scrub),
    linksStep(scrub),
    orphansStep(scrub),
    ...(tools.ledger === undefined ? [] : [ledgerStep(scrub, tools.ledger)]),
    contentStep(scrub),
    tagsStep(scrub),
    foldersStep(scrub),
  ];
}

/** How many things of each sort a scrub found wrong, whether they were put right or not. */
export function problemsOf(job: JobState): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  for (const [what, count] of job.steps.flatMap((step) => Object.entries(step.counts))) {
    if (problems.has(what)) found.set(what, (found.get(what) ?? 0) + count);
  }
  return found;
}

function leftoversStep(scrub: Scrub): Step {
  const { files } = scrub.tools;
  return {
    name: "leftovers",
    title: "Remove unfinished files",
    async run(progress) {
      progress.count("removed at the start", files.swept.count);
      await scrub.attempt(progress, async () => {
        const { count, bytes } = await files.removeLeftovers(leftoverMs, { dryRun: !scrub.repair });
        progress.count("leftovers", count);
        progress.count("leftover bytes", bytes);
        if (scrub.repair) progress.count("removed", count);
      });
    },
  };
}

/** Compares what the ledger counts with what the steps before came upon. */
function ledgerStep(scrub: Scrub, ledger: NonNullable<VerifyTools["ledger"]>): Step {
  return {
    name: "ledger",
    title: "Compare the ledger with what is stored",
    async run(progress, signal) {
      const { totals } = ledger;
      // It is being built.
      if (totals === undefined) return;
      const difference = Math.abs(totals.bytes - scrub.chargedBytes);
      progress.count("bytes that differ", difference);
      if (difference <= scrub.chargedBytes * ledgerTolerance || !scrub.repair) return;
      try {
        await settleOrAbort(ledger.rebuild(), signal);
        progress.count("rebuilt");
      } catch {
        // It has told why, and tries again by itself: what is stored is read all the same.
        signal.throwIfAborted();
        progress.count("failed");
      }
    },
  };
}

function foldersStep({ tools: { files }, repair }: Scrub): Step {
  return {
    name: "folders",
    title: "Remove empty folders",
    async run(progress, signal) {
      for (const prefix of [blobsPrefix, repositoriesPrefix]) {
        signal.throwIfAborted();
        const count = await files.removeEmptyFolders(prefix, { dryRun: !repair });
        progress.count("empty", count);
        if (repair) progress.count("removed", count);
      }
    },
  };
}
