import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { Child, freePort } from "../child.ts";
import { type Latencies, openLoop } from "../open-loop.ts";
import { aim } from "../report.ts";
import type { Bench, Scenario } from "../scenario.ts";
import { entrepotCommand } from "../servers.ts";
import { quantile, Samples } from "../statistics.ts";
import { namespaces, pickHit, repositoriesOf, writeSyntheticStore } from "../synthetic-store.ts";

const settleMs = 1_500;
const limitMs = 30 * 60_000;
const rebuiltMessage = "the ledger is in line with the storage";
/** What an object with content of its own is counted as: a block for the link, and one for the content. */
const bytesPerObject = 2 * 4096;
const lowWatermark = 0.99;
const mebibyte = 2 ** 20;

/** A process on the large store. */
interface Running {
  readonly child: Child;
  readonly origin: string;
  readonly admin: string;
}

/** Resident memory while eviction runs, with clients meanwhile. */
export const eviction: Scenario = {
  name: "eviction",
  title: "resident memory while eviction runs, on a smaller store",
  async run(bench) {
    const { evictionBlobs, evictedObjects } = bench.settings;
    const settings = {
      ...bench.settings,
      storeBlobs: evictionBlobs,
      evictedObjects: Math.min(evictedObjects, Math.ceil(evictionBlobs / 10)),
      startRounds: 1,
    };
    const store = new LargeStore({ ...bench, settings }, join(bench.place().folder, "data"));
    await store.write();
    try {
      await store.withoutLedger();
      await store.evicting(await store.withLedger());
    } finally {
      await store.stop();
    }
    return store.report();
  },
};

/** A store of a million blobs: the start, the rebuild of the ledger, and eviction, with clients at all times. */
export const million: Scenario = {
  name: "million",
  title: "a large store: start, memory, rebuild of the ledger, eviction",
  onRequest: true,
  async run(bench) {
    const store = new LargeStore(bench, join(bench.place().folder, "data"));
    await store.write();
    try {
      await store.withoutLedger();
      await store.evicting(await store.withLedger());
      await store.afterKill();
    } finally {
      await store.stop();
    }
    return store.report();
  },
};

class LargeStore {
  readonly #bench: Bench;
  readonly #root: string;
  readonly #samples = new Samples();
  readonly #rows: { readonly name: string; readonly unit: string }[] = [];
  readonly #lateMs: number[] = [];
  #running: Running | undefined;
  #starts = 0;

  constructor(bench: Bench, root: string) {
    this.#bench = bench;
    this.#root = root;
  }

  /** Notes a sample, and a row for it. */
  add(name: string, unit: string, value: number): void {
    if (this.#rows.every((row) => row.name !== name)) this.#rows.push({ name, unit });
    this.#samples.add(name, "entrepot", value);
  }

  async write(): Promise<void> {
    const { settings, progress } = this.#bench;
    progress(`writing ${settings.storeBlobs} blobs`);
    const began = performance.now();
    await writeSyntheticStore(this.#root, settings.storeBlobs);
    this.add("store written", "s", (performance.now() - began) / 1000);
  }

  async withoutLedger(): Promise<void> {
    const { child } = await this.#start("no ledger", {});
    const rebuilt = child.printed(rebuiltMessage, limitMs);
    const latencies = await this.#load("while the ledger is rebuilt", rebuilt);
    this.#note("hits while rebuilding", latencies);
    this.#noteRebuild("rebuild", await rebuilt);
    await delay(settleMs);
    const { rss, peak } = child.memory();
    this.add("RSS, peak while rebuilding", "MiB", peak / mebibyte);
    this.add("RSS after the rebuild", "MiB", rss / mebibyte);
    await this.stop();
  }

  /** Resolves to the bytes that the store holds. */
  async withLedger(): Promise<number> {
    for (let round = 1; round < this.#bench.settings.startRounds; round++) {
      await this.#start("ledger", {});
      await this.stop();
    }
    const { child, admin } = await this.#start("ledger", {});
    await delay(settleMs);
    this.add("RSS after the start", "MiB", child.memory().rss / mebibyte);
    this.#note("hits", await this.#load("with a ledger", this.#pause()));
    await delay(settleMs);
    this.add("RSS after hits", "MiB", child.memory().rss / mebibyte);
    const usage = (await (await fetch(`${admin}/_admin/usage`)).json()) as { bytes: number };
    await this.stop();
    return usage.bytes;
  }

  /** Evicts, of a store that holds `allBytes`, what was used least recently. */
  async evicting(allBytes: number): Promise<void> {
    const kept = allBytes - this.#bench.settings.evictedObjects * bytesPerObject;
    const maxSize = Math.floor(kept / lowWatermark);
    const { child, admin } = await this.#start("before eviction", {
      max_size: `${maxSize}B`,
      low_watermark: `${lowWatermark * 100}%`,
      high_watermark: `${lowWatermark * 100 + 0.01}%`,
      min_free: "0B",
    });
    this.#note("hits before eviction", await this.#load("before eviction", this.#pause()));
    child.resetPeak();
    const job = evict(admin);
    this.#note("hits while evicting", await this.#load("while evicting", job));
    const { objects, ms } = await job;
    this.add("evicted", "objects", objects);
    this.add("eviction rate", "objects/s", (objects / ms) * 1000);
    this.add("RSS, peak while evicting", "MiB", child.memory().peak / mebibyte);
    this.#note("hits after eviction", await this.#load("after eviction", this.#pause()));
  }

