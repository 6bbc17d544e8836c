import type { IncomingHttpHeaders } from "node:http";
import type { Digest } from "../oci/digest.ts";
import { OciError } from "../oci/errors.ts";
import { formatNextLink } from "../oci/link.ts";
import { indexMediaType } from "../oci/manifest.ts";
import { formatContentRange, parseRange, resolveRange } from "../oci/range.ts";
import type { Reference, Repository } from "../oci/reference.ts";
import { formatRoute, type Route } from "../oci/route.ts";
import type { OpenNamespace } from "../registry/namespaces.ts";
import type { Answer, BlobContent } from "../registry/registry.ts";
import type { Page } from "../store/content-records.ts";
import type { Asker } from "../concurrency/interest.ts";
import {
  type BodyStream,
  cacheHeaders,
  errorReply,
  type Facts,
  type Headers,
  jsonReply,
  registryHeaders,
  type Reply,
} from "./reply.ts";

const largestPage = 1000;

/** A pull, after it is known which repository of which registry it means. */
export interface Pull {
  readonly place: OpenNamespace;
  /** Whether only the header fields are wanted. */
  readonly head: boolean;
  readonly headers: IncomingHttpHeaders;
  /** The client; see `PullRegistry`. */
  readonly asker: Asker | undefined;
  readonly facts: Facts;
  /** Where an nginx in front has the storage's folder; with a slash at its end. */
  readonly accelRedirect: string | undefined;
}

/** `GET`/`HEAD /v2/<name>/manifests/<reference>` (distribution-spec end-3). `Range` is ignored: the answer is whole. */
export async function pullManifest(pull: Pull, reference: Reference): Promise<Reply> {
  const { registry, repository, namespace } = pull.place;
  const answer = pull.head
    ? await registry.resolve(repository, reference, pull.asker)
    : await registry.manifest(repository, reference, pull.asker);
  if (answer === undefined) {
    throw new OciError("MANIFEST_UNKNOWN", `${namespace} has no manifest ${reference} in ${repository}`);
  }
  pull.facts.cache = answer.cache;
  const { value } = answer;
  const [descriptor, bytes] = "bytes" in value ? [value.descriptor, value.bytes] : [value, undefined];
  const headers: Headers = {
    ...contentHeaders(pull, descriptor.digest, answer),
    "Content-Type": descriptor.mediaType,
    "Content-Length": descriptor.size,
  };
  const unmet = unlessMet(pull, descriptor.digest, headers);
  if (unmet !== undefined) return unmet;
  return bytes === undefined ? { status: 200, headers } : { status: 200, headers, body: bytes };
}

/** `GET`/`HEAD /v2/<name>/blobs/<digest>` (end-2), whole or a single range (RFC 9110 §14). */
export async function pullBlob(pull: Pull, digest: Digest): Promise<Reply> {
  const range = pull.head ? undefined : parseRange(pull.headers.range);
  if (pull.head || unlessMet(pull, digest, {}) !== undefined) return describeBlob(pull, digest);
  const { registry, repository } = pull.place;
  const location = await registry.blobLocation?.(repository, digest);
  if (location !== undefined) return redirectTo(pull, digest, location);
  const answer = await registry.openBlob(repository, digest, pull.asker);
  if (answer === undefined) throw unknownBlob(pull, digest);
  pull.facts.cache = answer.cache;
  const blob = answer.value;
  const headers = blobHeaders(pull, digest, answer);
  const size = blob.sizeBytes;
  if (size === undefined) return { status: 200, headers, body: stream(blob, undefined) };
  const span = resolveRange(honoursRange(pull.headers["if-range"], digest) ? range : undefined, size);
  if (span === "unsatisfiable") {
    await blob.close();
    return errorReply(new OciError("RANGE_INVALID", `the blob has ${size} bytes`), {
      "Content-Range": `bytes */${size}`,
    });
  }
  if (pull.accelRedirect !== undefined && blob.file !== undefined && letsNginxSend(pull.headers)) {
    await blob.close();
    // nginx would pass that on beside its own.
    const { "Accept-Ranges": _ranges, ...rest } = headers;
    const internal = { "X-Accel-Redirect": `${pull.accelRedirect}${blob.file}`, Vary: "X-Sendfile-Type" };
    return { status: 200, headers: { ...rest, ...internal, "Content-Length": 0 } };
  }
  if (span === "full") {
    return { status: 200, headers: { ...headers, "Content-Length": size }, body: stream(blob, undefined) };
  }
  return {
    status: 206,
    headers: {
      ...headers,
      "Content-Length": span.end - span.start,
      "Content-Range": formatContentRange(span, size),
    },
    body: stream(blob, span),
  };
}

/** `GET /v2/<name>/tags/list` (end-8). */
export async function pullTags(pull: Pull, name: Repository, route: Route): Promise<Reply> {
  const { registry, repository, namespace } = pull.place;
  const answer = await registry.tags(repository, limitPage(route.query), pull.asker);
  if (answer === undefined) throw new OciError("NAME_UNKNOWN", `${namespace} has no repository ${repository}`);
  return listing(pull, route, answer, "application/json", { name, ...answer.value.document });
}

/** `GET /v2/<name>/referrers/<digest>` (end-12). After a 404 clients look for the tag themselves. */
export async function pullReferrers(pull: Pull, subject: Digest, route: Route): Promise<Reply> {
  const { registry, repository } = pull.place;
  const answer = await registry.referrers(repository, subject, limitPage(route.query), pull.asker);
  if (answer === undefined) {
    throw new OciError("NOT_FOUND", `${pull.place.namespace} does not list referrers`);
  }
  return listing(pull, route, answer, indexMediaType, answer.value.document);
}

