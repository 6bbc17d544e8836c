import type { IncomingHttpHeaders } from "node:http";
import { parseDigest, type Algorithm, type Digest, isOfNothing } from "../oci/digest.ts";
import { OciError } from "../oci/errors.ts";
import { maxManifestBytes } from "../oci/manifest.ts";
import { parseRepository, parseTag, type Reference, type Repository, type Tag } from "../oci/reference.ts";
import { type Endpoint, formatRoute, type Route } from "../oci/route.ts";
import type { Namespaces, OpenNamespace } from "../registry/namespaces.ts";
import {
  type MountSource,
  OutOfOrder,
  type PushCondition,
  type PushRegistry,
  type UploadChunk,
  type UploadState,
} from "../registry/registry.ts";
import type { Request } from "./request.ts";
import { names } from "./pull.ts";
import { errorReply, type Headers, registryHeaders, type Reply } from "./reply.ts";

/** How many tags a manifest may be pushed with at once (distribution-spec, end-7b; at least ten). */
const mostTags = 50;

/** A request that changes something, after it is known which repository of which registry it means. */
export interface Push {
  readonly namespaces: Namespaces;
  readonly place: OpenNamespace;
  readonly route: Route;
  readonly request: Request;
}

/** What a push is answered by, where its namespace can be pushed to. */
interface HostedPush extends Push {
  readonly push: PushRegistry;
}

/** Answers what is no pull (distribution-spec, "Pushing", "Content Management"). */
export async function answerPush(push: Push): Promise<Reply> {
  const { registry } = push.place;
  if (registry.push === undefined) return refuseMirror(push);
  const hosted: HostedPush = { ...push, push: registry.push };
  const { endpoint } = push.route;
  const { method } = push.request;
  try {
    switch (endpoint.kind) {
      case "uploads":
        return await (endpoint.session === undefined ? openUpload(hosted) : answerUpload(hosted, endpoint.session));
      case "manifest":
        if (method === "PUT") return await putManifest(hosted, endpoint.reference);
        if (method === "DELETE") return await deleteManifest(hosted, endpoint.reference);
        return refuseMethod("GET, HEAD, PUT, DELETE");
      case "blob":
        return method === "DELETE" ? await deleteBlob(hosted, endpoint.digest) : refuseMethod("GET, HEAD, DELETE");
      case "base":
      case "catalog":
      case "referrers":
      case "tags":
        return refuseMethod("GET, HEAD");
    }
  } catch (error) {
    if (!(error instanceof OutOfOrder)) throw error;
    return errorReply(new OciError("RANGE_INVALID", error.message), uploadHeaders(push, error.state));
  }
}

/** Nothing here can be done by such a method. */
export function refuseMethod(allow: string): Reply {
  return errorReply(new OciError("UNSUPPORTED", `only ${allow} can be done with this`), { Allow: allow });
}

function refuseMirror({ namespaces, place }: Push): Reply {
  const [hosted] = namespaces.hosted({ prefix: [], ns: undefined }, undefined);
  const way =
    hosted === undefined
      ? "to push, add a namespace to `hosted` in the configuration, such as `hosted: [{namespace: apps}]`"
      : `what is pushed belongs in a hosted namespace: ${hosted.namespace}/${place.repository}`;
  const message = `this is a mirror of ${place.namespace}: content can be pulled, not changed; ${way}`;
  return errorReply(new OciError("UNSUPPORTED", message), { Allow: "GET, HEAD" });
}

