import type { Interest } from "./interest.ts";

/** A queue of the limiter: who waits in one is served in order, and the queues take turns. */
export interface Queue {
  readonly key: string;
  /** Transfers that may take minutes. They never take the last slots, so that small requests go on beside them. */
  readonly bulk: boolean;
  /** Whose it is: parties take turns, and then the queues of each. Left out, all are one party's. */
  readonly party?: string;
}

/** How a limiter treats those who share it. */
export interface LimiterOptions {
  /** How many slots one party may hold. Default: all. */
  readonly partySlots?: number;
  /** How many may wait. Where more come, the longest queue loses its last one. Default: as many as like. */
  readonly maxWaiting?: number;
  /** For how long a bulk transfer may hold a slot that somebody waits for, in milliseconds. Default: as it likes. */
  readonly bulkMs?: number;
}

/** What else there is to know of one who wants a slot. */
export interface AcquireOptions {
  /** Called, once, when somebody waits for the slot and it was held for too long: it is to be given back. */
  readonly giveUp?: () => void;
  /** Who wants what the slot is for. A slot that is free is given also for nobody. */
  readonly interest?: Interest | undefined;
}

const full = "too many wait for a slot";

/** Too many wait for a slot as it is. */
export class QueueFull extends Error {
  override readonly name = "QueueFull";
}

/** Somebody who waits for a slot. */
interface Waiter {
  readonly queue: Queue;
  readonly start: () => void;
  readonly refuse: (reason: unknown) => void;
}

interface Hold {
  readonly giveUp: (() => void) | undefined;
  state: "held" | "overdue" | "asked back";
}

/** The slots that somebody holds, and those of them that bulk transfers do. */
class Share {
  readonly #slots: number;
  readonly #bulkSlots: number;
  #running = 0;
  #bulk = 0;

  /** A quarter of the slots (at least one, where there are two) is kept from bulk transfers. */
  constructor(slots: number) {
    this.#slots = slots;
    this.#bulkSlots = slots <= 1 ? slots : slots - Math.max(1, Math.floor(slots / 4));
  }

  get running(): number {
    return this.#running;
  }

  mayRun(bulk: boolean): boolean {
    return this.#running < this.#slots && (!bulk || this.#bulk < this.#bulkSlots);
  }

  add(bulk: boolean, count: 1 | -1): void {
    this.#running += count;
    if (bulk) this.#bulk += count;
  }
}

/** What one party holds, and who waits on its behalf. */
class Party extends Share {
  readonly name: string;
  /** In the order in which they have their turn; a queue that was served goes to the end, an empty one is removed. */
  readonly queues = new Map<string, Waiter[]>();

  constructor(name: string, slots: number) {
    super(slots);
    this.name = name;
  }

  get waiting(): number {
    return this.queues.values().reduce((sum, waiters) => sum + waiters.length, 0);
  }
}

/**
 * Limits how much happens at once. Some slots are kept from bulk transfers, of all and of what a party may have: turns
 * alone would not help a manifest while every slot is held by a large blob.
 */
export class Limiter {
  readonly #all: Share;
  readonly #partySlots: number;
  readonly #maxWaiting: number;
  readonly #bulkMs: number;
  /** In the order in which they have their turn; one that holds nothing and waits for nothing is removed. */
  readonly #parties = new Map<string, Party>();
  /** The oldest first. */
  readonly #holds = new Set<Hold>();
  #waiting = 0;
  #askedBack = 0;

  constructor(slots: number, options: LimiterOptions = {}) {
    const { partySlots = slots, maxWaiting = Infinity, bulkMs = Infinity } = options;
    this.#all = new Share(slots);
    this.#partySlots = partySlots;
    this.#maxWaiting = maxWaiting;
    this.#bulkMs = bulkMs;
  }

  /** How many slots are held. */
  get running(): number {
    return this.#all.running;
  }

  /** How many wait for one. */
  get waiting(): number {
    return this.#waiting;
  }