function listing(pull: Pull, route: Route, answer: Answer<Page>, mediaType: string, document: unknown): Reply {
  pull.facts.cache = answer.cache;
  const headers = { ...cacheHeaders(pull.place.namespace, answer.cache), "Cache-Control": "no-transform" };
  const { nextQuery, filtersApplied } = answer.value;
  return jsonReply(200, mediaType, document, {
    ...headers,
    ...(nextQuery !== undefined && { Link: formatNextLink(formatRoute({ ...route, query: nextQuery })) }),
    ...(filtersApplied !== undefined && { "OCI-Filters-Applied": filtersApplied }),
  });
}

async function describeBlob(pull: Pull, digest: Digest): Promise<Reply> {
  const { registry, repository } = pull.place;
  const answer = await registry.statBlob(repository, digest, pull.asker);
  if (answer === undefined) throw unknownBlob(pull, digest);
  pull.facts.cache = answer.cache;
  const { sizeBytes } = answer.value;
  const headers = blobHeaders(pull, digest, answer);
  return (
    unlessMet(pull, digest, headers) ?? {
      status: 200,
      headers: sizeBytes === undefined ? headers : { ...headers, "Content-Length": sizeBytes },
    }
  );
}

/** The address gives the blob to whoever has it, for a short time: nobody may keep it for others. */
function redirectTo(pull: Pull, digest: Digest, location: string): Reply {
  const cache = { hit: true } as const;
  pull.facts.cache = cache;
  const headers = contentHeaders(pull, digest, { value: undefined, cache });
  return { status: 307, headers: { ...headers, "Cache-Control": "no-store", "Content-Length": 0, Location: location } };
}

/**
 * Whether the request came through an nginx that sends files itself, which it says by the field that Rack has for that. A
 * client that says so gets an empty answer, which no cache takes for others', as it varies. An nginx that is to set the
 * `ETag` itself refuses each `If-Match`, and honours no `If-Range`, as it compares them before.
 */
function letsNginxSend(headers: IncomingHttpHeaders): boolean {
  const { "x-sendfile-type": type, "if-match": ifMatch, "if-range": ifRange } = headers;
  return type === "X-Accel-Redirect" && ifMatch === undefined && ifRange === undefined;
}

function stream(blob: BlobContent, span: { readonly start: number; readonly end: number } | undefined): BodyStream {
  return { read: (signal) => blob.read(span, signal), close: () => blob.close() };
}

function contentHeaders(pull: Pull, digest: Digest, answer: Answer<unknown>): Headers {
  return {
    ...registryHeaders,
    "Docker-Content-Digest": digest,
    ETag: `"${digest}"`,
    // A proxy that compresses would break lengths and ranges.
    "Cache-Control": "no-transform",
    ...cacheHeaders(pull.place.namespace, answer.cache),
  };
}

function blobHeaders(pull: Pull, digest: Digest, answer: Answer<unknown>): Headers {
  return {
    ...contentHeaders(pull, digest, answer),
    "Content-Type": "application/octet-stream",
    "Accept-Ranges": "bytes",
    // Whoever made the blob must not have it run in a browser that is led here.
    "Content-Disposition": "attachment",
  };
}

function unknownBlob(pull: Pull, digest: Digest): OciError {
  return new OciError("BLOB_UNKNOWN", `${pull.place.namespace} has no blob ${digest} in ${pull.place.repository}`);
}

function notModified(headers: Headers): Reply {
  const { "Content-Length": _length, "Content-Type": _type, ...rest } = headers;
  return { status: 304, headers: rest };
}

/**
 * The answer where a condition of the request does not hold for the content of this digest, whose header fields would
 * be these; `undefined` where all hold. `If-Match` comes first (RFC 9110 §13.2.2).
 */
function unlessMet({ headers: asked }: Pull, digest: Digest, headers: Headers): Reply | undefined {
  const { "if-match": ifMatch, "if-none-match": ifNoneMatch } = asked;
  // A weak tag stands for no bytes in particular: for `If-Match` it is none (§13.1.1), else as good as a strong one.
  if (ifMatch !== undefined && !names(ifMatch, digest)) return errorReply(new OciError("PRECONDITION_FAILED"));
  return ifNoneMatch !== undefined && names(ifNoneMatch.replaceAll('W/"', '"'), digest)
    ? notModified(headers)
    : undefined;
}

/** Whether a list of entity tags has this digest's, or is `*`. */
export function names(tags: string, digest: Digest): boolean {
  return tags.trim() === "*" || tags.split(",").some((tag) => tag.trim() === `"${digest}"`);
}

/** Whether `If-Range` (RFC 9110 §13.1.5) lets the range stand. */
function honoursRange(ifRange: string | string[] | undefined, digest: Digest): boolean {
  return ifRange === undefined || ifRange === `"${digest}"`;
}

/** Checks `n` and keeps it within what registries serve at once. */
export function limitPage(query: string): string {
  const parameters = new URLSearchParams(query);
  const n = parameters.get("n");
  if (n === null) return query;
  if (!/^\d{1,9}$/.test(n)) throw new OciError("PAGINATION_NUMBER_INVALID", "n must be a whole number");
  if (Number(n) <= largestPage) return query;
  parameters.set("n", String(largestPage));
  return parameters.toString();
}
