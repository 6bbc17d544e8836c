import { formatImageReference, type ImageReference } from "../oci/image-reference.ts";
import type { Platform } from "../oci/platform.ts";
import { createLimiter } from "../upstream/limiter.ts";
import type { Step, StepProgress } from "./job.ts";
import { pullImage, type WarmPlace } from "./warm-image.ts";

/** How warming gets at the registries. */
export interface WarmTools {
  /** @throws {OciError} the image's registry is not mirrored. */
  open(image: ImageReference): WarmPlace;
}

/** What is to be in the cache. */
export interface WarmOptions {
  readonly images: readonly ImageReference[];
  /** The platforms that are pulled of an image that has several; none: all that it has. */
  readonly platforms: readonly Platform[];
  /** How many manifests and blobs are asked for at a time, over all images. */
  readonly parallel: number;
}

/** Images could not be pulled, or not whole. The others were. */
export class WarmError extends Error {
  override readonly name = "WarmError";
  /** The images by their full names, and why each failed. */
  readonly failures: ReadonlyMap<string, Error>;

  constructor(failures: ReadonlyMap<string, Error>, images: number) {
    const reasons = [...failures].map(([name, error]) => `${name}: ${error.message}`);
    super(`${failures.size} of ${images} images failed: ${reasons.join("; ")}`);
    this.failures = failures;
  }
}

/** What has become of the images so far. */
interface Outcome {
  readonly counts: Map<string, number>;
  readonly failures: Map<string, Error>;
}

/**
 * The steps that bring images into the cache: one for each image, by its full name, which counts what it did, and a
 * `summary` at the end with the sums, which throws `WarmError` where an image has failed. An image that is named twice
 * is pulled once. What is stored is not asked for again, so that a run that was interrupted goes on where it was.
 */
export function warmSteps(tools: WarmTools, { images, platforms, parallel }: WarmOptions): Step[] {
  const limiter = createLimiter(parallel);
  const outcome: Outcome = { counts: new Map(), failures: new Map() };
  const steps = new Map<string, Step>();
  for (const image of images) {
    const { name, open } = locate(tools, image);
    const run = async (own: StepProgress, signal: AbortSignal): Promise<void> => {
      const progress = addingTo(outcome.counts, own);
      try {
        const fetched = await pullImage(open(), image.reference, { platforms, limiter, progress, signal });
        add(outcome.counts, fetched === 0 ? "images already there" : "images pulled", 1);
      } catch (error) {
        signal.throwIfAborted();
        own.count("failed");
        outcome.failures.set(name, error instanceof Error ? error : new Error(String(error)));
      }
    };
    steps.set(name, { name, title: `Pull ${name}`, run });
  }
  return [...steps.values(), summary(outcome, steps.size)];
}

/** The name that an image has here, and its place; where that is none, `open` says why. */
function locate(tools: WarmTools, image: ImageReference): { readonly name: string; readonly open: () => WarmPlace } {
  try {
    const place = tools.open(image);
    const { namespace, repository } = place;
    return { name: formatImageReference({ namespace, repository, reference: image.reference }), open: () => place };
  } catch (error) {
    const open = (): never => {
      throw error;
    };
    return { name: formatImageReference(image), open };
  }
}

function summary({ counts, failures }: Outcome, images: number): Step {
  return {
    name: "summary",
    title: "Sum up",
    async run(progress) {
      for (const [what, count] of counts) progress.count(what, count);
      progress.count("images failed", failures.size);
      if (failures.size > 0) throw new WarmError(failures, images);
    },
  };
}

function addingTo(counts: Map<string, number>, progress: StepProgress): StepProgress {
  return {
    total: (total, unit) => progress.total(total, unit),
    advance: (by) => progress.advance(by),
    count(what, by = 1) {
      add(counts, what, by);
      progress.count(what, by);
    },
  };
}

function add(counts: Map<string, number>, what: string, by: number): void {
  counts.set(what, (counts.get(what) ?? 0) + by);
}
