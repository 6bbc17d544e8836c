import { type Digest, isDigest } from "../oci/digest.ts";
import type { Page } from "./registry.ts";

/** That a repository contains a digest, and what it says of it. `sizeBytes` is a claim until the content was read. */
export interface Link {
  readonly mediaType: string;
  readonly sizeBytes: number;
}

/** What a tag stood for when it was last checked (`checkedAt`, milliseconds since 1970). */
export interface TagRecord {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly size: number;
  readonly checkedAt: number;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

/** Whether a value that was read is a link. */
export function isLink(value: unknown): value is Link {
  return isObject(value) && typeof value["mediaType"] === "string" && typeof value["sizeBytes"] === "number";
}

/** Whether a value that was read is a tag's record. */
export function isTagRecord(value: unknown): value is TagRecord {
  return (
    isObject(value) &&
    typeof value["digest"] === "string" &&
    isDigest(value["digest"]) &&
    typeof value["mediaType"] === "string" &&
    typeof value["size"] === "number" &&
    typeof value["checkedAt"] === "number"
  );
}

/** A page with what it answers, by which it is told from others that share its place. */
export interface PageRecord {
  readonly request: string;
  readonly page: Page;
}

/** Whether a value that was read is a page. */
export function isPageRecord(value: unknown): value is PageRecord {
  if (!isObject(value) || typeof value["request"] !== "string") return false;
  return isObject(value["page"]) && isObject(value["page"]["document"]);
}
