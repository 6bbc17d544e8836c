import { formatImageReference, type ImageReference } from "../oci/image-reference.ts";
import type { Platform } from "../oci/platform.ts";
import { Limiter } from "../concurrency/limiter.ts";
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
  /** How many images are pulled at a time, and how many manifests and blobs of all of them together. */
  readonly parallel: number;
}

/**
 * The steps that bring images into the cache: one for each image, by its full name, which counts what it did, and a
 * `summary` at the end with the sums. An image that fails fails the job when the others are done. One that is named
 * twice is pulled once. What is stored is not asked for again, so that a run that was interrupted goes on where it was.
 */
export function warmSteps(tools: WarmTools, { images, platforms, parallel }: WarmOptions): Step[] {
  const limiter = new Limiter(parallel);
  const counts = new Map<string, number>([["images failed", 0]]);
  const steps = new Map<string, Step>();
  for (const image of images) {
    const { name, open } = locate(tools, image);
    const run = async (own: StepProgress, signal: AbortSignal): Promise<void> => {
      const progress = addingTo(counts, own);
      try {
        const fetched = await pullImage(open(), image.reference, { platforms, limiter, progress, signal });
        add(counts, fetched === 0 ? "images already there" : "images pulled", 1);
      } catch (error) {
        add(counts, "images failed", 1);
        throw error;
      }
    };
    steps.set(name, { name, title: `Pull ${name}`, parallel, run });
  }
  return [...steps.values(), summary(counts)];
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

function summary(counts: ReadonlyMap<string, number>): Step {
  return {
    name: "summary",
    title: "Sum up",
    async run(progress) {
      for (const [what, count] of counts) progress.count(what, count);
    },
  };
}

function addingTo(counts: Map<string, number>, progress: StepProgress): StepProgress {
  return {
    total: (total, unit) => progress.total(total, unit),
    advance: (by) => progress.advance(by),
    note: (text) => progress.note(text),
    count(what, by = 1) {
      add(counts, what, by);
      progress.count(what, by);
    },
  };
}

function add(counts: Map<string, number>, what: string, by: number): void {
  counts.set(what, (counts.get(what) ?? 0) + by);
}