  /** The process that runs is ended as by a crash. */
  async afterKill(): Promise<void> {
    await this.#running?.child.kill();
    const { child } = await this.#start("after SIGKILL", {});
    const rebuilt = child.printed(rebuiltMessage, limitMs);
    this.#note("hits while reconciling", await this.#load("after SIGKILL", rebuilt));
    this.#noteRebuild("reconciliation", await rebuilt);
    await delay(settleMs);
    const { rss, peak } = child.memory();
    this.add("RSS, peak while reconciling", "MiB", peak / mebibyte);
    this.add("RSS after reconciling", "MiB", rss / mebibyte);
    await this.stop();
  }

  async stop(): Promise<void> {
    await this.#running?.child.stop();
    this.#running = undefined;
  }

  report(): Awaited<ReturnType<Scenario["run"]>> {
    const values = (name: string): readonly number[] => this.#samples.of(name, "entrepot");
    const worst = (name: string): number => Math.max(...values(name));
    const ready = this.#rows.filter(({ name }) => name.startsWith("ready")).map(({ name }) => worst(name));
    const resident = this.#rows.filter(({ name }) => name.startsWith("RSS"));
    const { evictedObjects } = this.#bench.settings;
    return {
      rows: this.#rows.map((row) => ({ ...row, samples: this.#samples.all(row.name) })),
      aims: [
        aim("ready, the slowest", Math.max(...ready), "at most", 1_000, "ms"),
        ...resident.map(({ name }) => aim(name, worst(name), "at most", 150, "MiB")),
        aim("objects evicted", worst("evicted"), "at least", evictedObjects, "objects"),
        aim("p99.9 of hits while evicting", worst("hits while evicting, p99.9"), "at most", 50, "ms"),
        aim("p99.9 of hits while rebuilding", worst("hits while rebuilding, p99.9"), "at most", 50, "ms"),
      ],
      notes: [
        `times are from when a request was due; of that the client itself was late by up to ${quantile(this.#lateMs, 0.999).toFixed(1)} ms (p99.9)`,
      ],
    };
  }

  async #start(state: string, storage: object): Promise<Running> {
    const { folder, upstream } = this.#bench.place();
    this.#starts += 1;
    const base = join(folder, `entrepot-${this.#starts}`);
    mkdirSync(base);
    const config = {
      storage: { max_size: "none", ...storage },
      // Nothing is old, so no upstream is asked; and no other job disturbs.
      upstream_defaults: { manifest_invalidation_time: "30d", blob_invalidation_time: "30d" },
      upstreams: namespaces.map((namespace) => ({ namespace, host: upstream.host, tls: false })),
      verify: { interval: "never" },
    };
    writeFileSync(join(base, "config.yaml"), JSON.stringify(config));
    const [port, adminPort] = [await freePort(), await freePort()];
    const listen = ["--listen", `127.0.0.1:${port}`, "--admin-listen", `127.0.0.1:${adminPort}`];
    const rest = ["--config", join(base, "config.yaml"), "filesystem", "--root", this.#root];
    const { command, args, env } = entrepotCommand([...listen, ...rest]);
    const [origin, admin] = [`http://127.0.0.1:${port}`, `http://127.0.0.1:${adminPort}`];
    const began = performance.now();
    const child = new Child(command, args, join(base, "output.log"), env);
    this.#running = { child, origin, admin };
    await child.ready(`${origin}/readyz`);
    this.add(`ready, ${state}`, "ms", performance.now() - began);
    return this.#running;
  }

  async #load(what: string, until: Promise<unknown>): Promise<Latencies> {
    const { settings, progress } = this.#bench;
    progress(what);
    const latencies = await openLoop(
      this.#running?.origin ?? "",
      () => pickHit(repositoriesOf(settings.storeBlobs)),
      settings.storeRequestsPerSecond,
      until,
    );
    for (const late of latencies.lateMs) this.#lateMs.push(late);
    return latencies;
  }

  #pause(): Promise<void> {
    return delay(this.#bench.settings.storeSeconds * 1000);
  }

  #note(name: string, { ms }: Latencies): void {
    this.add(name, "requests", ms.length);
    for (const [label, share] of [
      ["median", 0.5],
      ["p99", 0.99],
      ["p99.9", 0.999],
      ["slowest", 1],
    ] as const) {
      this.add(`${name}, ${label}`, "ms", quantile(ms, share));
    }
  }

  #noteRebuild(name: string, line: string): void {
    const { objects, ms } = JSON.parse(line) as { objects: number; ms: number };
    this.add(name, "s", ms / 1000);
    this.add(`${name}, objects`, "objects/s", (objects / ms) * 1000);
  }
}

/** Runs eviction to its end. */
async function evict(admin: string): Promise<{ readonly objects: number; readonly ms: number }> {
  const headers = { "Content-Type": "application/json" };
  const started = await fetch(`${admin}/_admin/jobs`, { method: "POST", headers, body: '{"kind":"evict"}' });
  if (started.status !== 202) throw new Error(`eviction was not started: ${await started.text()}`);
  const { id } = (await started.json()) as { id: string };
  for (;;) {
    await delay(200);
    const job = (await (await fetch(`${admin}/_admin/jobs/${id}`)).json()) as Job;
    if (job.state === "running") continue;
    if (job.state !== "succeeded") throw new Error(`eviction ${job.state}: ${job.error}`);
    const objects = job.steps.reduce((sum, { counts }) => sum + (counts["manifests and blobs"] ?? 0), 0);
    return { objects, ms: (job.endedAt ?? job.startedAt) - job.startedAt };
  }
}

interface Job {
  readonly state: string;
  readonly startedAt: number;
  readonly endedAt?: number;
  readonly error?: string;
  readonly steps: readonly { readonly counts: Readonly<Record<string, number>> }[];
}
