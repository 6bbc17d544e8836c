import type { IncomingHttpHeaders } from "node:http";
import * as z from "zod";
import type { Administration } from "../jobs/administration.ts";
import { OciError } from "../oci/errors.ts";
import { isDigestReference } from "../oci/reference.ts";
import { parseRoute } from "../oci/route.ts";
import type { PurgeTarget } from "../ledger/ledger.ts";
import { type NamespaceRules, selectRepository } from "../registry/namespaces.ts";
import { type Clock, systemClock } from "../concurrency/clock.ts";
import { checkAccess } from "./admin-access.ts";
import { describeApi } from "./admin-openapi.ts";
import { type AdminOperation, createOperations } from "./admin-operations.ts";
import { readBy } from "./admin-reading.ts";
import { adminRoot } from "./admin-target.ts";
import type { Request } from "./request.ts";
import { errorReply, type Facts, jsonReply, type Reply } from "./reply.ts";

const maxBodyBytes = 1024 * 1024;

/** What the administration's API works with. */
export interface AdminApiOptions {
  readonly administration: Administration;
  /** What decides which registry the name in a predecessor's delete means. */
  readonly rules: NamespaceRules;
  /** Gets the token that every request needs; it is asked each time, as a file may change. None: no token is needed. */
  readonly token: (() => Promise<string>) | undefined;
  /** The name that is listened at, where it is one: without a token, GETs come by it, by an address or `localhost`. */
  readonly host?: string | undefined;
  /** For tests. */
  readonly clock?: Clock;
  readonly version: string;
}

/** Answers requests of the administration. */
export class AdminApi {
  readonly #options: AdminApiOptions;
  readonly #operations: readonly AdminOperation[];
  #document: object | undefined;

  constructor(options: AdminApiOptions) {
    this.#options = options;
    const described = createOperations(options.administration, options.clock ?? systemClock);
    const self: AdminOperation = {
      method: "GET",
      path: "/openapi.json",
      id: "getDescription",
      summary: "This document.",
      answer: { status: 200, description: "OpenAPI 3.1.", mediaType: "application/json", schema: z.looseObject({}) },
      run: async () => {
        this.#document ??= describeApi(this.#operations, options.version, options.token !== undefined);
        return jsonReply(200, "application/json", this.#document);
      },
    };
    this.#operations = [self, ...described];
  }

  async answer(request: Request, facts: Facts): Promise<Reply> {
    const { token, host } = this.#options;
    checkAccess(request, { token: await token?.(), host });
    const [path = "", query = ""] = request.target.slice(adminRoot.length).split(/\?(.*)/s, 2);
    if (/^\/.+\/(?:manifests|blobs)\/[^/]+$/.test(path)) return this.#delete(request, facts);
    const method = request.method === "HEAD" ? "GET" : request.method;
    const here = this.#operations.filter((operation) => match(operation.path, path) !== undefined);
    if (here.length === 0) throw new OciError("NOT_FOUND", `no such resource; ${adminRoot}/openapi.json has them all`);
    const operation = here.find((each) => each.method === method);
    if (operation === undefined) return refuseMethod(here.map((each) => each.method));
    return operation.run({
      parameter: match(operation.path, path) ?? "",
      query: readBy(operation.query ?? z.strictObject({}), parseQuery(query), "the query"),
      body: operation.body === undefined ? undefined : readBy(operation.body, await readJson(request), "the body"),
      facts,
    });
  }

  /** The predecessor's deletes: the same names as in a pull, and nothing in the answer. */
  async #delete({ method, target, headers }: Request, facts: Facts): Promise<Reply> {
    if (method !== "DELETE") return refuseMethod(["DELETE"]);
    const route = parseRoute(`/v2${target.slice(adminRoot.length)}`);
    const endpoint = route?.endpoint;
    if (route === undefined || (endpoint?.kind !== "manifest" && endpoint?.kind !== "blob")) {
      throw new OciError("NOT_FOUND");
    }
    const id = selectRepository({ ...route, name: endpoint.name }, headers.host, this.#options.rules);
    const reference = endpoint.kind === "blob" ? endpoint.digest : endpoint.reference;
    Object.assign(facts, { ...id, reference });
    const purged: PurgeTarget = isDigestReference(reference)
      ? { kind: "digest", id, digest: reference }
      : { kind: "tag", id, tag: reference };
    await this.#options.administration.purge(purged, { dryRun: false });
    return { status: 200, headers: { "Content-Length": 0 } };
  }
}

/** What a path's part in braces stands for, or empty text; `undefined` where the path is another one. */
function match(template: string, path: string): string | undefined {
  const parts = template.split("/");
  const segments = path.split("/");
  if (parts.length !== segments.length) return undefined;
  let parameter = "";
  for (const [index, part] of parts.entries()) {
    const segment = segments[index] ?? "";
    if (part.startsWith("{") && segment !== "") parameter = segment;
    else if (part !== segment) return undefined;
  }
  return parameter;
}

function refuseMethod(methods: readonly AdminOperation["method"][]): Reply {
  const allowed = methods.flatMap((method) => (method === "GET" ? ["GET", "HEAD"] : [method]));
  return errorReply(new OciError("UNSUPPORTED", `use ${methods.join(" or ")} here`), { Allow: allowed.join(", ") });
}

function parseQuery(text: string): Readonly<Record<string, string>> {
  const fields = [...new URLSearchParams(text)];
  if (new Set(fields.map(([name]) => name)).size < fields.length) {
    throw new OciError("REQUEST_INVALID", "the query has a field twice");
  }
  return Object.fromEntries(fields);
}

/** A page of another site can post a form, or text, without asking first; never JSON by its name. */
function isJson(headers: IncomingHttpHeaders): boolean {
  return /^application\/json *(?:;|$)/i.test(headers["content-type"] ?? "");
}

async function readJson(request: Request): Promise<unknown> {
  if (!isJson(request.headers)) {
    throw new OciError("UNSUPPORTED_MEDIA_TYPE", "send JSON, with `Content-Type: application/json`");
  }
  const bytes = (await request.body?.(maxBodyBytes)) ?? Buffer.alloc(0);
  try {
    return JSON.parse(bytes.toString("utf8")) as unknown;
  } catch {
    throw new OciError("REQUEST_INVALID", "the body is not JSON");
  }
}
