import { createInterface } from "node:readline";
import { Agent, type Dispatcher, errors, request } from "undici";
import type * as z from "zod";
import {
  jobSchema,
  jobsSchema,
  namespacesSchema,
  pinsSchema,
  replicasSchema,
  purgeSchema,
  repositoriesSchema,
  tagsSchema,
  usageSchema,
} from "../http/admin-schema.ts";
import type { JobRequest } from "../jobs/job-request.ts";
import type { PurgeReport } from "../jobs/purge.ts";
import type { JobState } from "../jobs/job.ts";
import type { PinReport } from "../jobs/pin-list.ts";
import type { JobHost } from "./job-host.ts";
import { formatMs } from "./quantities.ts";
import { explain } from "./serve.ts";
import { CommandFailure, exitCodes, Refusal } from "./terminal.ts";

/** Adding up what a large cache holds takes its time. */
const longestAnswerMs = 600_000;

/** Where the administration is, and how one gets in. */
export interface AdminAddress {
  /** `http://host:port`, `https://host:port` or `unix:/path`. */
  readonly server: string;
  readonly token: string | undefined;
}

/** A path of the API that lists something, below `/_admin`. */
export type ListedPath = "/usage" | "/namespaces" | "/repositories" | "/tags" | "/pins" | "/replicas" | "/jobs";

/** What the answers of those are like. */
const listed: Readonly<Record<ListedPath, z.ZodType>> = {
  "/usage": usageSchema,
  "/namespaces": namespacesSchema,
  "/repositories": repositoriesSchema,
  "/tags": tagsSchema,
  "/pins": pinsSchema,
  "/replicas": replicasSchema,
  "/jobs": jobsSchema,
};

type Query = Readonly<Record<string, string | undefined>>;

/** Asks a mirror's administration. What it says no to, or does not answer, is a `CommandFailure`. */
export class AdminClient implements JobHost {
  readonly #address: AdminAddress;
  readonly #origin: string;
  readonly #agent: Agent;

