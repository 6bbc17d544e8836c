import type { Namespace } from "../oci/reference.ts";
import type { CandidateQuery, Ledger } from "../ledger/ledger.ts";
import type { Overage, Relief, Space } from "../registry/space.ts";
import { settleOrAbort } from "../concurrency/settle-or-abort.ts";
import type { Step } from "./job.ts";
import { createCounter, nameOf, Removal, type RemovalObserver, type RemovalTools, type Remover } from "./removal.ts";

/** How many candidates are asked for at a time. */
const batchSize = 128;
/**
 * How long nothing is removed in the background after there was not enough, unless what is stored changes; in
 * milliseconds.
 */
const shortMs = 5_000;
/** How many a dry run looks at, at most, and how many of them it asks for at a time. */
const dryRunSize = 100_000;
const dryRunBatch = 10_000;

/** How long what a namespace holds is kept. */
export interface Retention {
  /** What nobody used for longer is removed, in milliseconds; may be `Infinity`. */
  readonly idleMs: number;
  /** Whether nothing may go at the moment, as it could not be fetched again. */
  readonly keeps: boolean;
}

/** What eviction works with. */
export interface EvictTools extends RemovalTools {
  readonly space: Pick<Space, "overage" | "refresh">;
  readonly ledger: Pick<Ledger, "totals" | "candidates" | "holding" | "isUsePending" | "pinnedBytes" | "use">;
  readonly retention: (namespace: Namespace) => Retention;
  readonly pins: () => readonly string[];
  /** What was used, stored or linked within this time is not removed, in milliseconds. */
  readonly graceMs: number;
  readonly now: () => number;
  readonly monotonic: () => number;
  readonly observer: EvictObserver;
}

/** Told how eviction goes. */
export interface EvictObserver extends RemovalObserver {
  /** Not enough could be removed: `missingBytes` more would have to go, of all or of one namespace. */
  stuck(problem: Shortage): void;
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
export class Evictor implements Relief {
  readonly #tools: EvictTools;
  readonly #removal: Removal;
  readonly #stopping = new AbortController();
  /** The last run that was asked for: runs come one after another. */
  #last: Promise<unknown> = Promise.resolve();
  #relieving = false;
  #pinned = { at: -Infinity, bytes: 0 };
  /** When there was not enough to remove, and how much lay in the store then. */
  #short = { at: -Infinity, bytes: NaN };

  constructor(tools: EvictTools) {
    this.#tools = tools;
    this.#removal = new Removal(tools);
  }

  /**
   * Makes room for `bytes` more of a namespace; false where not enough can be removed, or was until `signal`. Never
   * rejects.
   */
  async makeRoom(namespace: Namespace, bytes: number, signal: AbortSignal): Promise<boolean> {
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
      await this.#removeIdle(this.#removal.begin(this.#stopping.signal, undefined));
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
        const remover = options.dryRun ? counter(progress) : this.#removal.begin(stop, progress);
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
      this.#noteShort();
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
    const enough = await this.#keepLimits(more, this.#removal.begin(this.#stopping.signal, undefined), signal);
    // Nothing will have changed when the next one asks for room, a moment later.
    if (!enough && signal?.aborted !== true) this.#noteShort();
    return enough;
  }

  #noteShort(): void {
    this.#short = { at: this.#tools.monotonic(), bytes: this.#storedBytes };
  }

  #isShort(): boolean {
    return this.#tools.monotonic() - this.#short.at < shortMs && this.#storedBytes === this.#short.bytes;
  }

  get #storedBytes(): number {
    return this.#tools.ledger.totals?.bytes ?? 0;
  }

  /**
   * Whether everything is within its limits afterwards. While it is not known what lies in the store, nothing is removed:
   * the volume may be full of others' files, and whose content is to be kept would not be known either.
   */
  async #keepLimits(more: Parameters<Space["overage"]>[0], remover: Remover, signal?: AbortSignal): Promise<boolean> {
    const { space, ledger, content } = this.#tools;
    if (ledger.totals === undefined) return false;
    let enough = true;
    for (const { namespace } of space.overage(more).namespaces) {
      const of = (overage: Overage): number =>
        overage.namespaces.find((each) => each.namespace === namespace)?.bytes ?? 0;
      enough = (await this.#free(namespace, () => of(space.overage(more, true)), remover, signal)) && enough;
    }
    // What is damaged goes before anything that is sound.
    const missing = remover.dryRun ? 0 : space.overage(more).bytes;
    if (missing > 0) await content.quarantine.giveUp(missing);
    if (space.overage(more).bytes <= remover.pretendedBytes()) return enough;
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
    const left = (): number => missing() - remover.pretendedBytes(namespace);
    const mayGoOn = (): boolean => this.#tools.ledger.totals !== undefined && signal?.aborted !== true;
    if (left() <= 0) return true;
    await this.#each(query, remover, () => mayGoOn() && left() > 0);
    if (left() <= 0) return true;
    if (remover.dryRun || !mayGoOn()) return false;
    const pinnedBytes = await this.#sumPinned();
    this.#tools.observer.stuck({ namespace, missingBytes: left(), pinnedBytes, kept: this.#kept() });
    return false;
  }

  /** What pins hold, as of the last seconds: it takes the ledger a while to add that up. */
  async #sumPinned(): Promise<number> {
    const { monotonic, ledger, pins } = this.#tools;
    if (monotonic() - this.#pinned.at >= shortMs)
      this.#pinned = { at: monotonic(), bytes: await ledger.pinnedBytes(pins()) };
    return this.#pinned.bytes;
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
    let looked = 0;
    let usedFrom = 0;
    for (let before = new Set<string>(); ;) {
      // Those that cannot be removed come again and again, and must not be all that comes.
      const limit = remover.dryRun ? dryRunBatch : batchSize + this.#removal.failed;
      const pins = this.#tools.pins();
      const candidates = await this.#tools.ledger.candidates({ ...query, usedFrom, except: this.#kept(), pins, limit });
      const names = candidates.map(nameOf);
      // Where the ledger did not learn of a removal, the same would be removed for ever.
      const isNew = names.some((name) => !before.has(name));
      before = new Set(names);
      for (const candidate of candidates) {
        if (!wanted()) return;
        if (this.#tools.pins() !== pins) break;
        // Its registry may have begun to fail.
        if (candidate.kind !== "content" && this.#tools.retention(candidate.id.namespace).keeps) continue;
        // What is in use has been used now: it is no candidate any more, and gives way to the next ones.
        await remover.remove(candidate);
      }
      // What was pinned meanwhile stays: it is asked for anew.
      if (this.#tools.pins() !== pins) {
        before = new Set();
        continue;
      }
      looked += candidates.length;
      if (!isNew || (remover.dryRun && looked >= dryRunSize)) return;
      // What a dry run has counted is there still.
      if (remover.dryRun) usedFrom = candidates.at(-1)?.usedAt ?? 0;
    }
  }

  #kept(): Namespace[] {
    const { ledger, retention } = this.#tools;
    return [...(ledger.totals?.namespaces.keys() ?? [])].filter((namespace) => retention(namespace).keeps);
  }
}
