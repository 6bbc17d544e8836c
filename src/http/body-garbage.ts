import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

const stepBytes = 4 * 1024 * 1024;

/**
 * Clears away what received bodies leave behind. Each piece of one is a buffer outside of V8's heap, which V8 answers with
 * a collection of the whole heap for every 15 MiB or so: most of the processor time of a large upload. One of the young
 * generation alone, where all of these buffers are, takes less than a millisecond, if it comes before.
 */
export class BodyGarbage {
  readonly #collect: () => void;
  #bytes = 0;

  constructor(collect: () => void = collectYoung) {
    this.#collect = collect;
  }

  /** Notes that so many bytes of any body have been received. */
  note(bytes: number): void {
    this.#bytes += bytes;
    if (this.#bytes < stepBytes) return;
    this.#bytes = 0;
    this.#collect();
  }
}

let gc: ((options: { readonly type: "minor" }) => void) | undefined;

/** Collects the young generation. What that takes is made with the first large body. */
export function collectYoung(): void {
  gc ??= exposeGc();
  gc({ type: "minor" });
}

/** V8 gives its collector to contexts alone that were made after it was told to. */
function exposeGc(): NonNullable<typeof gc> {
  setFlagsFromString("--expose-gc");
  return runInNewContext("gc") as NonNullable<typeof gc>;
}
