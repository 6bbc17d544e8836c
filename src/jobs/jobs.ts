import { type Clock, systemClock } from "../concurrency/clock.ts";
import {
  type JobKind,
  type JobObserver,
  JobRunning,
  JobsClosed,
  type JobState,
  type RunningJob,
  type Step,
} from "./job.ts";
import { Job } from "./running-job.ts";

/** How many jobs that have ended are remembered of each kind. */
const remembered = 20;
/** Who follows a job is told of it no more often. */
const followMs = 200;

/** Kinds of which several may run at a time: each of their jobs is about something else. */
const several: ReadonlySet<JobKind> = new Set(["purge"]);

/** Runs jobs: of most kinds at most one at a time, its steps in their order. */
export class Jobs {
  readonly #observer: JobObserver;
  readonly #clock: Clock;
  /** In the order in which they were started. */
  readonly #jobs = new Map<string, Job>();
  #closed = false;

  constructor(observer: JobObserver, clock: Clock = systemClock) {
    this.#observer = observer;
    this.#clock = clock;
  }

  /**
   * @throws {JobRunning} one of this kind runs, of which there may be one.
   * @throws {JobsClosed} the process is stopping.
   */
  start(kind: JobKind, options: { readonly dryRun: boolean }, steps: readonly Step[]): RunningJob {
    if (this.#closed) throw new JobsClosed();
    const running = several.has(kind) ? undefined : this.#running(kind);
    if (running !== undefined) throw new JobRunning(kind, running.id);
    const job = new Job(kind, options.dryRun, steps, this.#observer, this.#clock);
    this.#jobs.set(job.id, job);
    this.#forget(kind);
    return job;
  }

  get(id: string): JobState | undefined {
    return this.#jobs.get(id)?.state;
  }

  /** The jobs that run, and the last of each kind that have ended; the newest first. */
  list(): JobState[] {
    return [...this.#jobs.values()].map((job) => job.state).toReversed();
  }

  /** Stops a job; it has ended a little later. False where none of this id runs. */
  cancel(id: string): boolean {
    const job = this.#jobs.get(id);
    if (job?.state.state !== "running") return false;
    job.cancel();
    return true;
  }

  /**
   * A job's state now, when it has changed, a few times a second at most, and at last when it has ended. Ends then, or
   * when the signal aborts, or at once where there is no such job. Who reads slowly misses states, but not the last.
   */
  async *follow(id: string, signal: AbortSignal): AsyncGenerator<JobState> {
    const job = this.#jobs.get(id);
    if (job === undefined) return;
    const stop = AbortSignal.any([signal, job.over]);
    for (let told: JobState | undefined; !signal.aborted;) {
      const state = job.state;
      if (state !== told) yield state;
      if (state.state !== "running") return;
      told = state;
      // Aborting says that the loop has to look, not that something is wrong.
      await this.#clock.wait(followMs, stop).catch(() => undefined);
    }
  }

  /** Resolves when no job runs. */
  async idle(): Promise<void> {
    for (;;) {
      const running = [...this.#jobs.values()].filter((job) => job.state.state === "running");
      if (running.length === 0) return;
      await Promise.all(running.map((job) => job.ended));
    }
  }

  /** Cancels what runs, waits for its end, and starts nothing any more. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const id of this.#jobs.keys()) this.cancel(id);
    await this.idle();
  }

  #running(kind: JobKind): Job | undefined {
    return [...this.#jobs.values()].find((job) => job.kind === kind && job.state.state === "running");
  }

  #forget(kind: JobKind): void {
    const ended = [...this.#jobs.values()].filter((job) => job.kind === kind && job.state.state !== "running");
    for (const job of ended.slice(0, -remembered)) this.#jobs.delete(job.id);
  }
}
