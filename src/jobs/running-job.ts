import { randomBytes } from "node:crypto";
import type { Clock } from "../upstream/clock.ts";
import type { JobKind, JobObserver, JobState, ProgressUnit, RunningJob, Step, StepProgress, StepState } from "./job.ts";

/** A job from its start on. */
export class Job implements RunningJob {
  readonly id: string;
  readonly kind: JobKind;
  readonly ended: Promise<JobState>;
  /** Aborts when the job has ended. */
  readonly over: AbortSignal;
  readonly #abort = new AbortController();
  readonly #over = new AbortController();
  readonly #observer: JobObserver;
  readonly #clock: Clock;
  readonly #steps: readonly StepRecord[];
  #head: Omit<JobState, "steps">;
  #snapshot: JobState | undefined;

  constructor(kind: JobKind, dryRun: boolean, steps: readonly Step[], observer: JobObserver, clock: Clock) {
    this.id = `${kind}-${randomBytes(4).toString("hex")}`;
    this.kind = kind;
    this.over = this.#over.signal;
    this.#observer = observer;
    this.#clock = clock;
    this.#head = { id: this.id, kind, dryRun, state: "running", startedAt: clock.now() };
    this.#steps = steps.map((step) => new StepRecord(step, () => this.#changed()));
    observer.started(this.state);
    this.ended = this.#run();
  }

  /** The same object until something changes. */
  get state(): JobState {
    this.#snapshot ??= Object.freeze({
      ...this.#head,
      steps: Object.freeze(this.#steps.map((step) => step.state)),
    });
    return this.#snapshot;
  }

  cancel(): void {
    this.#abort.abort();
  }

  async #run(): Promise<JobState> {
    // Who started it has its id first.
    await Promise.resolve();
    const { signal } = this.#abort;
    let outcome: { readonly state: "succeeded" | "failed" | "cancelled"; readonly error?: Error } | undefined;
    for (const step of this.#steps) {
      if (outcome === undefined && signal.aborted) outcome = { state: "cancelled" };
      if (outcome !== undefined) {
        step.skip();
        continue;
      }
      try {
        await step.run(signal, this.#clock);
      } catch (thrown) {
        const error = thrown instanceof Error ? thrown : new Error(String(thrown));
        outcome = signal.aborted ? { state: "cancelled" } : { state: "failed", error };
      }
      this.#observer.stepEnded(this.state, step.state);
    }
    const { state, error } = outcome ?? { state: "succeeded" };
    this.#head = { ...this.#head, state, endedAt: this.#clock.now(), ...(error && { error: error.message }) };
    this.#changed();
    this.#observer.ended(this.state, error);
    this.#over.abort();
    return this.state;
  }

  #changed(): void {
    this.#snapshot = undefined;
  }
}

class StepRecord implements StepProgress {
  readonly #step: Step;
  readonly #onChange: () => void;
  readonly #counts = new Map<string, number>();
  #progress: { done: number; total: number; unit: ProgressUnit } | undefined;
  #done = 0;
  #state: StepState["state"] = "waiting";
  #durationMs: number | undefined;

  constructor(step: Step, onChange: () => void) {
    this.#step = step;
    this.#onChange = onChange;
  }

  get state(): StepState {
    const { name, title } = this.#step;
    return Object.freeze({
      name,
      title,
      state: this.#state,
      ...(this.#durationMs !== undefined && { durationMs: this.#durationMs }),
      counts: Object.freeze(Object.fromEntries(this.#counts)),
      ...this.#progress,
    });
  }

  count(what: string, by = 1): void {
    this.#counts.set(what, (this.#counts.get(what) ?? 0) + by);
    this.#onChange();
  }

  total(total: number, unit: ProgressUnit): void {
    this.#progress = { done: this.#done, total, unit };
    this.#onChange();
  }

  advance(by: number): void {
    this.#done += by;
    if (this.#progress !== undefined) this.#progress.done = this.#done;
    this.#onChange();
  }

  skip(): void {
    this.#become("skipped");
  }

  async run(signal: AbortSignal, clock: Clock): Promise<void> {
    const startedAt = clock.now();
    this.#become("running");
    try {
      await this.#step.run(this, signal);
      this.#durationMs = clock.now() - startedAt;
      this.#become("done");
    } catch (error) {
      this.#durationMs = clock.now() - startedAt;
      this.#become(signal.aborted ? "cancelled" : "failed");
      throw error;
    }
  }

  #become(state: StepState["state"]): void {
    this.#state = state;
    this.#onChange();
  }
}
