import { algorithmOf } from "../oci/digest.ts";
import { errorOf, type Span } from "../store/object-store.ts";
import { Spool, type SpoolReader } from "../store/spool.ts";
import { Abandoned, type Asker, Interest } from "../concurrency/interest.ts";
import { type UpstreamBlob, UpstreamError } from "../upstream/upstream.ts";
import { limitError } from "./bookkeeping.ts";
import { resuming } from "./fill-body.ts";
import { FillDoubt } from "./fill-doubt.ts";
import { FillHash } from "./fill-hash.ts";
import { FillRoom } from "./fill-room.ts";
import type { BlobSource, FillOutcome, FillRequest, FillState, FillTools } from "./fill-tools.ts";
import { holdBack } from "./hold-back.ts";
import type { RepositoryId } from "../store/layout.ts";
import { areManifest } from "./manifest-bytes.ts";
import type { BlobContent } from "./registry.ts";

const windowBytes = 1024 * 1024;
const laggardMs = 10_000;

/**
 * One transfer of one blob from its source, an upstream mostly, for any number of readers.
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
  /** Whose fill it is. */
  readonly id: RepositoryId;
  /** Whence it comes. */
  readonly source: BlobSource;
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
  readonly #room: FillRoom;
  /** What is not filed is in the window alone, which ends there. */
  readonly #doubt = new FillDoubt(windowBytes / 2);

  constructor(request: FillRequest, tools: FillTools) {
    this.#request = request;
    this.id = request.id;
    this.source = request.source;
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
      if (await this.#request.isStored()) {
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
      failure = errorOf(error);
      if (error instanceof Abandoned) outcome = "abandoned";
      this.#state = "failed";
      this.#spool.fail(failure);
      this.#opening.reject(failure);
      this.#verifying.reject(failure);
    }
    await this.#spool.discard();
    this.#room.release();
    this.#failure = failure;
    observer.ended(id, digest, outcome, failure);
  }

  /** Brings the blob into the spool and checks it; false where the upstream does not have it. */
  async #fetch(): Promise<boolean> {
    const { id, digest, expectedBytes = 0 } = this.#request;
    if (expectedBytes > this.#tools.maxObjectBytes && !this.#spool.hasReaders) {
      throw limitError(`${expectedBytes} bytes are more than one object may have, and nobody reads them`);
    }
    const hash = new FillHash(this.#tools.hashes, algorithmOf(digest), this.#spool);
    try {
      const blob = await this.#ask(0);
      if (blob === undefined) return false;
      await this.#receive(blob, hash);
      this.#spool.end();
      const actual = await hash.digest(this.#bytes());
      if (actual !== digest) {
        const form = blob.label && ` (sent as ${blob.label === "page" ? "HTML" : "encoded"})`;
        const message = `the content's digest is ${actual}, not ${digest}${form ?? ""}`;
        throw new UpstreamError(id.namespace, "invalid", message);
      }
      if (this.#doubt.mayBeManifest && (await this.#isManifest())) return false;
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
    const chunks: Uint8Array[] = [];
    for await (const chunk of this.#bytes()) chunks.push(Buffer.from(chunk));
    return (await areManifest(Buffer.concat(chunks))) && this.#tools.content.listedSize(id, digest) === undefined;
  }

  /** All that has come, read once more. */
  async *#bytes(): AsyncGenerator<Uint8Array> {
    const seat = this.#spool.attach();
    try {
      yield* this.#spool.read(seat, { start: 0, end: this.#sizeBytes ?? Infinity }, this.#abort.signal);
    } finally {
      await this.#spool.leave(seat);
    }
  }

  /** Tells readers of the answer where it cannot be something else any more. */
  #tellReaders(): void {
    if (!this.#doubt.isOpen) this.#opening.resolve("streaming");
  }

  /** Asks for the blob from an offset on. */
  async #ask(offset: number): Promise<UpstreamBlob | undefined> {
    const { source } = this.#request;
    const known = this.#sizeBytes;
    const from = known === undefined ? { offset } : { offset, sizeBytes: known };
    // What has begun goes on, whoever leaves.
    const interest = this.#state === "starting" ? this.#interest : undefined;
    return source.open(from, { signal: this.#abort.signal, interest });
  }

  /** Takes the whole body; readers are told of it as soon as they may be. */
  async #receive(blob: UpstreamBlob, hash: FillHash): Promise<void> {
    const { id, digest, retries } = this.#request;
    const { observer } = this.#tools;
    const spool = this.#spool;
    const { signal } = this.#abort;
    await this.#begin(blob);
    const options = {
      sizeBytes: this.#sizeBytes,
      ask: (offset: number) => this.#ask(offset),
      retries,
      host: id.namespace,
      onBreak: (offset: number, error: Error) => observer.resumed(id, digest, offset, error),
    };
    for await (const chunk of resuming(blob, options, signal)) {
      const start = this.#receivedBytes;
      const end = start + chunk.length;
      if (spool.detached === undefined) this.#passOn(this.#room.cover(end));
      this.#doubt.noteBytes(chunk, end, spool.detached === undefined);
      this.#tellReaders();
      await spool.write(start, chunk, signal);
      this.#room.note(spool.filedBytes);
      observer.received(id.namespace, chunk.length);
      this.#receivedBytes = end;
      if (spool.detached !== undefined && !spool.hasReaders) throw spool.detached;
      await hash.take(chunk, end);
    }
    this.#sizeBytes ??= this.#receivedBytes;
    hash.catchUp();
  }

  /** Takes note of the first answer's headers, and sets room aside for what they announce. */
  async #begin({ sizeBytes, label }: UpstreamBlob): Promise<void> {
    const { expectedBytes } = this.#request;
    this.#sizeBytes = sizeBytes ?? expectedBytes;
    this.#state = "streaming";
    const isContradicted = sizeBytes !== undefined && sizeBytes !== (expectedBytes ?? sizeBytes);
    // First, so that who is told of the answer knows whether there is room.
    const taken = this.#room.take(isContradicted ? undefined : this.#sizeBytes, this.#abort.signal);
    this.#doubt.noteHeaders(label, { sizeBytes: this.#sizeBytes, expectedBytes });
    // An answer of no bytes is complete with its headers, so there these wait for the digest.
    if (this.#sizeBytes !== 0) this.#tellReaders();
    this.#passOn(await taken);
  }

  /** Where there is a reason why it may not be stored, the body is only passed on from here. */
  #passOn(reason: string | undefined): void {
    if (reason !== undefined) this.#spool.detach(limitError(reason));
  }

  /** Stores what is verified; the reason where that fails. Clients never wait for it. */
  async #commit(): Promise<Error | undefined> {
    const { id, digest } = this.#request;
    const { content } = this.#tools;
    const size = this.#sizeBytes ?? 0;
    if (this.#spool.detached !== undefined) return this.#spool.detached;
    try {
      if (size === 0) await this.#spool.write(0, new Uint8Array(0), this.#abort.signal);
      await content.commitBlob(id, digest, this.#spool.staged(size), this.#room.reservation);
      this.#state = "committed";
      return undefined;
    } catch (error) {
      return errorOf(error);
    }
  }
}
