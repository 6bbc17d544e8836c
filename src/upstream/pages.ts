import type { Digest } from "../oci/digest.ts";
import { parseNextLink } from "../oci/link.ts";
import { indexMediaType } from "../oci/manifest.ts";
import type { Repository } from "../oci/reference.ts";
import type { Registry } from "./ask.ts";
import { discard, mediaTypeOf, readBody } from "./body.ts";
import { formatPlace } from "./failures.ts";
import type { HttpResponse } from "./transport.ts";
import { type UpstreamPage, UpstreamError } from "./upstream.ts";

/** No page of a listing that is read may be longer. */
export const maxPageBytes: number = 4 * 1024 * 1024;

/** `Upstream.tags`. */
export async function listTags(
  registry: Registry,
  repository: Repository,
  query: string,
  signal: AbortSignal,
): Promise<UpstreamPage | undefined> {
  const response = await registry.ask(
    {
      kind: "tags",
      method: "GET",
      repository,
      resource: "tags/list",
      query,
      headers: { accept: "application/json" },
    },
    signal,
  );
  return response === undefined ? undefined : readPage(registry.host, response, "application/json", signal);
}

/**
 * `Upstream.referrers`. Only a 200 with an index is an answer of this API; a web page, a redirect to one (ghcr.io), or
 * any 4xx but 401, 403 and 429 means that the registry does not have it.
 */
export async function listReferrers(
  registry: Registry,
  repository: Repository,
  subject: Digest,
  query: string,
  signal: AbortSignal,
): Promise<UpstreamPage | undefined> {
  const response = await registry.ask(
    {
      kind: "referrers",
      method: "GET",
      repository,
      resource: `referrers/${subject}`,
      query,
      headers: { accept: indexMediaType },
      wants: ({ status }) => status < 500 && ![401, 403, 429].includes(status),
    },
    signal,
  );
  if (response === undefined) {
    return undefined;
  }
  if (response.status !== 200 || mediaTypeOf(response) !== indexMediaType) {
    discard(response);
    return undefined;
  }
  return readPage(registry.host, response, indexMediaType, signal);
}

async function readPage(
  host: string,
  response: HttpResponse,
  mediaType: string,
  signal: AbortSignal,
): Promise<UpstreamPage> {
  const bytes = await readBody(host, response, maxPageBytes, signal);
  if (!isJsonObject(bytes)) {
    throw new UpstreamError(host, "invalid", `${formatPlace(response.url)}: the page is not a JSON object`);
  }
  const next = parseNextLink(response.header("link"));
  const nextQuery = next === undefined ? undefined : URL.parse(next, response.url)?.search.slice(1);
  return {
    mediaType,
    bytes,
    nextQuery: nextQuery === "" ? undefined : nextQuery,
    filtersApplied: response.header("oci-filters-applied"),
  };
}

function isJsonObject(bytes: Buffer): boolean {
  try {
    const page: unknown = JSON.parse(bytes.toString("utf8"));
    return typeof page === "object" && page !== null && !Array.isArray(page);
  } catch {
    // Not JSON: that is the answer.
    return false;
  }
}
