/** What a job does; see `JobRequest`. */
export type JobKind = "adopt" | "collect" | "evict" | "purge" | "retain" | "verify" | "warm";

/** What progress is measured in. */
export type ProgressUnit = "objects" | "bytes";

/** What a step came upon or did: "examined", "removed", "bytes freed" … */
export type StepCounts = Readonly<Record<string, number>>;

/** A step as it was at one moment. */
export interface StepState {
  readonly name: string;
  readonly title: string;
  /** `cancelled` is a step that was interrupted; those after it are `skipped`, as they are after one that failed. */
  readonly state: "waiting" | "running" | "done" | "failed" | "cancelled" | "skipped";
  /** Only of a step that ran, and ended. */
  readonly durationMs?: number;
  readonly counts: StepCounts;
  /** What it names: the first thousand things; what else there was is counted as "not named". */
  readonly notes?: readonly string[];
  /** Why it failed. */
  readonly error?: string;
  /** How much of `total` is done, where the step has said what its total is; the three come together. */
  readonly done?: number;
  readonly total?: number;
  readonly unit?: ProgressUnit;
}

/** A job as it was at one moment. Times are milliseconds since 1970. */
export interface JobState {
  readonly id: string;
  readonly kind: JobKind;
  /** Whether it only says what it would do. */
  readonly dryRun: boolean;
  readonly state: "running" | "succeeded" | "failed" | "cancelled";
  readonly startedAt: number;
  readonly endedAt?: number;
  readonly steps: readonly StepState[];
  /** Why it failed. */
  readonly error?: string;
}

/** A part of a job. Its name is for programs, its title for people. */
export interface Step {
  readonly name: string;
  readonly title: string;
  /**
   * Of a step that does not depend on others: up to so many neighbours of this sort run at a time. Where one fails, so
   * does the job, but no other step is skipped. A step without it waits for all that come before it.
   */
  readonly parallel?: number;
  /** Throws where it fails; when `signal` aborts it stops soon, and leaves everything in order. */
  run(progress: StepProgress, signal: AbortSignal): Promise<void>;
}

/** Where a step tells how far it is. Cheap: it may be called for each of a million objects. */
export interface StepProgress {
  /** Adds to a count; `by` is 1 where it is not given, and 0 makes a count appear that has none yet. */
  count(what: string, by?: number): void;
  /** Names something, for people: `goes apps/team/web:pr-1 (…)`. */
  note(text: string): void;
  /** Says how much there is to do, again where that turns out to be otherwise. */
  total(total: number, unit: ProgressUnit): void;
  advance(by: number): void;
}

/** A job that was started. */
export interface RunningJob {
  readonly id: string;
  readonly state: JobState;
  /** Its last state, when it has ended, however it ended. Never rejects. */
  readonly ended: Promise<JobState>;
  /** Why it has failed. */
  readonly failure: Error | undefined;
}

/** The process is stopping. */
export class JobsClosed extends Error {
  override readonly name = "JobsClosed";

  constructor() {
    super("the mirror is stopping: no job is started any more");
  }
}

/** What is told of jobs, for the log and the metrics. */
export interface JobObserver {
  started(job: JobState): void;
  stepEnded(job: JobState, step: StepState): void;
  /** `error` is why it failed. */
  ended(job: JobState, error: Error | undefined): void;
}

/** A job of this kind runs already, of which one runs at a time. */
export class JobRunning extends Error {
  override readonly name = "JobRunning";
  /** The one that runs. */
  readonly id: string;

  constructor(kind: JobKind, id: string) {
    super(`a job of this kind is running: ${kind}, ${id}`);
    this.id = id;
  }
}