/** `POST …/blobs/uploads/` (end-4a, 4b, 4c, end-11). */
async function openUpload(push: HostedPush): Promise<Reply> {
  const { place, route, request } = push;
  if (request.method !== "POST") return refuseMethod("POST");
  const query = new URLSearchParams(route.query);
  const mounted = query.get("mount");
  if (mounted !== null) {
    const digest = parseDigest(mounted);
    const from = query.get("from");
    const source = from === null ? undefined : sourceOf(push, from);
    // Whatever is the reason, the client goes on by uploading it: to others that would tell what there is.
    const isPossible = from === null || source !== undefined;
    if (isPossible && (await push.push.mountBlob(place.repository, digest, source))) return blobCreated(push, digest);
  }
  const given = query.get("digest");
  const digest = given === null ? undefined : parseDigest(given);
  const state = await push.push.openUpload(place.repository, readAlgorithm(query.get("digest-algorithm"), digest));
  const isWhole = digest !== undefined && (hasBody(request.headers) || isOfNothing(digest));
  if (!isWhole) return { status: 202, headers: { ...uploadHeaders(push, state), "Content-Length": 0 } };
  await push.push.finishUpload(place.repository, state.session, digest, readChunk(request));
  return blobCreated(push, digest);
}

async function answerUpload(push: HostedPush, session: string): Promise<Reply> {
  const { place, route, request } = push;
  const { repository } = place;
  switch (request.method) {
    case "GET":
    case "HEAD":
      return { status: 204, headers: uploadHeaders(push, await push.push.upload(repository, session)) };
    case "PATCH": {
      const chunk = readChunk(request) ?? emptyChunk;
      const state = await push.push.addToUpload(repository, session, chunk);
      return { status: 202, headers: { ...uploadHeaders(push, state), "Content-Length": 0 } };
    }
    case "PUT": {
      const digest = parseDigest(new URLSearchParams(route.query).get("digest") ?? "");
      await push.push.finishUpload(repository, session, digest, readChunk(request));
      return blobCreated(push, digest);
    }
    case "DELETE":
      await push.push.cancelUpload(repository, session);
      return { status: 204, headers: registryHeaders };
    default:
      return refuseMethod("GET, HEAD, PATCH, PUT, DELETE");
  }
}

/** `PUT …/manifests/<reference>` (end-7a, 7b). */
async function putManifest(push: HostedPush, reference: Reference): Promise<Reply> {
  const { place, route, request } = push;
  const tags = readTags(route.query);
  const bytes = (await request.body?.(maxManifestBytes)) ?? Buffer.alloc(0);
  const stored = await push.push.putManifest(place.repository, reference, {
    bytes,
    contentType: request.headers["content-type"],
    tags,
    condition: conditionOf(request.headers),
  });
  const endpoint: Endpoint = { kind: "manifest", name: nameOf(route), reference };
  return {
    status: 201,
    headers: {
      ...created(push, endpoint, stored.digest),
      ETag: `"${stored.digest}"`,
      ...(stored.subject !== undefined && { "OCI-Subject": stored.subject }),
      ...(stored.tags.length > 0 && { "OCI-Tag": stored.tags.join(", ") }),
    },
  };
}

async function deleteManifest({ push, place, request }: HostedPush, reference: Reference): Promise<Reply> {
  if (await push.deleteManifest(place.repository, reference, conditionOf(request.headers))) return accepted;
  throw new OciError("MANIFEST_UNKNOWN", `${place.repository} has no manifest ${reference}`);
}

async function deleteBlob({ push, place }: HostedPush, digest: Digest): Promise<Reply> {
  if (await push.deleteBlob(place.repository, digest)) return accepted;
  throw new OciError("BLOB_UNKNOWN", `${place.repository} has no blob ${digest}`);
}

const accepted: Reply = { status: 202, headers: { ...registryHeaders, "Content-Length": 0 } };
const emptyChunk: UploadChunk = { start: undefined, sizeBytes: 0, bytes: (async function* () {})() };

function blobCreated(push: HostedPush, digest: Digest): Reply {
  return { status: 201, headers: created(push, { kind: "blob", name: nameOf(push.route), digest }, digest) };
}

function created({ route }: Push, endpoint: Endpoint, digest: Digest): Headers {
  return {
    ...registryHeaders,
    // Relative: who stands before this server may have another name, and TLS (RFC 9110 §10.2.2).
    Location: formatRoute({ ...route, endpoint, query: "" }),
    "Docker-Content-Digest": digest,
    "Content-Length": 0,
  };
}

