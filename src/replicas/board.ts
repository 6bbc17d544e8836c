import { randomUUID } from "node:crypto";
import type { Clock } from "../concurrency/clock.ts";
import { isObject } from "../oci/document.ts";
import type { BudgetEntries } from "../upstream/budget.ts";
import { deleteUnchanged, errorOf, type Key, type ObjectStore, type Version } from "../store/object-store.ts";
import { readRecord } from "../store/read-record.ts";
import { noticesPrefix } from "./notices.ts";
import type { SharedSecret } from "./shared-secret.ts";

/** How often a replica looks who else is there, in milliseconds; it writes that it is there itself, too, when that has
 * changed, and every other time. */
const lookMs = 5_000;
const beatMs = 2 * lookMs;
/** Whoever wrote nothing for so long is not there. */
const goneMs = 35_000;
/** What nobody has written to for so long is removed. */
const forgottenMs = 600_000;
/** How often is removed what replicas have left behind that are gone. */
const sweepMs = 3_600_000;

const boardPrefix = "replicas" as Key;
const membersPrefix = `${boardPrefix}/members` as Key;

/** A replica's name: a new one for each process. */
export type ReplicaId = string & { readonly __brand: "ReplicaId" };

/** What a replica tells of itself. */
export interface Tells {
  /** What it fetches for all, or has just fetched: the names of leases, and not more than a hundred. */
  readonly fetching: readonly string[];
  /** What upstreams have told it of their limits, and which of them fail for it, by namespace. */
  readonly budgets: Readonly<Record<string, BudgetEntries>>;
  readonly failing: readonly string[];
}

/** A replica that is there. */
export interface Replica {
  readonly id: ReplicaId;
  /** Where it answers its peers: `http://10.0.0.7:5001`. */
  readonly address: string;
  /** What it tells of itself. */
  readonly tells: Tells;
  /** When it was last heard of, in milliseconds before now. */
  readonly silentMs: number;
}

/** Told of who comes and goes, and of what fails; for the log. */
export interface BoardObserver {
  joined(replica: Pick<Replica, "id" | "address">): void;
  left(replica: Pick<Replica, "id" | "address">): void;
  /** Something is there that is signed with another secret, or is no replica's; told once. */
  strange(id: ReplicaId): void;
  /** The board could not be read or written; told once until it can be. */
  failed(error: Error): void;
  recovered(): void;
}

/** What the board works with. */
export interface BoardOptions {
  readonly store: ObjectStore;
  readonly secret: SharedSecret;
  /** What this one tells of itself. */
  readonly tells: () => Tells;
  /** Told of what another one tells, whenever it has written it. */
  readonly onTold: (tells: Tells) => void;
  /** Told of the notices that there are, at each look. */
  readonly onNotices: (keys: ReadonlySet<Key>) => Promise<void>;
  /** Removes what replicas have left behind that are gone; called once an hour. */
  readonly sweep?: () => Promise<void>;
  readonly clock: Clock;
  readonly observer: BoardObserver;
}

interface Known {
  readonly version: Version;
  readonly record: SealedText | undefined;
  /** By this machine's clock, which nobody sets. */
  readonly changedAt: number;
}

/** What stands in the bucket of a replica: signed, so that no address counts which no replica has written. */
interface BoardRecord {
  readonly text: string;
  readonly signature: string;
}

interface SealedText {
  readonly address: string;
  readonly form: number;
  readonly tells: Tells;
}

/** Goes up with every change of what `Tells` is: of what has another form nothing but the address counts. */
const tellsForm = 1;
const silence: Tells = { fetching: [], budgets: {}, failing: [] };

/**
 * Who is there: each replica writes an object of its own every 10 s, and all look at all of them every 5 s. Whether one
 * is there goes by when its object changed, as this machine sees it: clocks of different machines are never compared.
 */
export class Board {
  /** This replica. */
  readonly self: ReplicaId = randomUUID() as ReplicaId;
  readonly #options: BoardOptions;
  readonly #known = new Map<ReplicaId, Known>();
  /** What was told of that is no replica. */
  readonly #strange = new Set<ReplicaId>();
  readonly #stopping = new AbortController();
  readonly #posted = Promise.withResolvers<void>();
  /** What of the work below fails now. */
  readonly #failing = new Set<() => Promise<void>>();
  #running: Promise<unknown> = Promise.resolve();
  /** When it was last seen who is there: whoever could not look has not seen anybody be silent. */
  #lookedAt = -Infinity;
  #sweptAt = 0;
  #beats = 0;
  #told = { text: "", at: -Infinity };
  #address = "";

  constructor(options: BoardOptions) {
    this.#options = options;
  }

  /** Where this replica answers its peers; empty before the start. */
  get address(): string {
    return this.#address;
  }

  /** Resolves when others can find this replica here. */
  get posted(): Promise<void> {
    return this.#posted.promise;
  }

  /** The other replicas that are there. */
  get others(): readonly Replica[] {
    const now = this.#options.clock.monotonic();
    return [...this.#known].flatMap(([id, known]) =>
      known.record === undefined || this.#isSilent(known)
        ? []
        : [{ id, ...known.record, silentMs: now - known.changedAt }],
    );
  }

