import { LRUCache } from "lru-cache";
import type { Digest } from "../oci/digest.ts";
import type { Namespace } from "../oci/reference.ts";
import type { Content } from "../registry/content.ts";
import type { Fills } from "../registry/fills.ts";
import type { Candidate, CandidateQuery, Ledger } from "../registry/ledger/ledger.ts";
import type { Overage, Space } from "../registry/space.ts";
import { formatPlace } from "../registry/layout.ts";
import { StoreError } from "../store/object-store.ts";
import { settleOrAbort } from "../upstream/settle-or-abort.ts";
import type { Step, StepProgress } from "./job.ts";

/** How many candidates are asked for at a time. */
const batchSize = 128;
/** How long nothing is tried after there was not enough to remove, in milliseconds. */
const shortMs = 5_000;
/** For how long what could not be removed is left alone, in milliseconds. */
const failedMs = 10 * 60_000;
/** How many removals may fail in a row before a run is given up: then it is not the one object. */
const maxFailures = 16;
/** How many a dry run looks at, at most. */
const dryRunSize = 100_000;

/** How long what a namespace holds is kept. */
export interface Retention {
  /** What nobody used for longer is removed, in milliseconds; may be `Infinity`. */
  readonly idleMs: number;
  /** Whether nothing may go at the moment, as it could not be fetched again. */
  readonly keeps: boolean;
}

/** What eviction works with. */
export interface EvictTools {
  readonly space: Pick<Space, "overage" | "refresh">;
  readonly ledger: Pick<Ledger, "totals" | "candidates" | "holding" | "isUsePending" | "pinnedBytes" | "use">;
  readonly content: Pick<Content, "removeLink" | "removePage" | "removeBlob" | "isBusy">;
  readonly fills: Pick<Fills, "isFilling">;
  readonly retention: (namespace: Namespace) => Retention;
  readonly pins: () => readonly string[];
  /** What was used, stored or linked within this time is not removed, in milliseconds. */
  readonly graceMs: number;
  readonly now: () => number;
  readonly observer: EvictObserver;
}

/** Told how eviction goes. */
export interface EvictObserver {
  removed(candidate: Candidate): void;
  /** Not enough could be removed: `missingBytes` more would have to go, of all or of one namespace. */
  stuck(problem: Shortage): void;
  failed(error: unknown): void;
}

/** Why there is no room. */
export interface Shortage {
  readonly namespace: Namespace | undefined;
  readonly missingBytes: number;
  readonly pinnedBytes: number;
  /** Namespaces whose content stays for the time being. */
  readonly kept: readonly Namespace[];
}

type Query = Omit<CandidateQuery, "pins" | "limit" | "except">;

/**
 * Keeps the store below its limits: what was used least recently goes first. What nobody holds, what is being read or
 * filled, what is pinned, and what could not be fetched again is told apart by the ledger, the content store and the
 * namespaces' retention. One thing is removed at a time, so that requests do not suffer.
 */
export class Evictor {
  readonly #tools: EvictTools;
  readonly #stopping = new AbortController();
  /** The last run that was asked for: runs come one after another. */
  #last: Promise<unknown> = Promise.resolve();
  #relieving = false;
  /** What could not be removed lately. */
  readonly #failed = new LRUCache<string, true>({ max: 1_000, ttl: failedMs });
  /** Until when nobody tries again, as there was not enough to remove. */
  #shortUntil = -Infinity;

  constructor(tools: EvictTools) {
    this.#tools = tools;
  }

  /**
   * Makes room for `bytes` more of a namespace; false where not enough can be removed, or was until `signal`. Never
   * rejects.
   */
  async makeRoom(namespace: Namespace, bytes: number, signal: AbortSignal): Promise<boolean> {
    if (this.#isShort()) return false;
    return this.#inTurn(async () => !signal.aborted && (await this.#relieve({ namespace, bytes }, signal)));
  }

  /** Brings everything below its low watermark, in the background; at once, and once, however often it is called. */
  relieve(): void {
    if (this.#relieving || this.#isShort()) return;
    this.#relieving = true;
    void this.#inTurn(() => this.#relieve(undefined)).finally(() => {
      this.#relieving = false;
    });
  }

