import type * as z from "zod";
import type { Administration } from "../jobs/administration.ts";
import type { JobState } from "../jobs/job.ts";
import { OciError } from "../oci/errors.ts";
import type { RepositoryId } from "../store/layout.ts";
import type { Clock } from "../concurrency/clock.ts";
import { streamJob } from "./admin-events.ts";
import { checkPlace, readRepositoryPlace, readTagPlace } from "./admin-reading.ts";
import {
  jobRequest,
  jobSchema,
  jobsSchema,
  namespacesSchema,
  pinRequest,
  pinsSchema,
  purgeRequest,
  purgeSchema,
  replicasSchema,
  repositoriesQuery,
  repositoriesSchema,
  tagsQuery,
  tagsSchema,
  usageSchema,
} from "./admin-schema.ts";
import { type Facts, jsonReply, type Reply } from "./reply.ts";

/** What an operation answers where it succeeds. */
export interface AdminAnswer {
  readonly status: number;
  readonly description: string;
  /** None where the answer has no body. */
  readonly mediaType?: string;
  /** Of a stream of lines, what each line is. */
  readonly schema?: z.ZodType;
}

/** One thing that the API can do: as the document describes it, and as it is done. */
export interface AdminOperation {
  readonly method: "GET" | "POST" | "DELETE";
  /** Below `/_admin`; a part in braces stands for any one segment. */
  readonly path: string;
  readonly id: string;
  readonly summary: string;
  readonly query?: z.ZodType;
  readonly body?: z.ZodType;
  readonly answer: AdminAnswer;
  /** Does it; `query` and `body` are as their schemas read them. */
  run(call: AdminCall): Promise<Reply>;
}

/** A request to an operation. */
export interface AdminCall {
  /** The segment that the path's part in braces stands for. */
  readonly parameter: string;
  readonly query: unknown;
  readonly body: unknown;
  readonly facts: Facts;
}

type Output<Schema> = Schema extends z.ZodType<infer Value> ? Value : undefined;

interface Description<Query extends z.ZodType | undefined, Body extends z.ZodType | undefined> {
  readonly method: AdminOperation["method"];
  readonly path: string;
  readonly id: string;
  readonly summary: string;
  readonly query?: Query;
  readonly body?: Body;
  readonly answer: AdminAnswer;
  readonly run: (call: {
    readonly parameter: string;
    readonly query: Output<Query>;
    readonly body: Output<Body>;
    readonly facts: Facts;
  }) => Promise<Reply> | Reply;
}

/** Joins what is described with how it is done: `run` gets what the schemas read. */
function describe<Query extends z.ZodType | undefined = undefined, Body extends z.ZodType | undefined = undefined>(
  description: Description<Query, Body>,
): AdminOperation {
  const { query, body, run, ...rest } = description;
  return {
    ...rest,
    ...(query !== undefined && { query }),
    ...(body !== undefined && { body }),
    run: async (call) => run({ ...call, query: call.query as Output<Query>, body: call.body as Output<Body> }),
  };
}

function json(schema: z.ZodType, description: string, status = 200): AdminAnswer {
  return { status, description, mediaType: "application/json", schema };
}

function answerJson(document: unknown, status = 200): Reply {
  return jsonReply(status, "application/json", document);
}

/** All operations but the predecessor's, and the document that describes them. */
export function createOperations(administration: Administration, clock: Clock): readonly AdminOperation[] {
  return [
    describe({
      method: "GET",
      path: "/usage",
      id: "getUsage",
      summary: "How full the cache is, and by what.",
      answer: json(usageSchema, "The usage."),
      run: async () => answerJson(await administration.usage()),
    }),
    describe({
      method: "GET",
      path: "/namespaces",
      id: "listNamespaces",
      summary: "The registries of which something is cached.",
      answer: json(namespacesSchema, "The namespaces, all of them."),
      run: async () => answerJson({ items: await administration.namespaces() }),
    }),
    describe({
      method: "GET",
      path: "/repositories",
      id: "listRepositories",
      summary: "The repositories of which something is cached.",
      query: repositoriesQuery,
      answer: json(repositoriesSchema, "A part of the list."),
      run: async ({ query }) => {
        checkPlace(query.after, readRepositoryPlace);
        return answerJson(await administration.repositories(query));
      },
    }),
    describe({
      method: "GET",
      path: "/tags",
      id: "listTags",
      summary: "A repository's cached tags, and its manifests that have none.",
      query: tagsQuery,
      answer: json(tagsSchema, "A part of the list."),
      run: async ({ query: { namespace, repository, ...part } }) => {
        checkPlace(part.after, readTagPlace);
        const id = namespace === undefined ? readName(administration, repository) : { namespace, repository };
        return answerJson(await administration.tags({ ...id, ...part }));
      },
    }),
    describe({
      method: "POST",
      path: "/purge",
      id: "purge",
      summary:
        "Remove something from the cache, or say what that comes to. It waits for the end of the job that removes it, which runs on when the client leaves; a job of the kind `purge` is the same without waiting.",
      body: purgeRequest,
      answer: json(purgeSchema, "What was removed."),
      run: async ({ body: { target, dryRun }, facts }) => {
        facts.reference = target;
        return answerJson(await administration.purge(administration.target(target), { dryRun }));
      },
    }),
    describe({
      method: "GET",
      path: "/replicas",
      id: "listReplicas",
      summary: "The instances that act as one with this one, and what each fetches.",
      answer: json(replicasSchema, "The replicas."),
      run: async () => answerJson(administration.replicas()),
    }),
    ...describePins(administration),
    ...describeJobs(administration, clock),
  ];
}

