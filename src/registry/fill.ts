import { setTimeout as delay } from "node:timers/promises";
import { algorithmOf, type Digest } from "../oci/digest.ts";
import { maxManifestBytes, mayBeManifest } from "../oci/manifest.ts";
import type { BufferPool } from "../store/buffers.ts";
import type { HashPool, RunningHash } from "../store/hashing.ts";
import type { Span } from "../store/object-store.ts";
import { Spool, type SpoolReader } from "../store/spool.ts";
import { Abandoned, type Asker, Interest } from "../upstream/interest.ts";
import { type Upstream, type UpstreamBlob, UpstreamError } from "../upstream/upstream.ts";
import { limitError } from "./bookkeeping.ts";
import type { Content } from "./content.ts";
import { holdBack } from "./hold-back.ts";
import type { RepositoryId } from "./layout.ts";
import { FillRoom } from "./fill-room.ts";
import { Lookup } from "./lookup.ts";
import { areManifest } from "./manifest-bytes.ts";
import type { BlobContent } from "./registry.ts";
import type { Space } from "./space.ts";

const windowBytes = 1024 * 1024;
const laggardMs = 10_000;
const hashStepBytes = 1024 * 1024;
const firstPauseMs = 100;
const longestPauseMs = 5_000;
/** What a connection that timed out must have brought to count as progress: one that drips is not taken up for ever. */
const leastProgressBytes = 64 * 1024;

/** What fills work with; the same for all of a process. */
export interface FillTools {
  readonly content: Content;
  readonly hashes: HashPool;
  readonly pool: BufferPool;
  readonly space: Pick<Space, "reserve" | "acquire">;
  /** Larger blobs are passed on without being stored. */
  readonly maxObjectBytes: number;
  /** The folder of the staging files. */
  readonly spoolFolder: string;
  readonly observer: FillObserver;
}

/** Told how fills go; for metrics and the log. */
export interface FillObserver {
  started(namespace: string): void;
  received(namespace: string, bytes: number): void;
  /** The upstream's connection broke; the fill goes on from `offset`. */
  resumed(id: RepositoryId, digest: Digest, offset: number, error: Error): void;
  /** `error` says why it failed, or why it was verified but not stored. */
  ended(id: RepositoryId, digest: Digest, outcome: FillOutcome, error: Error | undefined): void;
}

/** `abandoned`: all who wanted it had left while it waited for its turn. */
export type FillOutcome = "committed" | "unstored" | "absent" | "reused" | "abandoned" | "failed";

/** What to fetch, from whom. */
export interface FillRequest {
  readonly id: RepositoryId;
  readonly digest: Digest;
  readonly upstream: Upstream;
  /** Whether the upstream's word counts (`MirrorTools.trusted`). */
  readonly trusted: boolean;
  /**
   * What the repository's manifests say of the blob's size; used where the upstream does not tell it. Where nothing says
   * that it is a blob, it may be a manifest.
   */
  readonly expectedBytes: number | undefined;
  /**
   * Whether content that is stored meanwhile may be used, where a link to it is stored too: else the bytes are to prove
   * the right to them. False: what is stored could not be read, or is damaged.
   */
  readonly reuse: boolean;
  /** How often in a row the upstream's connection may break without progress. */
  readonly retries: number;
}

/**
 * What a fill's readers may do:
 * - `starting`: wait for `opened`.
 * - `streaming`: read what has arrived, all but the last bytes of their answer.
 * - `verified`: read everything; the digest is right. The store does not have it yet, and need never have it.
 * - `committed`: the same; new readers find it in the store.
 * - `failed`: nothing more; the bytes were wrong or did not come.
 */
export type FillState = "starting" | "streaming" | "verified" | "committed" | "failed";

/**
 * One transfer of one blob from an upstream, for any number of readers.
 *
 * It belongs to no client: once it has begun it goes on when the one that caused it leaves, and when all have, and ends
 * by itself. While it waits for its turn at the upstream, it is given up when all have left.
 */
