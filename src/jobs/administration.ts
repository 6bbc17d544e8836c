import type { RetentionRuns } from "../bucket/retention-runs.ts";
import { OciError } from "../oci/errors.ts";
import { parseImageReference } from "../oci/image-reference.ts";
import { parsePlatform } from "../oci/platform.ts";
import type { Namespace } from "../oci/reference.ts";
import {
  type Ledger,
  LedgerNotReady,
  type ListPart,
  type NamespaceUsage,
  type PurgeTarget,
  type RepositoryUsage,
  type TagUsage,
} from "../ledger/ledger.ts";
import type { NamespaceRules } from "../registry/namespaces.ts";
import type { Space } from "../registry/space.ts";
import { type JobKind, JobRunning, JobsClosed, type JobState, type RunningJob, type Step } from "./job.ts";
import { type AdoptRequest, isDryRun, type JobRequest, type JobSteps } from "./job-request.ts";
import type { Jobs } from "./jobs.ts";
import type { PinList, PinReport } from "./pin-list.ts";
import { previewPurge, type PurgeReport, purgeSteps, type PurgeTools, reportPurge } from "./purge.ts";
import type { ReplicaReport, UsageReport } from "./reports.ts";
import { parsePurgeTarget, readNamespace, readRepository } from "./purge-target.ts";

/** What the administration works with. */
export interface AdministrationOptions extends PurgeTools {
  readonly ledger: Pick<Ledger, "totals" | "namespaces" | "repositories" | "tags" | "purgePlan" | "pinnedBytes">;
  readonly space: Pick<Space, "state" | "refresh">;
  /** Where there is a bucket. */
  readonly retention: Pick<RetentionRuns, "last"> | undefined;
  /** What a namespace may take. */
  readonly namespaceMaxBytes: (namespace: Namespace) => number | undefined;
  /** What decides which registry a name means, as for pulls. */
  readonly rules: NamespaceRules;
  readonly pins: PinList;
  readonly jobs: Pick<Jobs, "start" | "get" | "list" | "cancel" | "follow">;
  readonly steps: JobSteps;
  /** This instance and the others that it acts as one with; `undefined`: it is alone. */
  readonly replicas?: (() => readonly ReplicaReport[]) | undefined;
}

/** What people may do to a cache that runs: look at what it holds, remove it, keep it, and run jobs. */
export class Administration {
  readonly #options: AdministrationOptions;

  constructor(options: AdministrationOptions) {
    this.#options = options;
  }

  async usage(): Promise<UsageReport> {
    const { space, ledger, pins, namespaceMaxBytes } = this.#options;
    await space.refresh();
    const [namespaces, pinnedBytes] = await Promise.all([ledger.namespaces(), ledger.pinnedBytes(pins.all)]);
    const { usedBytes, exact, reservedBytes, besides, limitBytes, volume } = space.state;
    return {
      bytes: usedBytes,
      exact,
      reservedBytes,
      besides,
      limitBytes: limitBytes === Infinity ? undefined : Math.max(0, Math.floor(limitBytes)),
      volume,
      pinnedBytes,
      bucket: this.#options.retention?.last,
      namespaces: namespaces.map((each) => ({ ...each, limitBytes: namespaceMaxBytes(each.namespace) })),
    };
  }

  async namespaces(): Promise<readonly NamespaceUsage[]> {
    return this.#options.ledger.namespaces();
  }

