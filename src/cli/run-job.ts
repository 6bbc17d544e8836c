import type { JobState } from "../jobs/job.ts";
import type { JobHost } from "./job-host.ts";
import type { ProgressView } from "./progress.ts";
import { formatMs } from "./quantities.ts";
import { CommandFailure, exitCodes, type Person, type Terminal } from "./terminal.ts";

/** How a job is followed. */
export interface FollowOptions {
  readonly terminal: Terminal;
  readonly person: Person;
  /** Whether its states are written as JSON, one a line, and nothing else. */
  readonly json: boolean;
  /** What Ctrl-C does: stop the job and wait for its end, or leave it to itself. A second one always leaves. */
  readonly onInterrupt: "cancel" | "leave";
}

/** How a job ended; `undefined` where nobody waited for that. */
export interface FollowedJob {
  readonly job: JobState | undefined;
  readonly interrupted: boolean;
}

/**
 * Shows a job until it ends.
 *
 * @throws {CommandFailure} It is not known how it ended.
 */
export async function followJob(host: JobHost, id: string, options: FollowOptions): Promise<FollowedJob> {
  const { person, onInterrupt } = options;
  const view = await createView(options);
  const left = Promise.withResolvers<undefined>();
  let interrupts = 0;
  const stopListening = person.onInterrupt(() => {
    interrupts++;
    if (onInterrupt === "leave" || interrupts > 1) left.resolve(undefined);
    else host.cancel(id).catch(() => left.resolve(undefined));
  });
  const shown = show(host, id, view);
  // Who has left does not hear of a connection that breaks then.
  shown.catch(() => undefined);
  try {
    const job = await Promise.race([shown, left.promise]);
    return { job, interrupted: interrupts > 0 };
  } finally {
    stopListening();
    view.stop();
  }
}

async function show(host: JobHost, id: string, view: ProgressView): Promise<JobState> {
  let last: JobState | undefined;
  for await (const job of host.follow(id)) {
    last = job;
    view.show(job);
  }
  if (last === undefined || last.state === "running") {
    throw new CommandFailure(`nothing more is heard of ${id}: the mirror stopped`);
  }
  return last;
}

async function createView({ terminal, person, json }: FollowOptions): Promise<ProgressView> {
  if (json) return { show: (job) => terminal.out(`${JSON.stringify(job)}\n`), stop: () => undefined };
  const { createBars, createLines } = await import("./progress.ts");
  return person.screen === undefined ? createLines((line) => terminal.out(line)) : createBars(person.screen);
}

/** Says in a line how a job ended. */
export function describeEnd({ kind, dryRun, state, startedAt, endedAt = startedAt, error }: JobState): string {
  const what = dryRun ? `${kind} (nothing was changed)` : kind;
  return `${what} ${state} after ${formatMs(endedAt - startedAt)}${error === undefined ? "" : `: ${error}`}\n`;
}

/** The exit code for a job's end. */
export function exitCodeOf({ job, interrupted }: FollowedJob): number {
  if (interrupted) return exitCodes.interrupted;
  return job?.state === "succeeded" ? exitCodes.ok : exitCodes.failed;
}
