import assert from "node:assert/strict";
import { type Offline, openOffline } from "../../src/app/app.ts";
import type { Config } from "../../src/config/file-schema.ts";
import type { JobRequest } from "../../src/jobs/job-request.ts";
import type { JobState, StepState } from "../../src/jobs/job.ts";
import { request, type WholeResponse } from "./http.ts";
import type { Mirror } from "./mirror.ts";

/** Starts a job over the HTTP of a mirror whose second address is its administration's; returns the job's id. */
export async function startJob(mirror: Pick<Mirror, "app">, job: JobRequest): Promise<string> {
  const { status, body } = await ask(mirror, "POST", "", job);
  assert.equal(status, 202, body.toString());
  return (JSON.parse(body.toString()) as JobState).id;
}

/** The last state of a job that was started so, when it has ended. */
export async function endOfJob(mirror: Pick<Mirror, "app">, id: string): Promise<JobState> {
  const { body } = await ask(mirror, "GET", `/${id}/events`);
  return JSON.parse(body.toString().trimEnd().split("\n").at(-1) ?? "") as JobState;
}

/** Starts a job over HTTP, and waits for its end. */
export async function runJob(mirror: Pick<Mirror, "app">, job: JobRequest): Promise<JobState> {
  return endOfJob(mirror, await startJob(mirror, job));
}

/** Runs a job in a storage that no mirror runs on, as the command line does. */
export async function runOffline(config: Config, job: JobRequest): Promise<JobState> {
  const store: Offline = await openOffline(config, { version: "0.0.0-test" });
  try {
    let last: JobState = store.administration.start(job);
    for await (const state of store.administration.follow(last.id, new AbortController().signal)) last = state;
    return last;
  } finally {
    await store.close();
  }
}

/** A job's step by its name. */
export function stepOf(job: JobState, name: string): StepState {
  const step = job.steps.find((each) => each.name === name);
  assert.ok(step !== undefined, `no step ${name} in ${job.steps.map((each) => each.name).join()}`);
  return step;
}

function ask(mirror: Pick<Mirror, "app">, method: string, path: string, body?: object): Promise<WholeResponse> {
  const [, url = ""] = mirror.app.addresses;
  return request(`${url}/_admin/jobs${path}`, {
    method,
    ...(body !== undefined && { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } }),
  });
}
