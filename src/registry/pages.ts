import type { Descriptor } from "../oci/descriptor.ts";
import { type Digest, parseDigest } from "../oci/digest.ts";
import { indexMediaType } from "../oci/manifest.ts";
import type { Tag } from "../oci/reference.ts";
import type { Page } from "../store/content-records.ts";

/** A listing's entries and bytes, where a client asks for more or does not say. */
const largestPage = 1_000;
const largestPageBytes = 3 * 1024 * 1024;

/** A manifest that refers to another one, as it is listed (distribution-spec, "Listing Referrers"). */
export interface Referrer extends Descriptor {
  readonly artifactType?: string;
  readonly annotations?: Readonly<Record<string, string>>;
}

/**
 * A page of tags (distribution-spec, "Listing Tags").
 *
 * @param list Lists the tags behind this one, in their order.
 */
export async function pageOfTags(list: (after: string | undefined) => Listing<Tag>, query: string): Promise<Page> {
  const { limit, last } = readPage(query);
  const { items, isLast } = await takePage(list(last), limit);
  return pageOf({ tags: items }, query, isLast ? undefined : items.at(-1));
}

/**
 * A page of referrers (distribution-spec, "Listing Referrers"), of one type where that is asked for.
 *
 * @param list Lists them in an order of theirs, behind the one of this digest.
 * @throws {OciError} DIGEST_INVALID
 */
export async function pageOfReferrers(
  list: (after: Digest | undefined) => Listing<Referrer>,
  query: string,
): Promise<Page> {
  const { limit, last } = readPage(query);
  const wanted = new URLSearchParams(query).get("artifactType") ?? "";
  const listed = list(last === undefined ? undefined : parseDigest(last));
  const fitting = async function* () {
    let sizeBytes = 0;
    for await (const referrer of listed) {
      if (wanted !== "" && referrer.artifactType !== wanted) continue;
      sizeBytes += Buffer.byteLength(JSON.stringify(referrer));
      yield { referrer, isTooMuch: sizeBytes > largestPageBytes };
    }
  };
  const { items, isLast } = await takePage(fitting(), limit, ({ isTooMuch }) => isTooMuch);
  const manifests = items.map(({ referrer }) => referrer);
  const document = { schemaVersion: 2, mediaType: indexMediaType, manifests };
  const filters = wanted === "" ? undefined : "artifactType";
  return { ...pageOf(document, query, isLast ? undefined : manifests.at(-1)?.digest), filtersApplied: filters };
}

/** The first of a listing, and whether that is all of it, as one that asks for none at all is told. */
export async function takePage<T>(
  listing: Listing<T>,
  limit: number,
  isTooMuch: (item: T) => boolean = () => false,
): Promise<{ readonly items: readonly T[]; readonly isLast: boolean }> {
  const items: T[] = [];
  if (limit === 0) return { items, isLast: true };
  for await (const item of listing) {
    if (items.length === limit || (items.length > 0 && isTooMuch(item))) return { items, isLast: false };
    items.push(item);
  }
  return { items, isLast: true };
}

type Listing<T> = Iterable<T> | AsyncIterable<T>;

function readPage(query: string): { readonly limit: number; readonly last: string | undefined } {
  const parameters = new URLSearchParams(query);
  const last = parameters.get("last") ?? "";
  return { limit: Number(parameters.get("n") ?? largestPage), last: last === "" ? undefined : last };
}

function pageOf(document: Page["document"], query: string, last: string | undefined): Page {
  if (last === undefined) return { document, nextQuery: undefined, filtersApplied: undefined };
  const next = new URLSearchParams(query);
  next.set("last", last);
  return { document, nextQuery: next.toString(), filtersApplied: undefined };
}