  /**
   * Waits for a slot. The slot is held until the function that it resolves to is called; calling that again does
   * nothing. When the signal aborts, the place in the queue is given up and the promise rejects with its reason.
   *
   * @throws {QueueFull} too many wait already.
   * @throws {Abandoned} nobody wants it any more.
   */
  async acquire(queue: Queue, signal: AbortSignal, options: AcquireOptions = {}): Promise<() => void> {
    signal.throwIfAborted();
    const party = this.#partyOf(queue);
    // A slot that is free while somebody waits is one that is kept from bulk transfers, or from a party.
    if (!party.queues.has(queue.key) && this.#mayRun(party, queue)) return this.#hold(party, queue, options.giveUp);
    if (this.#waiting >= this.#maxWaiting && !this.#makeRoom(party, queue)) {
      this.#forget(party);
      throw new QueueFull(full);
    }
    return this.#wait(party, queue, signal, options);
  }

  #wait(party: Party, queue: Queue, signal: AbortSignal, { giveUp, interest }: AcquireOptions): Promise<() => void> {
    const slot = Promise.withResolvers<() => void>();
    let unwatch = (): void => undefined;
    const leave = (reason: unknown): void => {
      this.#remove(party, waiter);
      this.#forget(party);
      waiter.refuse(reason);
    };
    const abort = (): void => leave(signal.reason);
    const over = (): void => {
      signal.removeEventListener("abort", abort);
      unwatch();
    };
    const waiter: Waiter = {
      queue,
      start: () => {
        over();
        slot.resolve(this.#hold(party, queue, giveUp));
      },
      refuse: (reason) => {
        over();
        slot.reject(reason);
      },
    };
    signal.addEventListener("abort", abort, { once: true });
    const waiters = party.queues.get(queue.key) ?? [];
    waiters.push(waiter);
    party.queues.set(queue.key, waiters);
    this.#waiting += 1;
    if (interest !== undefined) unwatch = interest.queue(leave);
    this.#askBack();
    return slot.promise;
  }

  #hold(party: Party, { bulk }: Queue, giveUp: (() => void) | undefined): () => void {
    const held: Hold = { giveUp, state: "held" };
    this.#holds.add(held);
    for (const share of [this.#all, party]) share.add(bulk, 1);
    const overdue = (): void => {
      held.state = "overdue";
      this.#askBack();
    };
    const isTimed = bulk && giveUp !== undefined && this.#bulkMs < Infinity;
    const timer = isTimed ? setTimeout(overdue, this.#bulkMs).unref() : undefined;
    return () => {
      if (!this.#holds.delete(held)) return;
      clearTimeout(timer);
      if (held.state === "asked back") this.#askedBack -= 1;
      for (const share of [this.#all, party]) share.add(bulk, -1);
      this.#serve();
      this.#forget(party);
    };
  }

  /** Asks for one slot for each who waits for want of any. */
  #askBack(): void {
    if (this.#all.mayRun(true)) return;
    for (const held of this.#holds) {
      if (this.#askedBack >= this.#waiting) return;
      if (held.state === "overdue") {
        held.state = "asked back";
        this.#askedBack += 1;
        held.giveUp?.();
      }
    }
  }

  /** Gives a slot to who has the next turn; the party and the queue go to the end of theirs. */
  #serve(): void {
    for (const party of this.#parties.values()) {
      for (const [key, waiters] of party.queues) {
        const [next] = waiters;
        if (next === undefined || !this.#mayRun(party, next.queue)) continue;
        this.#remove(party, next);
        if (party.queues.delete(key)) party.queues.set(key, waiters);
        this.#parties.delete(party.name);
        this.#parties.set(party.name, party);
        next.start();
        return;
      }
    }
  }

  /** Makes room for a newcomer: of the party that waits most, in its longest queue, who came last goes. */
  #makeRoom(own: Party, queue: Queue): boolean {
    const most = this.#parties.values().reduce((a, b) => (b.waiting > a.waiting ? b : a));
    const loser = most.waiting > own.waiting + 1 ? most : own;
    const longest = loser.queues.values().reduce<Waiter[]>((a, b) => (b.length > a.length ? b : a), []);
    const last = longest.at(-1);
    if (last === undefined || (loser === own && longest.length <= (own.queues.get(queue.key)?.length ?? 0) + 1)) {
      return false;
    }
    this.#remove(loser, last);
    last.refuse(new QueueFull(full));
    return true;
  }

  #remove({ queues }: Party, waiter: Waiter): void {
    const { key } = waiter.queue;
    const waiters = queues.get(key) ?? [];
    waiters.splice(waiters.indexOf(waiter), 1);
    this.#waiting -= 1;
    if (waiters.length === 0) queues.delete(key);
  }

  #mayRun(party: Party, { bulk }: Queue): boolean {
    return this.#all.mayRun(bulk) && party.mayRun(bulk);
  }

  #partyOf({ party: name = "" }: Queue): Party {
    const party = this.#parties.get(name) ?? new Party(name, this.#partySlots);
    this.#parties.set(name, party);
    return party;
  }

  #forget(party: Party): void {
    if (party.running === 0 && party.queues.size === 0) this.#parties.delete(party.name);
  }
}