  /**
   * The repositories of a registry, or of all.
   *
   * @throws {OciError} NAME_INVALID; NAME_UNKNOWN where nothing of the namespace is cached.
   * @throws {LedgerNotReady} that is not known.
   */
  async repositories(query: {
    readonly namespace?: string | undefined;
    readonly after?: string | undefined;
    readonly limit: number;
  }): Promise<ListPart<RepositoryUsage>> {
    const { limit, after } = query;
    const namespace = query.namespace === undefined ? undefined : readNamespace(query.namespace);
    const part = await this.#options.ledger.repositories({
      limit,
      ...(namespace !== undefined && { namespace }),
      ...(after !== undefined && { after }),
    });
    if (part.items.length === 0 && namespace !== undefined && after === undefined)
      throw this.#notCached(`${namespace}/`);
    return part;
  }

  /**
   * A repository's tags, and its manifests that have none.
   *
   * @throws {OciError} NAME_INVALID; NAME_UNKNOWN where nothing of the repository is cached.
   */
  async tags(query: {
    readonly namespace: string;
    readonly repository: string;
    readonly after?: string | undefined;
    readonly limit: number;
  }): Promise<ListPart<TagUsage>> {
    const { limit, after } = query;
    const { ledger, pins, rules } = this.#options;
    const id = readRepository(query.namespace, query.repository, rules);
    const part = await ledger.tags({ ...id, limit, ...(after !== undefined && { after }), pins: pins.all });
    if (part.items.length === 0 && after === undefined) throw this.#notCached(`${id.namespace}/${id.repository}`);
    return part;
  }

  /**
   * What a text of `parsePurgeTarget` means.
   *
   * @throws {OciError} NAME_INVALID, TAG_INVALID, DIGEST_INVALID
   */
  target(text: string): PurgeTarget {
    return parsePurgeTarget(text, this.#options.rules);
  }

  /**
   * Removes something from the cache, also where it is pinned: a job, for whose end it waits; a dry run says what that
   * comes to. Readers are safe: tags go before what they stand for, manifests before what they refer to, and who reads a
   * blob reads it to its end.
   *
   * @throws {OciError} NOT_FOUND where nothing of it is cached, and no job begins; UNAVAILABLE where the job was stopped.
   * @throws {LedgerNotReady} it is not known what is cached.
   * @throws {StoreError} something could not be removed.
   */
  async purge(target: PurgeTarget, { dryRun }: { readonly dryRun: boolean }): Promise<PurgeReport> {
    const plan = await previewPurge(this.#options, target);
    if (dryRun) return plan;
    const job = this.#run("purge", false, purgeSteps(this.#options, target));
    const ended = await job.ended;
    if (ended.state === "succeeded") return reportPurge(plan.target, ended);
    if (ended.state === "failed" && job.failure !== undefined) throw job.failure;
    throw new OciError("UNAVAILABLE", `the purge was stopped: a part of ${plan.target} was removed`);
  }

  /** The replicas that are there, this one first; none where it is alone. */
  replicas(): { readonly replicas: readonly ReplicaReport[] } {
    return { replicas: this.#options.replicas?.() ?? [] };
  }

  /**
   * Does what another replica was told to: `purge <target>`, `pin <pattern>`, `unpin <pattern>`. What is done already, or
   * means nothing here, is no failure.
   *
   * @throws {Error} it could not be done, and may be tried again.
   */
  async obey(order: string): Promise<void> {
    const [verb, what = ""] = order.split(/ (.*)/s);
    try {
      if (verb === "purge") await this.#purgeToo(what);
      if (verb === "pin") await this.#options.pins.add(what);
      if (verb === "unpin") await this.#options.pins.remove(what);
    } catch (error) {
      if (!(error instanceof OciError) || error.code === "UNAVAILABLE") throw error;
    }
  }

  /** @throws {OciError} UNAVAILABLE where they cannot be read. */
  async pins(): Promise<PinReport> {
    return this.#options.pins.report();
  }

  /** Adds a pin, at all replicas. @throws {OciError} REQUEST_INVALID; and where the others cannot be told. */
  async addPin(pattern: string): Promise<void> {
    await this.#options.pins.add(pattern);
    await this.#options.tellOthers?.(`pin ${pattern}`);
  }

  /** @throws {OciError} REQUEST_INVALID; NOT_FOUND; CONFLICT for one of the configuration. */
  async removePin(pattern: string): Promise<void> {
    if (!(await this.#options.pins.remove(pattern))) throw new OciError("NOT_FOUND", `there is no pin ${pattern}`);
    await this.#options.tellOthers?.(`unpin ${pattern}`);
  }

  /**
   * Starts a job; it runs on when whoever asked for it has left.
   *
   * @throws {OciError} NAME_INVALID, TAG_INVALID, DIGEST_INVALID; CONFLICT, with the id of the job as `detail`, where
   *   one of this kind runs, of which there may be one; UNAVAILABLE where the process is stopping;
   *   UNSUPPORTED where there is no bucket for it, or nothing is hosted.
   * @throws {LedgerNotReady} it is not known what is cached, and the job removes by that.
   */
  start(request: JobRequest | AdoptRequest): JobState {
    const removes = request.kind === "evict" || request.kind === "purge";
    if (removes && this.#options.ledger.totals === undefined) throw new LedgerNotReady();
    return this.#run(request.kind, isDryRun(request), this.#steps(request)).state;
  }

  async #purgeToo(target: string): Promise<void> {
    const tools = { ...this.#options, tellOthers: undefined };
    const meant = this.target(target);
    await previewPurge(tools, meant);
    const job = this.#run("purge", false, purgeSteps(tools, meant));
    const { state } = await job.ended;
    if (state !== "succeeded") throw job.failure ?? new Error(`the purge of ${target} was stopped`);
  }

  #run(kind: JobKind, isDry: boolean, steps: readonly Step[]): RunningJob {
    try {
      return this.#options.jobs.start(kind, { dryRun: isDry }, steps);
    } catch (error) {
      if (error instanceof JobsClosed) throw new OciError("UNAVAILABLE", error.message, { cause: error });
      if (!(error instanceof JobRunning)) throw error;
      throw new OciError("CONFLICT", error.message, { detail: { job: error.id }, cause: error });
    }
  }

  /** The newest first. */
  jobs(): readonly JobState[] {
    return this.#options.jobs.list();
  }

  /** @throws {OciError} NOT_FOUND */
  job(id: string): JobState {
    const job = this.#options.jobs.get(id);
    if (job === undefined) throw new OciError("NOT_FOUND", `there is no job ${JSON.stringify(id)}`);
    return job;
  }

  /**
   * Stops a job, which ends a little later. One that has ended stays as it is.
   *
   * @throws {OciError} NOT_FOUND
   */
  cancel(id: string): JobState {
    this.job(id);
    this.#options.jobs.cancel(id);
    return this.job(id);
  }

  /**
   * A job's state now and when it changes, until it ends or the signal aborts.
   *
   * @throws {OciError} NOT_FOUND, at once.
   */
  follow(id: string, signal: AbortSignal): AsyncIterable<JobState> {
    this.job(id);
    return this.#options.jobs.follow(id, signal);
  }

  /** Why there is nothing to list: that is not known to be so before it is known what is stored. */
  #notCached(name: string): Error {
    if (this.#options.ledger.totals === undefined) return new LedgerNotReady();
    return new OciError("NAME_UNKNOWN", `nothing of ${name} is cached`);
  }

  #steps(request: JobRequest | AdoptRequest): readonly Step[] {
    const { steps } = this.#options;
    switch (request.kind) {
      case "adopt":
        return steps.adopt(request);
      case "collect":
        return steps.collect({ dryRun: isDryRun(request) });
      case "evict":
        return steps.evict({ dryRun: isDryRun(request) });
      case "retain":
        return steps.retain({ dryRun: isDryRun(request) });
      case "purge":
        return purgeSteps(this.#options, this.target(request.target));
      case "verify": {
        const { repair = false, bytesPerSecond } = request;
        return steps.verify({ dryRun: isDryRun(request), repair, bytesPerSecond });
      }
      case "warm": {
        const { images, platforms, parallel } = request;
        return steps.warm({
          images: images.map(parseImageReference),
          platforms: platforms?.map(parsePlatform),
          parallel,
        });
      }
    }
  }
}