export class Fill {
  /**
   * Settles when the upstream's headers are here: `streaming`, or `absent`, or `stored` when the content store turned
   * out to have it. Rejects when the upstream fails before.
   *
   * Registries give out manifests as blobs, too (distribution#4812), and a client that takes one for a blob keeps it as
   * that (containerd#13007). So it settles later for what may be a manifest, and is `absent` where it is one, unless a
   * manifest of the repository lists it as a blob.
   */
  readonly opened: Promise<"streaming" | "absent" | "stored">;
  /** Resolves, never rejects, when nothing is left to do. */
  readonly ended: Promise<void>;
  readonly #request: FillRequest;
  readonly #tools: FillTools;
  readonly #spool: Spool;
  readonly #abort = new AbortController();
  readonly #interest = new Interest();
  readonly #opening = Promise.withResolvers<"streaming" | "absent" | "stored">();
  readonly #verifying = Promise.withResolvers<void>();
  #state: FillState = "starting";
  #sizeBytes: number | undefined;
  #receivedBytes = 0;
  #failure: Error | undefined;
  /** Whether it may turn out to be a manifest, so that readers are yet to be told of it. */
  #mayBeManifest = false;
  /** Whether it is labelled as something else, and has not the size that is expected: it may be the page of a login. */
  #isDoubtful = false;
  readonly #room: FillRoom;

  constructor(request: FillRequest, tools: FillTools) {
    this.#request = request;
    this.#tools = tools;
    this.#room = new FillRoom({ ...tools, namespace: request.id.namespace, trusted: request.trusted });
    this.#spool = new Spool(tools.spoolFolder, { windowBytes, laggardMs, pool: tools.pool });
    this.opened = this.#opening.promise;
    // Whoever waits sees the rejection; where nobody does, nobody needs it.
    this.opened.catch(() => undefined);
    this.#verifying.promise.catch(() => undefined);
    this.ended = this.#run();
  }

  get state(): FillState {
    return this.#state;
  }

  /** Whose fill it is. */
  get id(): RepositoryId {
    return this.#request.id;
  }

  /** Whether all of it is here and right, though perhaps not in the store yet. */
  get isVerified(): boolean {
    return this.#state === "verified" || this.#state === "committed";
  }

  /** The blob's size; known at `opened` at the latest, if at all before the end. */
  get sizeBytes(): number | undefined {
    return this.#sizeBytes;
  }

  /** How much has come so far. */
  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  /** Whether it has room to be stored, and the disk takes it, as far as is known now. */
  get stores(): boolean {
    return this.#room.reservation !== undefined && this.#spool.detached === undefined;
  }

  /** Why it failed, or why it was verified but not stored; known when it has ended. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Whether a new reader can still get every byte. */
  get joinable(): boolean {
    return this.#state !== "failed" && !this.#interest.isLost && this.#spool.servesFrom(0);
  }

  /** Counts somebody as waiting for it, until what is returned is called; see `Interest`. */
  want(asker?: Asker): () => void {
    return this.#interest.join(asker);
  }

  /** A reader's view; to be closed. Taken before `opened` is awaited, so that no byte is dropped meanwhile. */
  join(asker?: Asker): BlobContent {
    const seat = this.#spool.attach();
    const leave = this.want(asker);
    const sizeBytes = (): number | undefined => this.#sizeBytes;
    return {
      get sizeBytes() {
        return sizeBytes();
      },
      read: (span, signal) => this.#read(seat, span, signal),
      close: () => {
        leave();
        return this.#spool.leave(seat);
      },
    };
  }

  /** Ends the fill; its readers fail with `reason`. */
  abort(reason: Error): void {
    this.#abort.abort(reason);
  }

  async *#read(seat: SpoolReader, span: Span | undefined, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    const start = span?.start ?? 0;
    const end = span?.end ?? this.#sizeBytes ?? Infinity;
    const bytes = this.#spool.read(seat, { start, end }, signal);
    if (this.isVerified) yield* bytes;
    else yield* holdBack(bytes, end - start, this.#verifying.promise, signal);
  }