  /** @param address Where this replica answers its peers: `http://10.0.0.7:5001`. */
  start(address: string): void {
    this.#address = address;
    this.#sweptAt = this.#options.clock.monotonic();
    // Apart, as what a notice asks for may take long, in which this one is there all the same.
    this.#running = Promise.all([this.#keep(() => this.#beat()), this.#keep(() => this.#lookAndSweep())]);
  }

  /** Says that this replica is gone. */
  async close(): Promise<void> {
    this.#stopping.abort(new Error("the process is stopping"));
    await this.#running;
    // Others find out by themselves where this fails.
    if (this.#beats > 0) await this.#options.store.delete(keyOf(this.self)).catch(() => undefined);
  }

  /** Where a replica answers; `undefined` for one that is not there, or cannot be told. */
  async addressOf(id: ReplicaId): Promise<string | undefined> {
    const known = this.#known.get(id);
    if (known !== undefined) return this.#isSilent(known) ? undefined : known.record?.address;
    // It came since this one looked last.
    return (await this.#read(id))?.address;
  }

  /** Looks who is there, now. Throws what fails. */
  async look(): Promise<void> {
    const { store, clock, observer, onNotices, onTold } = this.#options;
    const found = new Set<ReplicaId>();
    const notices = new Set<Key>();
    // One listing for both.
    for await (const { key, version } of store.list(boardPrefix)) {
      if (key.startsWith(`${noticesPrefix}/`)) notices.add(key);
      if (!key.startsWith(`${membersPrefix}/`)) continue;
      const id = key.slice(membersPrefix.length + 1) as ReplicaId;
      if (id === this.self) continue;
      found.add(id);
      const before = this.#known.get(id);
      const now = clock.monotonic();
      if (before?.version === version) {
        this.#noteStrange(id, before);
        // A replica that was killed does not clear up after itself.
        if (now - before.changedAt >= forgottenMs) await deleteUnchanged(store, key, version);
        continue;
      }
      const record = await this.#read(id);
      this.#known.set(id, { version, record, changedAt: now });
      if (before !== undefined && record === undefined) this.#noteStrange(id, before);
      if (record !== undefined) onTold(record.tells);
      if (before?.record === undefined && record !== undefined) observer.joined({ id, address: record.address });
    }
    for (const [id, { record }] of this.#known) {
      if (found.has(id)) continue;
      this.#known.delete(id);
      this.#strange.delete(id);
      if (record !== undefined) observer.left({ id, address: record.address });
    }
    this.#lookedAt = clock.monotonic();
    await onNotices(notices);
  }

  /** Tells of what could not be read twice: once may be that it has just gone. */
  #noteStrange(id: ReplicaId, before: Known): void {
    if (before.record !== undefined || this.#strange.has(id)) return;
    this.#strange.add(id);
    this.#options.observer.strange(id);
  }

  #isSilent({ changedAt }: Known): boolean {
    return this.#lookedAt - changedAt >= goneMs;
  }

  async #lookAndSweep(): Promise<void> {
    const { clock, sweep } = this.#options;
    await this.look();
    if (sweep === undefined || clock.monotonic() - this.#sweptAt < sweepMs) return;
    this.#sweptAt = clock.monotonic();
    await sweep();
  }

  async #beat(): Promise<void> {
    const { store, secret, tells, clock } = this.#options;
    const now = tells();
    const told = JSON.stringify(now);
    if (told === this.#told.text && clock.monotonic() - this.#told.at < beatMs) return;
    const text = JSON.stringify({ address: this.#address, form: tellsForm, tells: now, beat: ++this.#beats });
    const record: BoardRecord = { text, signature: secret.sign("replica", this.self, text) };
    await store.put(keyOf(this.self), Buffer.from(JSON.stringify(record)));
    this.#told = { text: told, at: clock.monotonic() };
    this.#posted.resolve();
  }

  async #read(id: ReplicaId): Promise<SealedText | undefined> {
    const { store, secret } = this.#options;
    const record = await readRecord(store, keyOf(id), isBoardRecord);
    if (record === undefined || !secret.isSigned(record.signature, "replica", id, record.text)) return undefined;
    const sealed = JSON.parse(record.text) as SealedText;
    return sealed.form === tellsForm ? sealed : { ...sealed, tells: silence };
  }

  async #keep(work: () => Promise<void>): Promise<void> {
    const { clock, observer } = this.#options;
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      try {
        await work();
        if (this.#failing.delete(work) && this.#failing.size === 0) observer.recovered();
      } catch (error) {
        if (this.#failing.size === 0 && !signal.aborted) observer.failed(errorOf(error));
        this.#failing.add(work);
      }
      await clock.wait(lookMs, signal).catch(() => undefined);
    }
  }
}

function keyOf(id: ReplicaId): Key {
  return `${membersPrefix}/${id}` as Key;
}

function isBoardRecord(value: unknown): value is BoardRecord {
  return isObject(value) && typeof value["text"] === "string" && typeof value["signature"] === "string";
}