/** What is said of an upload in each answer; of none that is empty a range could be told. */
function uploadHeaders({ route }: Push, { session, receivedBytes }: UploadState): Headers {
  return {
    ...registryHeaders,
    Location: formatRoute({ ...route, endpoint: { kind: "uploads", name: nameOf(route), session }, query: "" }),
    Range: `0-${Math.max(0, receivedBytes - 1)}`,
    "Docker-Upload-UUID": session,
  };
}

/** The repository's name as it stands in the path, with whatever names its registry. */
function nameOf({ endpoint }: Route): Repository {
  if (!("name" in endpoint)) throw new OciError("NOT_FOUND");
  return endpoint.name;
}

/** The repository that a blob is to be taken from, where it can be one of ours. */
function sourceOf({ namespaces, route, request }: Push, from: string): MountSource | undefined {
  try {
    return namespaces.open({ ...route, name: parseRepository(from) }, request.headers.host);
  } catch (error) {
    if (error instanceof OciError) return undefined;
    throw error;
  }
}

function readAlgorithm(given: string | null, digest: Digest | undefined): Algorithm {
  if (given === null) return digest?.startsWith("sha512:") === true ? "sha512" : "sha256";
  if (given === "sha256" || given === "sha512") return given;
  throw new OciError("DIGEST_INVALID", "the digest algorithm is not supported; use sha256 or sha512");
}

/** @throws {OciError} TAG_INVALID; URI_TOO_LONG: there are too many. */
function readTags(query: string): readonly Tag[] {
  const tags = [...new Set(new URLSearchParams(query).getAll("tag").map(parseTag))];
  if (tags.length > mostTags) throw new OciError("URI_TOO_LONG", `a manifest is pushed with ${mostTags} tags at most`);
  return tags;
}

function hasBody(headers: IncomingHttpHeaders): boolean {
  return headers["transfer-encoding"] !== undefined || Number(headers["content-length"] ?? 0) > 0;
}

/**
 * The body as a chunk; `undefined` where there is none. `Content-Range` is `<first>-<last>` (distribution-spec, "Pushing a
 * blob in chunks"); what RFC 9110 has in its place is read, too.
 *
 * @throws {OciError} BLOB_UPLOAD_INVALID, SIZE_INVALID
 */
function readChunk({ headers, stream }: Request): UploadChunk | undefined {
  const range = headers["content-range"];
  const length = headers["content-length"];
  const sizeBytes = length === undefined ? undefined : Number(length);
  if (!hasBody(headers) || stream === undefined)
    return range === undefined ? undefined : { ...emptyChunk, ...readRange(range) };
  const { start, end } = range === undefined ? { start: undefined, end: undefined } : readRange(range);
  if (start !== undefined && sizeBytes !== undefined && end - start + 1 !== sizeBytes) {
    throw new OciError("SIZE_INVALID", `Content-Range ${range} is not of the ${sizeBytes} bytes of Content-Length`);
  }
  return { start, sizeBytes: start === undefined ? sizeBytes : end - start + 1, bytes: stream() };
}

function readRange(range: string): { readonly start: number; readonly end: number } {
  const [, start, end] = /^(?:bytes )?(\d{1,15})-(\d{1,15})(?:\/(?:\d{1,15}|\*))?$/.exec(range) ?? [];
  if (start === undefined || Number(end) < Number(start)) {
    throw new OciError("BLOB_UPLOAD_INVALID", "Content-Range must look like 0-1023: the first byte and the last one");
  }
  return { start: Number(start), end: Number(end) };
}

/** `If-Match` and `If-None-Match` (RFC 9110 §13.1.1, §13.1.2) for what a reference stands for. */
function conditionOf({ "if-match": ifMatch, "if-none-match": ifNoneMatch }: IncomingHttpHeaders): PushCondition {
  const isNamed = (list: string, current: Digest | undefined): boolean => current !== undefined && names(list, current);
  return (current) =>
    (ifMatch === undefined || isNamed(ifMatch, current)) &&
    (ifNoneMatch === undefined || !isNamed(ifNoneMatch.replaceAll('W/"', '"'), current));
}
