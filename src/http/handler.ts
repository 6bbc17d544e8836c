import type { IncomingHttpHeaders } from "node:http";
import { OciError } from "../oci/errors.ts";
import { parseRoute } from "../oci/route.ts";
import type { Namespaces } from "../registry/namespaces.ts";
import type { Asker } from "../concurrency/interest.ts";
import { pullReferrers, pullTags, type Pull, pullBlob, pullManifest } from "./pull.ts";
import { errorReply, type Facts, jsonReply, type Reply } from "./reply.ts";

/** A request, as far as an answer depends on it. */
export interface Request {
  readonly method: string;
  /** Path and query, as they came. */
  readonly target: string;
  readonly headers: IncomingHttpHeaders;
  /** The client, until it leaves; without it, it stays. */
  readonly asker?: Asker;
  /**
   * Reads the body whole. Called once at most; where it is not, nobody reads the body.
   *
   * @throws {OciError} CONTENT_TOO_LARGE where it has more than `maxBytes`; what the client's connection fails with.
   */
  readonly body?: (maxBytes: number) => Promise<Buffer>;
}

/** Answers one request. Never rejects: what fails becomes a reply, and `facts.error` says why. */
export type Handler = (request: Request, facts: Facts) => Promise<Reply>;

/** The registry's API (distribution-spec, "Endpoints"): everything below `/v2/`. */
export function createHandler(namespaces: Namespaces): Handler {
  return async (request, facts) => {
    try {
      return await answer(namespaces, request, facts);
    } catch (error) {
      facts.error = error;
      return errorReply(error);
    }
  };
}

async function answer(namespaces: Namespaces, request: Request, facts: Facts): Promise<Reply> {
  const route = parseRoute(request.target);
  if (route === undefined) throw new OciError("NOT_FOUND");
  const { endpoint } = route;
  facts.endpoint = endpoint.kind;
  const head = request.method === "HEAD";
  if (endpoint.kind === "uploads" || (request.method !== "GET" && !head)) {
    const refusal = new OciError("UNSUPPORTED", "this is a mirror: content can be pulled, not changed");
    return errorReply(refusal, { Allow: "GET, HEAD" });
  }
  // The upstream is never asked here: clients take a failure for a mirror that is not there.
  if (endpoint.kind === "base") return jsonReply(200, "application/json", {});
  const place = namespaces.open({ ...route, name: endpoint.name }, request.headers.host);
  const pull: Pull = { place, head, headers: request.headers, asker: request.asker, facts };
  facts.namespace = place.namespace;
  facts.label = place.label;
  facts.repository = place.repository;
  switch (endpoint.kind) {
    case "manifest":
      facts.reference = endpoint.reference;
      return pullManifest(pull, endpoint.reference);
    case "blob":
      facts.reference = endpoint.digest;
      return pullBlob(pull, endpoint.digest);
    case "tags":
      return pullTags(pull, endpoint.name, route);
    case "referrers":
      facts.reference = endpoint.digest;
      return pullReferrers(pull, endpoint.digest, route);
  }
}
