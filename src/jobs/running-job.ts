import { randomBytes } from "node:crypto";
import { errorOf } from "../store/object-store.ts";
import type { Clock } from "../concurrency/clock.ts";
import type { JobKind, JobObserver, JobState, ProgressUnit, RunningJob, Step, StepProgress, StepState } from "./job.ts";

/** An error names the reasons of so many steps; all of them have their own. */
const reasonsTold = 10;
/** A step names so many things. */
const notesTold = 1_000;

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
  /** A step has failed that those after it depend on. */
  #isStopped = false;
  #head: Omit<JobState, "steps">;
  #failure: Error | undefined;
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

  get failure(): Error | undefined {
    return this.#failure;
  }

  cancel(): void {
    this.#abort.abort();
  }

  async #run(): Promise<JobState> {
    // Who started it has its id first.
    await Promise.resolve();
    const running = new Set<Promise<void>>();
    for (const step of this.#steps) {
      while (running.size >= (step.parallel ?? 1)) await Promise.race(running);
      const run = this.#runStep(step).finally(() => running.delete(run));
      running.add(run);
      if (step.parallel === undefined) await run;
    }
    await Promise.all(running);
    const isCut = this.#abort.signal.aborted && this.#steps.some((step) => !step.hasEnded);
    const error = isCut ? undefined : failureOf(this.#steps);
    this.#failure = error;
    const state = isCut ? "cancelled" : error === undefined ? "succeeded" : "failed";
    this.#head = { ...this.#head, state, endedAt: this.#clock.now(), ...(error && { error: error.message }) };
    this.#changed();
    this.#observer.ended(this.state, error);
    this.#over.abort();
    return this.state;
  }

  async #runStep(step: StepRecord): Promise<void> {
    const { signal } = this.#abort;
    if (this.#isStopped || signal.aborted) {
      step.skip();
      return;
    }
    await step.run(signal, this.#clock);
    if (step.parallel === undefined && step.error !== undefined) this.#isStopped = true;
    this.#observer.stepEnded(this.state, step.state);
  }

  #changed(): void {
    this.#snapshot = undefined;
  }
}

class StepRecord implements StepProgress {
  readonly #step: Step;
  readonly #onChange: () => void;
  readonly #counts = new Map<string, number>();
  #notes: readonly string[] = Object.freeze([]);
  #progress: { done: number; total: number; unit: ProgressUnit } | undefined;
  #done = 0;
  #state: StepState["state"] = "waiting";
  #durationMs: number | undefined;
  #error: Error | undefined;
  #snapshot: StepState | undefined;

  constructor(step: Step, onChange: () => void) {
    this.#step = step;
    this.#onChange = onChange;
  }

  get name(): string {
    return this.#step.name;
  }

  get parallel(): number | undefined {
    return this.#step.parallel;
  }

  /** Why it failed. */
  get error(): Error | undefined {
    return this.#error;
  }

  /** Whether it came to its own end, good or bad. */
  get hasEnded(): boolean {
    return this.#state === "done" || this.#state === "failed";
  }

  /** The same object until something changes: a job may have thousands of steps. */
  get state(): StepState {
    const { name, title } = this.#step;
    this.#snapshot ??= Object.freeze({
      name,
      title,
      state: this.#state,
      ...(this.#durationMs !== undefined && { durationMs: this.#durationMs }),
      counts: Object.freeze(Object.fromEntries(this.#counts)),
      ...(this.#notes.length > 0 && { notes: this.#notes }),
      ...(this.#error !== undefined && { error: this.#error.message }),
      ...this.#progress,
    });
    return this.#snapshot;
  }

  count(what: string, by = 1): void {
    this.#counts.set(what, (this.#counts.get(what) ?? 0) + by);
    this.#changed();
  }

  note(text: string): void {
    if (this.#notes.length >= notesTold) {
      this.count("not named");
      return;
    }
    this.#notes = Object.freeze([...this.#notes, text]);
    this.#changed();
  }

  total(total: number, unit: ProgressUnit): void {
    this.#progress = { done: this.#done, total, unit };
    this.#changed();
  }

  advance(by: number): void {
    this.#done += by;
    if (this.#progress !== undefined) this.#progress.done = this.#done;
    this.#changed();
  }

  skip(): void {
    this.#become("skipped");
  }

  /** Runs it to its end, however that is. */
  async run(signal: AbortSignal, clock: Clock): Promise<void> {
    const startedAt = clock.monotonic();
    this.#become("running");
    let state: StepState["state"] = "done";
    try {
      await this.#step.run(this, signal);
    } catch (error) {
      state = signal.aborted ? "cancelled" : "failed";
      if (!signal.aborted) this.#error = errorOf(error);
    }
    this.#durationMs = clock.monotonic() - startedAt;
    this.#become(state);
  }

  #become(state: StepState["state"]): void {
    this.#state = state;
    this.#changed();
  }

  #changed(): void {
    this.#snapshot = undefined;
    this.#onChange();
  }
}

/** Why a job failed whose steps have ended; `undefined` where none has failed. */
function failureOf(steps: readonly StepRecord[]): Error | undefined {
  const failures = steps.flatMap(({ name, parallel, error }) =>
    error === undefined ? [] : [{ name, parallel, error }],
  );
  const [stop] = failures.filter(({ parallel }) => parallel === undefined);
  if (failures.length === 0 || stop !== undefined) return stop?.error;
  const told = failures.slice(0, reasonsTold);
  const reasons = told.map(({ name, error }) => `${name}: ${error.message}`);
  if (failures.length > told.length) reasons.push(`and ${failures.length - told.length} more`);
  return new AggregateError(
    told.map(({ error }) => error),
    reasons.join("; "),
  );
}