  async #run(): Promise<void> {
    const { id, digest } = this.#request;
    const { observer } = this.#tools;
    observer.started(id.namespace);
    let outcome: FillOutcome = "failed";
    let failure: Error | undefined;
    try {
      // An earlier fill may have ended between the caller's look-up and this fill's start:
      //   1. the caller finds nothing stored, 2. the other fill commits and goes, 3. the caller starts this one.
      if (await this.#isStored()) {
        outcome = "reused";
        this.#state = "committed";
        this.#opening.resolve("stored");
      } else if (await this.#fetch()) {
        failure = await this.#commit();
        outcome = failure === undefined ? "committed" : "unstored";
      } else {
        outcome = "absent";
        this.#state = "failed";
        this.#opening.resolve("absent");
      }
    } catch (error) {
      failure = error instanceof Error ? error : new Error(String(error));
      if (error instanceof Abandoned) outcome = "abandoned";
      this.#state = "failed";
      this.#spool.fail(failure);
      this.#opening.reject(failure);
      this.#verifying.reject(failure);
    }
    await this.#spool.discard({ keepFile: outcome === "committed" });
    this.#room.release();
    this.#failure = failure;
    observer.ended(id, digest, outcome, failure);
  }

  /** Whether the content store has it, for this request. What cannot be read is fetched. */
  async #isStored(): Promise<boolean> {
    const { id, digest, reuse } = this.#request;
    if (!reuse) return false;
    const lookup = new Lookup(this.#tools.content);
    const link = await lookup.link(id, digest);
    return link !== undefined && (await lookup.statBlob(digest))?.sizeBytes === link.sizeBytes;
  }

  /** Brings the blob into the spool and checks it; false where the upstream does not have it. */
  async #fetch(): Promise<boolean> {
    const { digest, expectedBytes = 0 } = this.#request;
    if (expectedBytes > this.#tools.maxObjectBytes && !this.#spool.hasReaders) {
      throw limitError(`${expectedBytes} bytes are more than one object may have, and nobody reads them`);
    }
    const hash = this.#tools.hashes.start(algorithmOf(digest));
    try {
      const blob = await this.#ask(0);
      if (blob === undefined) return false;
      await this.#receive(blob, hash);
      this.#spool.end();
      const actual = await hash.digest().catch(() => this.#digestOfSpool());
      if (actual !== digest) {
        const form = blob.label && ` (sent as ${blob.label === "page" ? "HTML" : "encoded"})`;
        throw this.#invalid(`the content's digest is ${actual}, not ${digest}${form ?? ""}`);
      }
      if (this.#mayBeManifest && (await this.#isManifest())) return false;
      this.#state = "verified";
      this.#opening.resolve("streaming");
      this.#verifying.resolve();
      return true;
    } finally {
      hash.drop();
    }
  }

  /** Whether what has come reads as a manifest, and is not listed as a blob by now. */
  async #isManifest(): Promise<boolean> {
    const { id, digest } = this.#request;
    const { content } = this.#tools;
    const chunks: Buffer[] = [];
    const seat = this.#spool.attach();
    try {
      const whole = { start: 0, end: this.#sizeBytes ?? Infinity };
      for await (const chunk of this.#spool.read(seat, whole, this.#abort.signal)) chunks.push(Buffer.from(chunk));
    } finally {
      await this.#spool.leave(seat);
    }
    return (await areManifest(Buffer.concat(chunks))) && content.listedSize(id, digest) === undefined;
  }

  /** Takes note of what an answer may be, from its headers; readers are told of it at once where nothing is left to see. */
  #judge({ label }: UpstreamBlob): void {
    const { expectedBytes } = this.#request;
    const sizeBytes = this.#sizeBytes ?? 0;
    this.#mayBeManifest = expectedBytes === undefined && sizeBytes <= maxManifestBytes;
    this.#isDoubtful = label !== undefined && this.#sizeBytes !== expectedBytes && sizeBytes <= windowBytes / 2;
    // An answer of no bytes is complete with its headers, so there these wait for the digest.
    if (this.#sizeBytes !== 0) this.#tellReaders();
  }

  /** Takes note of bytes up to `end`, and tells readers when they cannot be a manifest's, or have to be read now. */
  #noteBytes(chunk: Uint8Array, end: number): void {
    const isFirst = end === chunk.length;
    // What is not filed is in the window alone, which ends here.
    const most = this.#spool.detached === undefined ? maxManifestBytes : windowBytes / 2;
    this.#mayBeManifest &&= end <= most && !(isFirst && !mayBeManifest(chunk));
    this.#isDoubtful &&= end <= windowBytes / 2;
    this.#tellReaders();
  }

  #tellReaders(): void {
    if (!this.#mayBeManifest && !this.#isDoubtful) this.#opening.resolve("streaming");
  }

  /** Hashes once more, from the file that the spool has open: the thread could not open it, or has ended. */
  async #digestOfSpool(): Promise<Digest> {
    const hash = this.#tools.hashes.start(algorithmOf(this.#request.digest));
    const seat = this.#spool.attach();
    try {
      const whole = { start: 0, end: this.#sizeBytes ?? Infinity };
      for await (const chunk of this.#spool.read(seat, whole, this.#abort.signal)) await hash.bytes(chunk);
      return await hash.digest();
    } finally {
      hash.drop();
      await this.#spool.leave(seat);
    }
  }

  async #ask(offset: number): Promise<UpstreamBlob | undefined> {
    const { id, digest, upstream } = this.#request;
    const known = this.#sizeBytes;
    const from = known === undefined ? { offset } : { offset, sizeBytes: known };
    // What has begun goes on, whoever leaves.
    const interest = this.#state === "starting" ? this.#interest : undefined;
    return upstream.blob(id.repository, digest, from, this.#abort.signal, interest);
  }

  /** Takes the whole body, over as many connections as it needs. */
  async #receive(first: UpstreamBlob, hash: RunningHash): Promise<void> {
    const { id, digest, retries } = this.#request;
    const progress = { offset: 0, hashed: 0 };
    let blob: UpstreamBlob | undefined = first;
    for (let failures = 0; ;) {
      if (blob === undefined) throw this.#invalid("the blob disappeared while it was being fetched");
      if (this.#state === "starting") {
        this.#sizeBytes = blob.sizeBytes ?? this.#request.expectedBytes;
        this.#state = "streaming";
        // First, so that who is told of the answer knows whether there is room.
        const { expectedBytes = blob.sizeBytes } = this.#request;
        const isContradicted = blob.sizeBytes !== undefined && blob.sizeBytes !== expectedBytes;
        const taken = this.#room.take(isContradicted ? undefined : this.#sizeBytes, this.#abort.signal);
        this.#judge(blob);
        this.#passOn(await taken);
      }
      const before = progress.offset;
      try {
        await this.#take(blob, hash, progress);
        return;
      } catch (error) {
        if (!(error instanceof UpstreamError) || error.failure === "invalid") throw error;
        const leastBytes = error.failure === "timeout" ? leastProgressBytes : 1;
        failures = progress.offset - before >= leastBytes ? 1 : failures + 1;
        if (failures > retries) throw error;
        this.#tools.observer.resumed(id, digest, progress.offset, error);
        await this.#pause(failures);
      }
      blob = await this.#ask(progress.offset);
    }
  }

  /** Where there is a reason why it may not be stored, the body is only passed on from here. */
  #passOn(reason: string | undefined): void {
    if (reason !== undefined) this.#spool.detach(limitError(reason));
  }

  /** Takes one connection's bytes; throws where the body ends before the blob does. */
  async #take(blob: UpstreamBlob, hash: RunningHash, progress: { offset: number; hashed: number }): Promise<void> {
    const spool = this.#spool;
    const signal = this.#abort.signal;
    for await (const chunk of blob.body) {
      const end = progress.offset + chunk.length;
      if (this.#sizeBytes !== undefined && end > this.#sizeBytes) {
        throw this.#invalid(`the body is longer than the ${this.#sizeBytes} bytes that were announced`);
      }
      if (spool.detached === undefined) this.#passOn(this.#room.cover(end));
      this.#noteBytes(chunk, end);
      await spool.write(progress.offset, chunk, signal);
      this.#room.note(spool.filedBytes);
      this.#tools.observer.received(this.#request.id.namespace, chunk.length);
      progress.offset = end;
      this.#receivedBytes = end;
      if (spool.detached === undefined) {
        if (end - progress.hashed >= hashStepBytes || end === this.#sizeBytes) {
          hash.file(spool.path, spool.filedBytes);
          progress.hashed = spool.filedBytes;
        }
      } else {
        if (!spool.hasReaders) throw spool.detached;
        if (progress.hashed < spool.filedBytes) hash.file(spool.path, spool.filedBytes);
        progress.hashed = end;
        await hash.bytes(chunk);
      }
    }
    if (this.#sizeBytes !== undefined && progress.offset < this.#sizeBytes) {
      throw new UpstreamError(
        "upstream",
        "unreachable",
        `the body ended at ${progress.offset} of ${this.#sizeBytes} bytes`,
      );
    }
    this.#sizeBytes ??= progress.offset;
    if (spool.detached === undefined && progress.hashed < progress.offset) hash.file(spool.path, spool.filedBytes);
  }

  /** Stores what is verified; the reason where that fails. Clients never wait for it. */
  async #commit(): Promise<Error | undefined> {
    const { id, digest } = this.#request;
    const { content } = this.#tools;
    const size = this.#sizeBytes ?? 0;
    if (this.#spool.detached !== undefined) return this.#spool.detached;
    try {
      if (size === 0) await this.#spool.write(0, new Uint8Array(0), this.#abort.signal);
      await content.commitBlob(id, digest, { path: this.#spool.path, size }, this.#room.reservation);
      this.#state = "committed";
      return undefined;
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  }

  async #pause(failures: number): Promise<void> {
    const longest = Math.min(longestPauseMs, firstPauseMs * 2 ** (failures - 1));
    await delay(longest * (0.5 + Math.random() / 2), undefined, { signal: this.#abort.signal });
  }

  #invalid(message: string): UpstreamError {
    return new UpstreamError(this.#request.id.namespace, "invalid", message);
  }
}
