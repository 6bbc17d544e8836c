import type { Digest } from "../oci/digest.ts";
import type { Repository } from "../oci/reference.ts";
import type { MirrorTools } from "./mirror-tools.ts";
import type { ManifestContent } from "./registry.ts";

const blobsAtOnce = 4;

/** What a prefetch works with. */
export type PrefetchTools = Pick<MirrorTools, "breaker" | "budget" | "background" | "signal">;

/**
 * Fetches the blobs of an image as soon as a client has its manifest: the client, which asks for them a few at a time,
 * finds them stored or on their way.
 *
 * It only saves time. Its failures are those of fills, and told with them; and where the upstream fails, or its rate
 * limit is nearly used up, nothing is fetched that nobody has asked for.
 */
export class Prefetch {
  readonly #tools: PrefetchTools;
  readonly #storeBlob: (repository: Repository, digest: Digest) => Promise<unknown>;
  /** Manifests whose blobs are being fetched, or were; forgotten with those that are kept in memory. */
  readonly #begun = new WeakSet<ManifestContent>();

  /** `storeBlob` sees to it that a blob is stored; it rejects where that fails, and never fetches a blob twice at once. */
  constructor(tools: PrefetchTools, storeBlob: (repository: Repository, digest: Digest) => Promise<unknown>) {
    this.#tools = tools;
    this.#storeBlob = storeBlob;
  }

  /** Begins to fetch what an image needs, in its order and a few blobs at a time; of an index nothing. Never throws. */
  begin(repository: Repository, manifest: ManifestContent): void {
    if (this.#begun.has(manifest)) return;
    this.#begun.add(manifest);
    this.#tools.background.run(async () => {
      // The loops share one iterator, so that each blob is taken by one of them.
      const blobs = manifest.parsed.required.values();
      const fetches = Array.from({ length: blobsAtOnce }, async () => {
        for (const { digest } of blobs) {
          if (!this.#begun.has(manifest)) return;
          if (!this.#isWelcome(repository) || !(await this.#isStored(repository, digest))) this.#begun.delete(manifest);
        }
      });
      await Promise.all(fetches);
    });
  }

  /** Whether questions that no client has asked may be sent to the upstream now. */
  #isWelcome(repository: Repository): boolean {
    const { breaker, budget, signal } = this.#tools;
    return !signal.aborted && breaker.failing(repository) === undefined && !budget.isLow;
  }

  async #isStored(repository: Repository, digest: Digest): Promise<boolean> {
    try {
      await this.#storeBlob(repository, digest);
      return true;
    } catch {
      return false;
    }
  }
}
