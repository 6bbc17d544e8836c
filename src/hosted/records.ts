import type { Referrer } from "../registry/pages.ts";
import { type Digest, isDigest } from "../oci/digest.ts";
import { isObject } from "../oci/document.ts";

/** That a repository contains a digest, and as what. */
export interface HostedLink {
  readonly mediaType: string;
  readonly sizeBytes: number;
  /** `both` is a manifest that was pushed as a blob, too. */
  readonly role: "manifest" | "blob" | "both";
  /** Of a manifest: what it refers to in its repository, its subject not included. */
  readonly children?: readonly Digest[];
  readonly subject?: Digest;
}

/** What a tag stands for. */
export interface HostedTag {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly size: number;
  /** When it was set to this digest, by the clock of the store, in milliseconds since 1970. */
  readonly pushedAt: number;
}

/** What is stored of a manifest that refers to another one. */
export type HostedReferrer = Referrer;

/** Whether a value that was read is a link. */
export function isHostedLink(value: unknown): value is HostedLink {
  if (!isObject(value) || typeof value["mediaType"] !== "string" || !isSize(value["sizeBytes"])) return false;
  const { role, children, subject } = value;
  const isRole = role === "manifest" || role === "blob" || role === "both";
  const isList = children === undefined || (Array.isArray(children) && children.every(isDigestValue));
  return isRole && isList && (subject === undefined || isDigestValue(subject));
}

/** Whether a value that was read is a tag. */
export function isHostedTag(value: unknown): value is HostedTag {
  return isDescriptor(value) && typeof (value as { pushedAt?: unknown }).pushedAt === "number";
}

/** Whether a value that was read is a referrer. */
export function isHostedReferrer(value: unknown): value is HostedReferrer {
  return isDescriptor(value);
}

function isDescriptor(value: unknown): boolean {
  return (
    isObject(value) && typeof value["mediaType"] === "string" && isDigestValue(value["digest"]) && isSize(value["size"])
  );
}

function isDigestValue(value: unknown): value is Digest {
  return typeof value === "string" && isDigest(value);
}

function isSize(value: unknown): boolean {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}
