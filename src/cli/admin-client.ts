import { createInterface } from "node:readline";
import { Agent, type Dispatcher, errors, request } from "undici";
import type { JobRequest } from "../jobs/administration.ts";
import type { JobState } from "../jobs/job.ts";
import type { JobHost } from "./job-host.ts";
import { explain } from "./serve.ts";
import { CommandFailure } from "./terminal.ts";

/** Removing a large namespace takes its time. */
const longestAnswerMs = 600_000;

/** Where the administration is, and how one gets in. */
export interface AdminAddress {
  /** `http://host:port`, `https://host:port` or `unix:/path`. */
  readonly server: string;
  readonly token: string | undefined;
}

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
    if (url === null || !/^https?:$/.test(url.protocol) || socketPath === "" || url.username + url.password !== "") {
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
  async get<Answer>(path: string, query: Query = {}): Promise<Answer> {
    return this.#json("GET", path, query);
  }

  async post<Answer>(path: string, body: object): Promise<Answer> {
    return this.#json("POST", path, {}, body);
  }

  async delete<Answer>(path: string, query: Query = {}): Promise<Answer> {
    return this.#json("DELETE", path, query);
  }

  async start(job: JobRequest): Promise<JobState> {
    return this.post("/jobs", job);
  }

  async *follow(id: string): AsyncGenerator<JobState> {
    const { body } = await this.#ask("GET", `/jobs/${encodeURIComponent(id)}/events`, {});
    try {
      for await (const line of createInterface({ input: body })) yield JSON.parse(line) as JobState;
    } catch (error) {
      throw new CommandFailure(`the connection to ${this.#address.server} broke: ${explain(error)}`, { cause: error });
    } finally {
      body.destroy();
    }
  }

  async cancel(id: string): Promise<void> {
    await this.delete(`/jobs/${encodeURIComponent(id)}`);
  }

  async close(): Promise<void> {
    await this.#agent.destroy();
  }

  async #json<Answer>(method: Dispatcher.HttpMethod, path: string, query: Query, body?: object): Promise<Answer> {
    const answer = await this.#ask(method, path, query, body);
    return (await answer.body.json()) as Answer;
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
    throw new CommandFailure(explainRefusal(answer.statusCode, await answer.body.text(), server, token));
  }
}

function unanswered(server: string, error: unknown): CommandFailure {
  const { code } = error as NodeJS.ErrnoException;
  const reason = error instanceof errors.UndiciError || code === undefined ? explain(error) : code;
  return new CommandFailure(
    `no mirror answers at ${server} (${reason}): start one with admin_listen, or name another with --server`,
    { cause: error },
  );
}

function explainRefusal(status: number, body: string, server: string, token: string | undefined): string {
  const message = readMessage(body);
  if (message === undefined) return `${server} answers ${status}, and not as the administration of a mirror does`;
  if (status !== 401) return message;
  return token === undefined ? `${message}: name a file that holds it with --token-file` : message;
}

/** The message of an error in OCI form. */
function readMessage(body: string): string | undefined {
  try {
    const { errors: list } = JSON.parse(body) as { errors?: { message?: unknown }[] };
    const message = list?.[0]?.message;
    return typeof message === "string" ? message : undefined;
  } catch {
    return undefined;
  }
}
