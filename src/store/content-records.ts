import { type Digest, isDigest } from "../oci/digest.ts";
import { isObject } from "../oci/document.ts";
import { isManifestMediaType } from "../oci/manifest.ts";

/** That a repository contains a digest, and what it says of it. `sizeBytes` is a claim until the content was read. */
export interface Link {
  readonly mediaType: string;
  readonly sizeBytes: number;
  /**
   * What the repository has it as; `both` is a manifest whose bytes another one lists as a blob, too. Links of earlier
   * versions do not say.
   */
  readonly role?: "manifest" | "blob" | "both";
}

/** Whether the repository has it as a blob: as nothing else it may be given out as one. */
export function isBlobLink({ role, mediaType }: Link): boolean {
  return role === undefined ? !isManifestMediaType(mediaType) : role !== "manifest";
}

/** The link of what the repository has as a blob, too, from now on. */
export function asBlobLink(link: Link): Link {
  return isBlobLink(link) ? link : { ...link, role: "both" };
}

/** What a tag stood for when it was last checked (`checkedAt`, milliseconds since 1970). */
export interface TagRecord {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly size: number;
  readonly checkedAt: number;
}

function isSize(value: unknown): boolean {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}

function isTextOrAbsent(value: unknown): boolean {
  return value === undefined || typeof value === "string";
}

/** Whether a value that was read is a link. */
export function isLink(value: unknown): value is Link {
  return isObject(value) && typeof value["mediaType"] === "string" && isSize(value["sizeBytes"]);
}

/** Whether a value that was read is a tag's record. */
export function isTagRecord(value: unknown): value is TagRecord {
  return (
    isObject(value) &&
    typeof value["digest"] === "string" &&
    isDigest(value["digest"]) &&
    typeof value["mediaType"] === "string" &&
    isSize(value["size"]) &&
    typeof value["checkedAt"] === "number"
  );
}

/** A page of a listing. */
export interface Page {
  /** What the upstream's page holds, parsed: `{tags: […]}` or an index. */
  readonly document: Record<string, unknown>;
  /** The query of the next page, where there is one. */
  readonly nextQuery: string | undefined;
  /** The filters that were applied, for `OCI-Filters-Applied`. */
  readonly filtersApplied: string | undefined;
}

/** A page with what it answers, by which it is told from others that share its place. */
export interface PageRecord {
  readonly request: string;
  readonly page: Page;
}

/** Whether a value that was read is a page. */
export function isPageRecord(value: unknown): value is PageRecord {
  if (!isObject(value) || typeof value["request"] !== "string") return false;
  const page = value["page"];
  if (!isObject(page) || !isObject(page["document"])) return false;
  return isTextOrAbsent(page["nextQuery"]) && isTextOrAbsent(page["filtersApplied"]);
}