  /** @throws {CommandFailure} `server` is no such address. */
  constructor(address: AdminAddress) {
    const { server } = address;
    const socketPath = server.startsWith("unix:") ? server.slice("unix:".length) : undefined;
    const url = URL.parse(socketPath === undefined ? server : "http://localhost");
    const isPlain = url !== null && url.username + url.password + url.search + url.hash === "" && url.pathname === "/";
    if (!isPlain || !/^https?:$/.test(url.protocol) || socketPath === "") {
      throw new CommandFailure("--server: expected http://host:port, https://host:port or unix:/path", { exitCode: 2 });
    }
    this.#address = address;
    this.#origin = url.origin;
    this.#agent = new Agent({
      headersTimeout: longestAnswerMs,
      bodyTimeout: 0,
      ...(socketPath !== undefined && { connect: { socketPath } }),
    });
  }

  /** An answer to GET; `path` is below `/_admin`. */
  async get<Answer>(path: ListedPath, query: Query = {}): Promise<Answer> {
    return this.#json(listed[path], "GET", path, query);
  }

  /** What removing something comes to. */
  async previewPurge(target: string): Promise<PurgeReport> {
    return this.#json(purgeSchema, "POST", "/purge", {}, { target, dryRun: true });
  }

  /** Adds a pin or takes it away; the pins as they are then. */
  async changePin(change: "add" | "remove", pattern: string): Promise<PinReport> {
    if (change === "add") return this.#json(pinsSchema, "POST", "/pins", {}, { pattern });
    return this.#json(pinsSchema, "DELETE", "/pins", { pattern });
  }

  async start(job: JobRequest): Promise<JobState> {
    return this.#json(jobSchema, "POST", "/jobs", {}, job);
  }

  async *follow(id: string): AsyncGenerator<JobState> {
    const { body } = await this.#ask("GET", `/jobs/${encodeURIComponent(id)}/events`, {});
    try {
      for await (const line of createInterface({ input: body })) yield this.#read<JobState>(jobSchema, line);
    } catch (error) {
      throw error instanceof CommandFailure ? error : this.#broken(error);
    } finally {
      body.destroy();
    }
  }

  async cancel(id: string): Promise<void> {
    await this.#json(jobSchema, "DELETE", `/jobs/${encodeURIComponent(id)}`, {});
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }

  async #json<Answer>(
    schema: z.ZodType,
    method: Dispatcher.HttpMethod,
    path: string,
    query: Query,
    body?: object,
  ): Promise<Answer> {
    const answer = await this.#ask(method, path, query, body);
    return this.#read(schema, await this.#text(answer.body));
  }

  async #text(body: Dispatcher.ResponseData["body"]): Promise<string> {
    try {
      return await body.text();
    } catch (error) {
      throw this.#broken(error);
    }
  }

  /** What is sent by a later version may have more fields. */
  #read<Answer>(schema: z.ZodType, text: string): Answer {
    const answer = parseJson(text);
    const read = schema.safeParse(answer);
    if (read.success || read.error.issues.every(({ code }) => code === "unrecognized_keys")) return answer as Answer;
    throw new CommandFailure(`${this.#address.server} answers, but not as the administration of a mirror does`);
  }

  #broken(cause: unknown): CommandFailure {
    return new CommandFailure(`the connection to ${this.#address.server} broke: ${explain(cause)}`, { cause });
  }

  async #ask(
    method: Dispatcher.HttpMethod,
    path: string,
    query: Query,
    body?: object,
  ): Promise<Dispatcher.ResponseData> {
    const { server, token } = this.#address;
    const url = new URL(`/_admin${path}`, this.#origin);
    for (const [name, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(name, value);
    let answer: Dispatcher.ResponseData;
    try {
      answer = await request(url, {
        method,
        dispatcher: this.#agent,
        headers: {
          accept: "application/json, application/x-ndjson",
          ...(body !== undefined && { "content-type": "application/json" }),
          ...(token !== undefined && { authorization: `Bearer ${token}` }),
        },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
    } catch (error) {
      throw unanswered(server, error);
    }
    if (answer.statusCode < 300) return answer;
    throw explainRefusal(answer.statusCode, await this.#text(answer.body), server, token);
  }
}

function unanswered(server: string, error: unknown): CommandFailure {
  if (error instanceof errors.HeadersTimeoutError) {
    const message = `${server} did not answer within ${formatMs(longestAnswerMs)}; what it was asked for may be going on`;
    return new CommandFailure(message, { cause: error });
  }
  const { code } = error as NodeJS.ErrnoException;
  const reason = error instanceof errors.UndiciError || code === undefined ? explain(error) : code;
  return new CommandFailure(
    `no mirror answers at ${server} (${reason}): start one with admin_listen, or name another with --server`,
    { cause: error },
  );
}

const refusals: ReadonlySet<number> = new Set([400, 404, 409]);

function explainRefusal(status: number, body: string, server: string, token: string | undefined): CommandFailure {
  const { message, detail } = readError(body);
  if (message === undefined) {
    return new CommandFailure(`${server} answers ${status}, and not as the administration of a mirror does`);
  }
  if (status === 401 && token === undefined) {
    return new CommandFailure(`${message}: name a file that holds it with --admin-token-file`);
  }
  const job = status === 409 ? (detail as { job?: unknown } | undefined)?.job : undefined;
  if (typeof job === "string") {
    return new CommandFailure(`a job of this kind runs already: \`entrepot jobs ${job}\` shows it`);
  }
  if (!refusals.has(status)) return new CommandFailure(message);
  return new Refusal(message, { exitCode: status === 400 ? exitCodes.usage : exitCodes.failed });
}

/** What an error in OCI form says; nothing where it is none. */
function readError(body: string): { readonly message?: string; readonly detail?: unknown } {
  const answer = parseJson(body);
  const list = typeof answer === "object" && answer !== null && "errors" in answer ? answer.errors : undefined;
  const [first] = Array.isArray(list) ? (list as readonly unknown[]) : [];
  if (typeof first !== "object" || first === null || !("message" in first)) return {};
  if (typeof first.message !== "string") return {};
  return { message: first.message, ...("detail" in first && { detail: first.detail }) };
}

/** `undefined` for what is no JSON. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}