  /** Removes what was idle for too long, and sees to the limits. Never rejects. */
  async tidy(): Promise<void> {
    await this.#inTurn(async () => {
      await this.#tools.space.refresh();
      await this.#removeIdle(this.#remover(this.#stopping.signal));
      return this.#relieve(undefined);
    });
  }

  /** The same as a job. Its dry run counts what would go if nobody used anything meanwhile. */
  steps(options: { readonly dryRun: boolean }): readonly Step[] {
    const counter = createCounter();
    const step = (name: string, title: string, work: (remove: Remover) => Promise<unknown>): Step => ({
      name,
      title,
      run: (progress, signal) => {
        const stop = AbortSignal.any([signal, this.#stopping.signal]);
        const remover = options.dryRun ? counter(progress) : this.#remover(stop, progress);
        // Who cancels a job need not wait for the run that is before it.
        return settleOrAbort(
          this.#queue(async () => void (await work(remover))),
          stop,
        );
      },
    });
    return [
      step("idle", "Remove what nobody used for its namespace's idle time", (remover) => this.#removeIdle(remover)),
      step("limits", "Remove what is least recently used, down to the low watermarks", async (remover) => {
        await this.#tools.space.refresh();
        return this.#keepLimits(undefined, remover);
      }),
    ];
  }

  /** Stops what runs after the object that it is at; nothing starts any more. */
  async close(): Promise<void> {
    this.#stopping.abort(new Error("the process is stopping"));
    await this.#last;
  }

  async #inTurn(work: () => Promise<boolean>): Promise<boolean> {
    if (this.#stopping.signal.aborted) return false;
    try {
      return await this.#queue(work);
    } catch (error) {
      this.#shortUntil = this.#tools.now() + shortMs;
      if (!this.#stopping.signal.aborted) this.#tools.observer.failed(error);
      return false;
    }
  }

  #queue<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work);
    this.#last = done.catch(() => undefined);
    return done;
  }

  async #relieve(more: Parameters<Space["overage"]>[0], signal?: AbortSignal): Promise<boolean> {
    const enough = await this.#keepLimits(more, this.#remover(this.#stopping.signal), signal);
    // Nothing will have changed when the next one asks for room, a moment later.
    if (!enough && signal?.aborted !== true) this.#shortUntil = this.#tools.now() + shortMs;
    return enough;
  }

  #isShort(): boolean {
    return this.#tools.now() < this.#shortUntil;
  }

  /**
   * Whether everything is within its limits afterwards. While it is not known what lies in the store, nothing is removed:
   * the volume may be full of others' files, and whose content is to be kept would not be known either.
   */
  async #keepLimits(more: Parameters<Space["overage"]>[0], remover: Remover, signal?: AbortSignal): Promise<boolean> {
    const { space, ledger } = this.#tools;
    if (ledger.totals === undefined) return false;
    let enough = true;
    for (const { namespace } of space.overage(more).namespaces) {
      const of = (overage: Overage): number =>
        overage.namespaces.find((each) => each.namespace === namespace)?.bytes ?? 0;
      enough = (await this.#free(namespace, () => of(space.overage(more, true)), remover, signal)) && enough;
    }
    if (space.overage(more).bytes <= remover.pretendedBytes) return enough;
    return (await this.#free(undefined, () => space.overage(more, true).bytes, remover, signal)) && enough;
  }

  /** Removes the least recently used until `missing` is none; false where that is not to be reached, or not in time. */
  async #free(
    namespace: Namespace | undefined,
    missing: () => number,
    remover: Remover,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    const before = this.#tools.now() - this.#tools.graceMs;
    const query: Query = { usedBefore: before, ...(namespace !== undefined && { only: [namespace] }) };
    const left = (): number => missing() - remover.pretendedBytes;
    const mayGoOn = (): boolean => this.#tools.ledger.totals !== undefined && signal?.aborted !== true;
    if (left() <= 0) return true;
    await this.#each(query, remover, () => mayGoOn() && left() > 0);
    if (left() <= 0) return true;
    if (remover.dryRun || !mayGoOn()) return false;
    const pinnedBytes = await this.#tools.ledger.pinnedBytes(this.#tools.pins());
    this.#tools.observer.stuck({ namespace, missingBytes: left(), pinnedBytes, kept: this.#kept() });
    return false;
  }

  async #removeIdle(remover: Remover): Promise<void> {
    const { now, retention, ledger, graceMs } = this.#tools;
    for (const namespace of ledger.totals?.namespaces.keys() ?? []) {
      const idleMs = Math.max(retention(namespace).idleMs, graceMs);
      if (idleMs === Infinity) continue;
      await this.#each({ only: [namespace], usedBefore: now() - idleMs }, remover, () => true);
    }
  }

  /** Removes candidates while `wanted`, and while there are any. */
  async #each(query: Query, remover: Remover, wanted: () => boolean): Promise<void> {
    for (;;) {
      // Those that cannot be removed come again and again, and must not be all that comes.
      const limit = remover.dryRun ? dryRunSize : batchSize + this.#failed.size;
      const pins = this.#tools.pins();
      const candidates = await this.#tools.ledger.candidates({ ...query, except: this.#kept(), pins, limit });
      let changed = 0;
      for (const candidate of candidates) {
        if (!wanted()) return;
        // What is in use has been used now: it is no candidate any more, and gives way to the next ones.
        if ((await remover.remove(candidate)) || candidate.kind === "link") changed++;
      }
      if (remover.dryRun || changed === 0) return;
    }
  }

  #kept(): Namespace[] {
    const { ledger, retention } = this.#tools;
    return [...(ledger.totals?.namespaces.keys() ?? [])].filter((namespace) => retention(namespace).keeps);
  }

  #remover(signal: AbortSignal, progress?: StepProgress): Remover {
    let failuresInARow = 0;
    return {
      dryRun: false,
      pretendedBytes: 0,
      remove: async (candidate) => {
        signal.throwIfAborted();
        const name = identify(candidate);
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

  /** Removes a candidate if it is still one. */
  async #remove(candidate: Candidate): Promise<boolean> {
    const { content, ledger } = this.#tools;
    switch (candidate.kind) {
      case "page":
        await content.removePage(candidate.id, candidate.page, candidate.name);
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

/** Removes candidates, or only counts them. */
interface Remover {
  readonly dryRun: boolean;
  /** What a dry run has not really freed. */
  readonly pretendedBytes: number;
  /** False where it is in use after all. */
  remove(candidate: Candidate): Promise<boolean>;
}

/** Makes the removers of a dry run's steps: each counts what no earlier one has. */
function createCounter(): (progress: StepProgress) => Remover {
  const counted = new Set<string>();
  let pretendedBytes = 0;
  return (progress) => ({
    dryRun: true,
    get pretendedBytes() {
      return pretendedBytes;
    },
    remove: async (candidate) => {
      const name = identify(candidate);
      if (counted.has(name)) return false;
      counted.add(name);
      pretendedBytes += candidate.freesBytes;
      count(candidate, progress);
      return true;
    },
  });
}

function identify(candidate: Candidate): string {
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