function describePins(administration: Administration): readonly AdminOperation[] {
  return [
    describe({
      method: "GET",
      path: "/pins",
      id: "listPins",
      summary: "The patterns of what is never evicted.",
      answer: json(pinsSchema, "The pins."),
      run: async () => answerJson(await administration.pins()),
    }),
    describe({
      method: "POST",
      path: "/pins",
      id: "addPin",
      summary: "Add a pin; it survives a restart.",
      body: pinRequest,
      answer: json(pinsSchema, "The pins as they are now."),
      run: async ({ body: { pattern }, facts }) => {
        facts.reference = pattern;
        await administration.addPin(pattern);
        return answerJson(await administration.pins());
      },
    }),
    describe({
      method: "DELETE",
      path: "/pins",
      id: "removePin",
      summary: "Take away a pin that was added.",
      query: pinRequest,
      answer: json(pinsSchema, "The pins as they are now."),
      run: async ({ query: { pattern }, facts }) => {
        facts.reference = pattern;
        await administration.removePin(pattern);
        return answerJson(await administration.pins());
      },
    }),
  ];
}

function describeJobs(administration: Administration, clock: Clock): readonly AdminOperation[] {
  return [
    describe({
      method: "GET",
      path: "/jobs",
      id: "listJobs",
      summary: "The jobs that run and the last ones that ran, the newest first, without their steps.",
      answer: json(jobsSchema, "The jobs."),
      run: () => answerJson({ items: administration.jobs().map(withoutSteps) }),
    }),
    describe({
      method: "POST",
      path: "/jobs",
      id: "startJob",
      summary: "Start a job. It runs on when the client leaves.",
      body: jobRequest,
      answer: json(jobSchema, "The job as it starts.", 202),
      run: ({ body, facts }) => {
        const job = administration.start(body);
        facts.reference = job.id;
        return answerJson(job, 202);
      },
    }),
    describe({
      method: "GET",
      path: "/jobs/{id}",
      id: "getJob",
      summary: "A job as it is now.",
      answer: json(jobSchema, "The job."),
      run: ({ parameter }) => answerJson(administration.job(parameter)),
    }),
    describe({
      method: "DELETE",
      path: "/jobs/{id}",
      id: "cancelJob",
      summary: "Stop a job; it ends a little later.",
      answer: json(jobSchema, "The job as it is now.", 202),
      run: ({ parameter, facts }) => {
        facts.reference = parameter;
        return answerJson(administration.cancel(parameter), 202);
      },
    }),
    describe({
      method: "GET",
      path: "/jobs/{id}/events",
      id: "followJob",
      summary:
        "A job's state now, whenever it changes, and every 20 seconds when it does not; one JSON object a line, until it has ended.",
      answer: {
        status: 200,
        description: "The states, the last of which is the job's end.",
        mediaType: "application/x-ndjson",
        schema: jobSchema,
      },
      run: ({ parameter }) => {
        administration.job(parameter);
        return {
          status: 200,
          headers: { "Content-Type": "application/x-ndjson", "Cache-Control": "no-store" },
          body: streamJob(administration, parameter, clock),
        };
      },
    }),
  ];
}

function withoutSteps({ steps: _steps, ...head }: JobState): Omit<JobState, "steps"> {
  return head;
}

/** A repository by a name as `purge` reads it. */
function readName(administration: Administration, name: string): RepositoryId {
  const target = administration.target(name);
  if (target.kind === "repository") return target.id;
  throw new OciError("NAME_INVALID", `${JSON.stringify(name)} is no repository's name`);
}
