import type { Administration } from "../jobs/administration.ts";
import type { AdoptRequest, JobRequest } from "../jobs/job-request.ts";
import type { JobState } from "../jobs/job.ts";
import { OciError } from "../oci/errors.ts";
import { CommandFailure, exitCodes } from "./terminal.ts";

/** Where jobs run: in a mirror that is asked over HTTP, or in this process. What fails is a `CommandFailure`. */
export interface JobHost {
  start(request: JobRequest): Promise<JobState>;
  /** The job's states until it has ended. */
  follow(id: string): AsyncIterable<JobState>;
  cancel(id: string): Promise<void>;
  close(): Promise<void>;
}

/** A store in this process, where jobs run that need its machine. */
export interface StoreHost extends JobHost {
  start(request: JobRequest | AdoptRequest): Promise<JobState>;
}

/** A store that this process has opened, on which no other one runs. */
export interface OpenStore {
  readonly administration: Pick<Administration, "start" | "follow" | "cancel">;
  close(): Promise<void>;
}

/** Runs jobs on an open store; `close` closes it. */
export function runInStore(store: OpenStore): StoreHost {
  const { administration } = store;
  const never = new AbortController();
  return {
    async start(request) {
      try {
        return administration.start(request);
      } catch (error) {
        if (!(error instanceof OciError)) throw error;
        const exitCode = error.status === 400 ? exitCodes.usage : exitCodes.failed;
        throw new CommandFailure(error.message, { exitCode, cause: error });
      }
    },
    follow: (id) => administration.follow(id, never.signal),
    async cancel(id) {
      administration.cancel(id);
    },
    close: () => store.close(),
  };
}
