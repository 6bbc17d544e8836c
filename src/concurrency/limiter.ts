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

/** Limits how much happens at once. */
export interface Limiter {
  /**
   * Waits for a slot. The slot is held until the function that it resolves to is called; calling that again does
   * nothing. When the signal aborts, the place in the queue is given up and the promise rejects with its reason.
   *
   * @throws {QueueFull} too many wait already.
   * @throws {Abandoned} nobody wants it any more.
   */
  acquire(queue: Queue, signal: AbortSignal, options?: AcquireOptions): Promise<() => void>;
  /** How many slots are held. */
  readonly running: number;
  /** How many wait for one. */
  readonly waiting: number;
}

const full = "too many wait for a slot";

/** Too many wait for a slot as it is. */
export class QueueFull extends Error {
  override readonly name = "QueueFull";
}

interface Waiter {
  readonly queue: Queue;
  start(): void;
  refuse(reason: unknown): void;
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
  /** In the order in which they have their turn; a queue that was served goes to the end, an empty one is removed. */
  readonly queues = new Map<string, Waiter[]>();
}

/**
 * A limiter of `slots` slots. Some are kept from bulk transfers, of all and of what a party may have: turns alone would
 * not help a manifest while every slot is held by a large blob.
 */
export function createLimiter(slots: number, options: LimiterOptions = {}): Limiter {
  const { partySlots = slots, maxWaiting = Infinity, bulkMs = Infinity } = options;
  const all = new Share(slots);
  // In the order in which they have their turn, as their queues; one that holds nothing and waits for nothing is removed.
  const parties = new Map<string, Party>();
  // The oldest first.
  const holds = new Set<Hold>();
  let waiting = 0;
  let askedBack = 0;

  const partyOf = ({ party: name = "" }: Queue): Party => {
    const party = parties.get(name) ?? new Party(partySlots);
    parties.set(name, party);
    return party;
  };

  const forget = ({ party: name = "" }: Queue): void => {
    const party = parties.get(name);
    if (party?.running === 0 && party.queues.size === 0) parties.delete(name);
  };

  const hold = (queue: Queue, giveUp: (() => void) | undefined): (() => void) => {
    const { bulk } = queue;
    const party = partyOf(queue);
    const held: Hold = { giveUp, state: "held" };
    holds.add(held);
    for (const share of [all, party]) share.add(bulk, 1);
    const overdue = (): void => {
      held.state = "overdue";
      askBack();
    };
    const timer = bulk && giveUp !== undefined && bulkMs < Infinity ? setTimeout(overdue, bulkMs).unref() : undefined;
    return () => {
      if (!holds.delete(held)) return;
      clearTimeout(timer);
      if (held.state === "asked back") askedBack -= 1;
      for (const share of [all, party]) share.add(bulk, -1);
      serve();
      forget(queue);
    };
  };

  /** Asks for one slot for each who waits for want of any. */
  const askBack = (): void => {
    if (all.mayRun(true)) return;
    for (const held of holds) {
      if (askedBack >= waiting) return;
      if (held.state === "overdue") {
        held.state = "asked back";
        askedBack += 1;
        held.giveUp?.();
      }
    }
  };

  const serve = (): void => {
    for (const [name, party] of parties) {
      for (const waiters of party.queues.values()) {
        const [next] = waiters;
        if (next !== undefined && all.mayRun(next.queue.bulk) && party.mayRun(next.queue.bulk)) {
          remove(next);
          if (waiters.length > 0) {
            party.queues.delete(next.queue.key);
            party.queues.set(next.queue.key, waiters);
          }
          parties.delete(name);
          parties.set(name, party);
          next.start();
          return;
        }
      }
    }
  };

  const remove = (waiter: Waiter): void => {
    const { queue } = waiter;
    const party = partyOf(queue);
    const waiters = party.queues.get(queue.key) ?? [];
    waiters.splice(waiters.indexOf(waiter), 1);
    waiting -= 1;
    if (waiters.length === 0) party.queues.delete(queue.key);
    forget(queue);
  };

  /** Makes room for a newcomer: of the party that waits most, in its longest queue, who came last goes. */
  const makeRoom = (queue: Queue): boolean => {
    const own = partyOf(queue);
    const most = [...parties.values()].reduce((a, b) => (countOf(b) > countOf(a) ? b : a));
    const loser = countOf(most) > countOf(own) + 1 ? most : own;
    const longest = [...loser.queues.values()].reduce<Waiter[]>((a, b) => (b.length > a.length ? b : a), []);
    const last = longest.at(-1);
    if (last === undefined || (loser === own && longest.length <= (own.queues.get(queue.key)?.length ?? 0) + 1)) {
      return false;
    }
    remove(last);
    last.refuse(new QueueFull(full));
    return true;
  };

  return {
    get running() {
      return all.running;
    },
    get waiting() {
      return waiting;
    },
    async acquire(queue, signal, { giveUp, interest } = {}) {
      signal.throwIfAborted();
      const party = partyOf(queue);
      // A slot that is free while somebody waits is one that is kept from bulk transfers, or from a party.
      if (!party.queues.has(queue.key) && all.mayRun(queue.bulk) && party.mayRun(queue.bulk)) {
        return hold(queue, giveUp);
      }
      if (waiting >= maxWaiting && !makeRoom(queue)) {
        forget(queue);
        throw new QueueFull(full);
      }
      return new Promise((resolve, reject) => {
        const watched: { stop?: () => void } = {};
        const leave = (reason: unknown): void => {
          remove(waiter);
          waiter.refuse(reason);
        };
        const abort = (): void => leave(signal.reason);
        const over = (): void => {
          signal.removeEventListener("abort", abort);
          watched.stop?.();
        };
        const waiter: Waiter = {
          queue,
          start: () => {
            over();
            resolve(hold(queue, giveUp));
          },
          refuse: (reason) => {
            over();
            reject(reason);
          },
        };
        signal.addEventListener("abort", abort, { once: true });
        const { queues } = partyOf(queue);
        const waiters = queues.get(queue.key) ?? [];
        waiters.push(waiter);
        queues.set(queue.key, waiters);
        waiting += 1;
        if (interest !== undefined) watched.stop = interest.queue(leave);
        askBack();
      });
    },
  };
}

function countOf(party: Party): number {
  return party.queues.values().reduce((sum, waiters) => sum + waiters.length, 0);
}
