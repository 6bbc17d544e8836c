import { algorithmOf, type Digest, digestOf } from "../oci/digest.ts";
import { DocumentError, type Json, maxListingNames, parseDocument } from "../oci/document.ts";
import { parseNextLink } from "../oci/link.ts";
import { indexMediaType } from "../oci/manifest.ts";
import type { Repository } from "../oci/reference.ts";
import type { Question, RegistryClient } from "./registry-client.ts";
import { mediaTypeOf } from "./body.ts";
import { invalid } from "./failures.ts";
import type { HttpResponse } from "./transport.ts";
import { turnToRead } from "../concurrency/turn.ts";
import { type Ask, type UpstreamPage } from "./upstream.ts";

/** No page of a listing that is read may be longer. */
const maxPageBytes = 4 * 1024 * 1024;

/** What says nothing of whether there is a referrers API: no right to ask, come back later, or a proxy's word. */
const undecided: ReadonlySet<number> = new Set([401, 403, 407, 408, 421, 425, 429]);

/** `Upstream.tags`. */
export async function fetchTags(
  registry: RegistryClient,
  repository: Repository,
  query: string,
  by: Ask,
): Promise<UpstreamPage | undefined> {
  const question: Question = { kind: "tags", repository, resource: "tags/list", query, accept: "application/json" };
  const response = await registry.ask(question, by);
  return response && toPage(response, await readWhole(response));
}

/**
 * `Upstream.referrers`. Only a 200 with an index is an answer of this API, be it called plain JSON; the subject itself, a
 * web page, a redirect to one (ghcr.io), a 501 or most of the 4xx mean that the registry does not have it.
 */
export async function fetchReferrers(
  registry: RegistryClient,
  repository: Repository,
  subject: Digest,
  query: string,
  by: Ask,
): Promise<UpstreamPage | undefined> {
  const response = await registry.ask(
    {
      kind: "referrers",
      repository,
      resource: `referrers/${subject}`,
      query,
      accept: indexMediaType,
      wants: ({ status }) => status === 501 || (status < 500 && !undecided.has(status)),
    },
    by,
  );
  if (response === undefined) return undefined;
  const mediaType = mediaTypeOf(response);
  if (response.status !== 200 || (mediaType !== indexMediaType && mediaType !== "application/json")) {
    response.body.discard();
    return undefined;
  }
  const bytes = await readWhole(response);
  if (digestOf(bytes, algorithmOf(subject)) === subject) return undefined;
  const page = toPage(response, bytes);
  return mediaType === indexMediaType || Object.hasOwn(page.document, "manifests") ? page : undefined;
}

/** Reads a page's bytes; resolves when it is their turn to be parsed. */
async function readWhole(response: HttpResponse): Promise<Buffer> {
  const bytes = await response.body.read(maxPageBytes);
  await turnToRead(bytes);
  return bytes;
}

function toPage(response: HttpResponse, bytes: Buffer): UpstreamPage {
  const next = parseNextLink(response.header("link"));
  const nextQuery = next === undefined ? undefined : URL.parse(next, response.url)?.search.slice(1);
  return {
    document: parse(response, bytes),
    nextQuery: nextQuery === "" ? undefined : nextQuery,
    filtersApplied: response.header("oci-filters-applied"),
  };
}

function parse(response: HttpResponse, bytes: Buffer): Json {
  try {
    return parseDocument(bytes, maxListingNames).fields;
  } catch (error) {
    if (!(error instanceof DocumentError)) throw error;
    throw invalid(response, `the page is of no use: ${error.message}`);
  }
}
