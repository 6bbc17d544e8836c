import { LRUCache } from "lru-cache";
import type { Digest } from "../oci/digest.ts";
import type { Namespace } from "../oci/reference.ts";
import type { Content } from "../registry/content.ts";
import type { Fills } from "../registry/fills.ts";
import { formatPlace } from "../store/layout.ts";
import type { Candidate, Ledger } from "../ledger/ledger.ts";
import { StoreError } from "../store/object-store.ts";
import type { StepProgress } from "./job.ts";

/** For how long what could not be removed is left alone, in milliseconds. */
const failedMs = 10 * 60_000;
/** How many removals may fail in a row before a run is given up: then it is not the one object. */
const maxFailures = 16;

/** What removing works with. */
export interface RemovalTools {
  readonly ledger: Pick<Ledger, "holding" | "isUsePending" | "use">;
  readonly content: Pick<Content, "removeLink" | "pages" | "removeBlob" | "isBusy" | "quarantine">;
  readonly fills: Pick<Fills, "isFilling">;
  readonly observer: RemovalObserver;
}

/** Told of what was removed, and of what could not be. */
export interface RemovalObserver {
  removed(candidate: Candidate): void;
  failed(error: unknown): void;
}

/** Removes candidates, or only counts them. */
export interface Remover {
  readonly dryRun: boolean;
  /** What a dry run has not really freed, of all or of one namespace. */
  pretendedBytes(namespace?: Namespace): number;
  /** False where it is in use after all, or could not be removed. */
  remove(candidate: Candidate): Promise<boolean>;
}

/** Removes what is still a candidate when its turn has come. */
export class Removal {
  readonly #tools: RemovalTools;
  /** What could not be removed lately. */
  readonly #failed = new LRUCache<string, true>({ max: 1_000, ttl: failedMs });

  constructor(tools: RemovalTools) {
    this.#tools = tools;
  }

  /** How many candidates are left alone, as they could not be removed lately. */
  get failed(): number {
    return this.#failed.size;
  }

  /** Removes for one run; `remove` throws when `signal` aborts, or where one removal after the other fails. */
  begin(signal: AbortSignal, progress: StepProgress | undefined): Remover {
    let failuresInARow = 0;
    return {
      dryRun: false,
      pretendedBytes: () => 0,
      remove: async (candidate) => {
        signal.throwIfAborted();
        const name = nameOf(candidate);
        if (this.#failed.has(name)) return false;
        try {
          const removed = await this.#remove(candidate);
          failuresInARow = 0;
          if (removed) {
            count(candidate, progress);
            this.#tools.observer.removed(candidate);
          }
          return removed;
        } catch (error) {
          // One object that cannot be removed must not keep the others.
          if (!(error instanceof StoreError) || ++failuresInARow > maxFailures) throw error;
          this.#failed.set(name, true);
          this.#tools.observer.failed(error);
          progress?.count("failed");
          return false;
        }
      },
    };
  }

  async #remove(candidate: Candidate): Promise<boolean> {
    const { content, ledger } = this.#tools;
    switch (candidate.kind) {
      case "page":
        await content.pages.remove(candidate.id, candidate.page, candidate.name);
        return true;
      case "content":
        return this.#isFree(candidate.digest) && content.removeBlob(candidate.digest);
      case "link": {
        const { id, digest } = candidate;
        const { usedAt, otherHolders } = await ledger.holding(id, digest);
        if (usedAt !== candidate.usedAt || ledger.isUsePending(id, digest)) return false;
        if (!this.#isFree(digest)) {
          // A reader takes longer than the grace: that is a use, too, and it is not asked about again and again.
          ledger.use(id, digest);
          return false;
        }
        await content.removeLink(id, digest);
        if (otherHolders === 0) await content.removeBlob(digest);
        return true;
      }
    }
  }

  #isFree(digest: Digest): boolean {
    return !this.#tools.content.isBusy(digest) && !this.#tools.fills.isFilling(digest);
  }
}

/** Makes the removers of a dry run's steps: each counts what no earlier one has. */
export function createCounter(): (progress: StepProgress) => Remover {
  const counted = new Set<string>();
  const pretended = new Map<Namespace | undefined, number>();
  const add = (namespace: Namespace | undefined, bytes: number): unknown =>
    pretended.set(namespace, (pretended.get(namespace) ?? 0) + bytes);
  return (progress) => ({
    dryRun: true,
    pretendedBytes: (namespace) => pretended.get(namespace) ?? 0,
    remove: async (candidate) => {
      const name = nameOf(candidate);
      if (counted.has(name)) return false;
      counted.add(name);
      add(undefined, candidate.freesBytes);
      if (candidate.kind !== "content") add(candidate.id.namespace, candidate.freesBytes);
      count(candidate, progress);
      return true;
    },
  });
}

/** What tells a candidate from all others. */
export function nameOf(candidate: Candidate): string {
  return candidate.kind === "content" ? candidate.digest : formatPlace(candidate);
}

const nouns: Readonly<Record<Candidate["kind"], string>> = {
  link: "manifests and blobs",
  page: "listings",
  content: "blobs of no repository",
};

function count(candidate: Candidate, progress: StepProgress | undefined): void {
  progress?.count(nouns[candidate.kind]);
  progress?.count("bytes freed", candidate.freesBytes);
}
