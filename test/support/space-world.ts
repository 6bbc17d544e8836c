import assert from "node:assert/strict";
import { cpSync } from "node:fs";
import { rm } from "node:fs/promises";
import type { Digest } from "../../src/oci/digest.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { createBarrier } from "./barrier.ts";
import { adminListen, adminOf, type CacheAdmin } from "./cache-admin.ts";
import { type CacheFolder, linkName, readCacheFolder } from "./cache-folder.ts";
import { until } from "./event-loop.ts";
import { open, type OpenResponse } from "./http.ts";
import { type Mirror, startMirror } from "./mirror.ts";
import { reachOf, type SpaceContent, type SpaceImage } from "./space-content.ts";
import { createTemporaryDirectory, type TemporaryDirectory } from "./temporary.ts";

/** The limits of a world. */
export interface SpaceSettings {
  readonly maxBytes: number;
  readonly quayBytes: number | undefined;
  readonly lowWatermark: number;
  readonly idleMs: number;
}

/** When something was last used, as far as that must be known. */
export interface Used {
  low: number;
  high: number;
}

const ledgerReady = "the ledger is in line with the storage";
const recordsBytes = 16 * 4096;
const honest = [502, 503, 504];

/** A mirror in this process, with what a model knows of it. Time passes only as the world says. */
export class SpaceWorld implements AsyncDisposable {
  readonly content: SpaceContent;
  readonly settings: SpaceSettings;
  /** Later than all times of files. */
  readonly #startedAt: number = Date.now() + 3_600_000;
  now: number = this.#startedAt;
  readonly down: Set<string> = new Set();
  readonly pins: Set<string> = new Set();
  /** By link. */
  readonly uses: Map<string, Used> = new Map();
  /** What was asked for in this step: it may have been in use at any moment of it. */
  readonly touched: Set<Digest> = new Set();
  #mirror: Mirror | undefined;
  #admin: CacheAdmin | undefined;
  readonly #folder: TemporaryDirectory;
  #root: string;
  #crashes = 0;

  private constructor(content: SpaceContent, settings: SpaceSettings, folder: TemporaryDirectory) {
    this.content = content;
    this.settings = settings;
    this.#folder = folder;
    this.#root = `${folder.path}/root`;
  }

  static async start(content: SpaceContent, settings: SpaceSettings): Promise<SpaceWorld> {
    const world = new SpaceWorld(content, settings, await createTemporaryDirectory());
    await world.#start(true);
    return world;
  }

  get mirror(): Mirror {
    assert.ok(this.#mirror !== undefined);
    return this.#mirror;
  }

  get admin(): CacheAdmin {
    assert.ok(this.#admin !== undefined);
    return this.#admin;
  }

  get folder(): CacheFolder {
    return readCacheFolder(this.#root);
  }

  async #start(reads: boolean): Promise<void> {
    const [hub, quay] = ["docker.io", "quay.io"].map((each) => this.content.upstreams.get(each)?.host ?? "");
    const idle = {
      blobInvalidationMs: this.settings.idleMs,
      manifestInvalidationMs: Math.min(20_000, this.settings.idleMs),
    };
    this.#mirror = await startMirror(hub ?? "", {
      root: this.#root,
      graceMs: 0,
      now: () => this.now,
      config: { adminListen, log: { level: "debug", format: "json" } },
      storage: {
        maxSize: { kind: "bytes", bytes: this.settings.maxBytes },
        highWatermark: 0.9,
        lowWatermark: this.settings.lowWatermark,
      },
      upstream: idle,
      others: [{ namespace: "quay.io", host: quay ?? "", ...idle, maxBytes: this.settings.quayBytes }],
    });
    this.#admin = adminOf(this.#mirror);
    if (reads) await this.#mirror.logged({ msg: ledgerReady });
    await until(async () => (await this.admin.usage()).exact);
  }

  /** Waits until nothing is under way. */
  async settle(): Promise<void> {
    await this.mirror.app.idle();
    await this.admin.evict({ dryRun: true });
    await this.mirror.app.idle();
  }

