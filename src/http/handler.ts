import { OciError } from "../oci/errors.ts";
import { parseRoute, type Route } from "../oci/route.ts";
import type { Namespaces } from "../registry/namespaces.ts";
import { listRepositories } from "./catalog.ts";
import { pullReferrers, pullTags, type Pull, pullBlob, pullManifest } from "./pull.ts";
import { answerPush, refuseMethod } from "./push.ts";
import { errorReply, type Facts, jsonReply, type Reply } from "./reply.ts";
import type { Handler, Request } from "./request.ts";

/**
 * The registry's API (distribution-spec, "Endpoints"): everything below `/v2/`.
 *
 * @param accelRedirect Where an nginx in front has the storage's folder (`accel_redirect`).
 */
export function createHandler(namespaces: Namespaces, accelRedirect?: string): Handler {
  return async (request, facts) => {
    try {
      return await answer(namespaces, accelRedirect, request, facts);
    } catch (error) {
      facts.error = error;
      return errorReply(error);
    }
  };
}

async function answer(
  namespaces: Namespaces,
  accelRedirect: string | undefined,
  request: Request,
  facts: Facts,
): Promise<Reply> {
  const head = request.method === "HEAD";
  const isPull = request.method === "GET" || head;
  const route = isPull ? parsePull(request.target) : parseRoute(request.target);
  if (route === undefined) throw new OciError("NOT_FOUND");
  const { endpoint } = route;
  facts.endpoint = endpoint.kind;
  // The upstream is never asked here: clients take a failure for a mirror that is not there.
  if (endpoint.kind === "base" && isPull) return jsonReply(200, "application/json", {});
  if (endpoint.kind === "catalog" && isPull) return listRepositories(namespaces, route, request);
  if (endpoint.kind === "base" || endpoint.kind === "catalog") return refuseMethod("GET, HEAD");
  const place = namespaces.open({ ...route, name: endpoint.name }, request.headers.host);
  facts.namespace = place.namespace;
  facts.label = place.label;
  facts.repository = place.repository;
  if ("digest" in endpoint) facts.reference = endpoint.digest;
  if ("reference" in endpoint) facts.reference = endpoint.reference;
  if (!isPull || endpoint.kind === "uploads") return answerPush({ namespaces, place, route, request });
  const pull: Pull = { place, head, headers: request.headers, asker: request.asker, facts, accelRedirect };
  switch (endpoint.kind) {
    case "manifest":
      return pullManifest(pull, endpoint.reference);
    case "blob":
      return pullBlob(pull, endpoint.digest);
    case "tags":
      return pullTags(pull, endpoint.name, route);
    case "referrers":
      return pullReferrers(pull, endpoint.digest, route);
  }
}

/** Who asks for what no tag can be called is told that there is none, as the OCI's conformance suite wants it. */
function parsePull(target: string): Route | undefined {
  try {
    return parseRoute(target);
  } catch (error) {
    if (!(error instanceof OciError) || error.code !== "TAG_INVALID") throw error;
    throw new OciError("MANIFEST_UNKNOWN", error.message);
  }
}
