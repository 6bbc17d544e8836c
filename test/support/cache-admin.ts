import assert from "node:assert/strict";
import type { JobState } from "../../src/jobs/job.ts";
import type { UsageReport } from "../../src/jobs/reports.ts";
import type { PurgeReport } from "../../src/jobs/purge.ts";
import { request, type WholeResponse } from "./http.ts";
import type { Mirror } from "./mirror.ts";

/** A second listener, for the administration. */
export const adminListen = { kind: "tcp", host: "127.0.0.1", port: 0 } as const;

/** The administration of a mirror that has `adminListen` as its second address. */
export interface CacheAdmin {
  usage(): Promise<UsageReport>;
  /** `undefined` where nothing of it is cached. */
  purge(target: string): Promise<PurgeReport | undefined>;
  /** Runs an eviction to its end. A dry run also waits for all that were begun before. */
  evict(options: { readonly dryRun: boolean }): Promise<JobState>;
  /** Runs a scrub that repairs, to its end. */
  verify(): Promise<JobState>;
  pin(pattern: string): Promise<void>;
  unpin(pattern: string): Promise<void>;
}

/** Asks a mirror's administration, over HTTP. */
export function adminOf(mirror: Pick<Mirror, "app">): CacheAdmin {
  const ask = (method: string, path: string, body?: object): Promise<WholeResponse> => {
    const [, url = ""] = mirror.app.addresses;
    return request(`${url}/_admin${path}`, {
      method,
      ...(body !== undefined && { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } }),
    });
  };
  const read = <T>({ status, body }: WholeResponse): T => {
    assert.ok(status < 300, `${status}: ${body.toString()}`);
    return (body.length > 0 ? JSON.parse(body.toString()) : undefined) as T;
  };
  const run = async (request: object): Promise<JobState> => {
    const { id } = read<JobState>(await ask("POST", "/jobs", request));
    for (;;) {
      const job = read<JobState>(await ask("GET", `/jobs/${id}`));
      if (job.state === "running") continue;
      assert.equal(job.state, "succeeded", JSON.stringify(job));
      return job;
    }
  };
  return {
    usage: async () => read(await ask("GET", "/usage")),
    purge: async (target) => {
      const answer = await ask("POST", "/purge", { target });
      return answer.status === 404 ? undefined : read<PurgeReport>(answer);
    },
    evict: ({ dryRun }) => run({ kind: "evict", dryRun }),
    verify: () => run({ kind: "verify", repair: true }),
    pin: async (pattern) => read(await ask("POST", "/pins", { pattern })),
    unpin: async (pattern) => read(await ask("DELETE", `/pins?pattern=${encodeURIComponent(pattern)}`)),
  };
}