  /** What the mirror reads of a path; `undefined` where it says honestly that its upstream is away. */
  async #read(
    image: SpaceImage,
    path: string,
    headers: Record<string, string> = {},
    method = "GET",
  ): Promise<Buffer | undefined> {
    const { namespace, name } = image.repository;
    const answer = await this.mirror.get(`/v2/${name}/${path}?ns=${namespace}`, { headers, method });
    if (answer.status < 300) return answer.body;
    assert.ok(this.down.has(namespace), `${method} ${path}: ${answer.status} ${answer.body.toString()}`);
    assert.ok(honest.includes(answer.status), `${method} ${path}: ${answer.status} ${answer.body.toString()}`);
    return undefined;
  }

  #use(image: SpaceImage, digest: Digest, sure: boolean): void {
    this.touched.add(digest);
    const name = linkName(image.repository.full, digest);
    const used = this.uses.get(name) ?? { low: 0, high: 0 };
    this.uses.set(name, { low: sure ? this.now : used.low, high: this.now });
  }

  /** Pulls an image as a client does; whether all of it came. What comes is right, or this throws. */
  async pull(image: SpaceImage, by: "tag" | "digest"): Promise<boolean> {
    for (const digest of reachOf(this.content.children, image.digest)) this.#use(image, digest, false);
    const root = await this.#read(image, `manifests/${by === "tag" ? image.tag : image.digest}`);
    if (root === undefined) return false;
    assert.equal(digestOf(root), image.digest);
    this.#use(image, image.digest, true);
    for (const digest of reachOf(this.content.children, image.digest).slice(1)) {
      const kind = this.content.children.has(digest) ? "manifests" : "blobs";
      const bytes = await this.#read(image, `${kind}/${digest}`);
      if (bytes === undefined) return false;
      assert.equal(digestOf(bytes), digest);
      this.#use(image, digest, true);
    }
    return true;
  }

  async head(image: SpaceImage, blob: number): Promise<void> {
    const digest = image.blobs[blob % image.blobs.length] ?? image.digest;
    for (const [path, used] of [
      [`manifests/${image.tag}`, image.digest],
      [`blobs/${digest}`, digest],
    ] as const) {
      this.#use(image, used, false);
      if ((await this.#read(image, path, {}, "HEAD")) !== undefined) this.#use(image, used, true);
    }
  }

  async range(image: SpaceImage, blob: number): Promise<void> {
    const digest = image.blobs[blob % image.blobs.length] ?? image.digest;
    this.#use(image, digest, false);
    const bytes = await this.#read(image, `blobs/${digest}`, { range: "bytes=3-40" });
    if (bytes === undefined) return;
    assert.equal(bytes.length, 38);
    this.#use(image, digest, true);
  }

  /** Reads a blob half, does something, and reads the rest. */
  async during(image: SpaceImage, blob: number, work: () => Promise<void>): Promise<void> {
    const { namespace, name } = image.repository;
    const digest = image.blobs[blob % image.blobs.length] ?? image.digest;
    const upstream = this.content.upstreams.get(namespace);
    const barrier = createBarrier();
    this.#use(image, digest, false);
    upstream?.when({ path: `/blobs/${digest}` }, { stallAfterBytes: 1_000, stallAt: barrier });
    let half: OpenResponse | undefined;
    try {
      half = await open(`${this.mirror.url}/v2/${name}/blobs/${digest}?ns=${namespace}`);
      upstream?.behave();
      await work();
      const { chargedBytes, temporaryBytes } = this.folder;
      const told = `${chargedBytes} + ${temporaryBytes} are stored`;
      assert.ok(chargedBytes <= this.settings.maxBytes, told);
      // Records that are just being written lie beside those that they replace.
      assert.ok(chargedBytes + temporaryBytes <= this.settings.maxBytes + recordsBytes, told);
      barrier.release();
      if (half.status === 200) {
        assert.equal(digestOf(await half.rest()), digest);
        this.#use(image, digest, true);
      } else {
        assert.ok(this.down.has(namespace) && honest.includes(half.status), `${half.status}`);
        half.destroy();
      }
    } finally {
      upstream?.behave();
      barrier.release();
      half?.destroy();
    }
  }

  async setDown(namespace: string, down: boolean): Promise<void> {
    if (this.down.has(namespace) === down) return;
    const upstream = this.content.upstreams.get(namespace);
    if (down) {
      await upstream?.down();
      this.down.add(namespace);
      return;
    }
    await upstream?.up();
    // The breaker's rest is over; an answer closes it.
    this.now += 60_000;
    const { status } = await this.mirror.get(`/v2/no/such/manifests/tag?ns=${namespace}`);
    assert.equal(status, 404);
    this.down.delete(namespace);
  }

  /** Starts again on the same folder. */
  async restart(options: { readonly withoutLedger: boolean }): Promise<void> {
    await this.mirror.close();
    if (options.withoutLedger) {
      for (const end of ["", "-wal", "-shm"]) await rm(`${this.#root}/ledger.sqlite${end}`, { force: true });
      // Only the files' own times are left: before this world began.
      for (const used of this.uses.values()) Object.assign(used, { low: 0, high: this.#startedAt });
      for (const name of this.folder.links.keys()) this.uses.set(name, { low: 0, high: this.#startedAt });
    }
    await this.#start(options.withoutLedger);
  }

  /** What lies in the folder at this moment is all that the next process has. */
  async crash(): Promise<void> {
    // What the ledger was told it has; its thread has nothing to do while this one copies.
    await this.admin.usage();
    const next = `${this.#folder.path}/root-${++this.#crashes}`;
    const before = this.#root;
    cpSync(before, next, { recursive: true, preserveTimestamps: true });
    await this.mirror.close();
    await rm(before, { recursive: true });
    this.#root = next;
    await this.#start(true);
  }

  /** Whether everything of an image is in a folder, so that it can be served without its upstream. */
  isComplete(folder: CacheFolder, image: SpaceImage, by: "tag" | "digest"): boolean {
    const { full } = image.repository;
    const tagged = folder.tags.some(
      ({ repository, tag, digest }) => repository === full && tag === image.tag && digest === image.digest,
    );
    return (
      (by === "digest" || tagged) &&
      reachOf(this.content.children, image.digest).every(
        (digest) => folder.links.has(linkName(full, digest)) && folder.blobs.has(digest),
      )
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const namespace of this.down) await this.content.upstreams.get(namespace)?.up();
    await this.#mirror?.close();
    await this.#folder[Symbol.asyncDispose]();
  }
}
