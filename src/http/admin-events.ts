import type { Administration } from "../jobs/administration.ts";
import type { Clock } from "../concurrency/clock.ts";
import type { BodyStream } from "./reply.ts";

/** Who follows a job hears of it at least so often. */
const quietMs = 20_000;

/**
 * A job's states, one JSON object a line, until it has ended. Where nothing changes the last one comes again, so that
 * nobody on the way takes the connection for dead.
 */
export function streamJob(administration: Administration, id: string, clock: Clock): BodyStream {
  return {
    async *read(signal) {
      const states = administration.follow(id, signal)[Symbol.asyncIterator]();
      let line: Buffer | undefined;
      for (let next = states.next(); ;) {
        const told = new AbortController();
        // Aborting it says that something was told meanwhile, not that something is wrong.
        const quiet = clock.wait(quietMs, told.signal).catch(() => undefined);
        const got = await Promise.race([next, quiet]).finally(() => told.abort());
        if (got?.done === true) return;
        if (got !== undefined) {
          line = Buffer.from(`${JSON.stringify(got.value)}\n`);
          next = states.next();
        }
        if (line !== undefined) yield line;
      }
    },
    close: async () => undefined,
  };
}
