import { OciError } from "./errors.ts";

/** One byte range as a client asked for it (RFC 9110 §14.1.2); `last` is inclusive, `suffix` counts from the end. */
export type RangeRequest = { readonly first: number; readonly last: number | undefined } | { readonly suffix: number };

/** A part of some content, in bytes; `end` is exclusive and greater than `start`. */
export interface ByteSpan {
  readonly start: number;
  readonly end: number;
}

const rangeGrammar = /^[ \t]*([0-9]*)-([0-9]*)[ \t]*$/;
const blank = /^[ \t]*$/;
const contentRangeGrammar = /^bytes[ \t]+([0-9]+)-([0-9]+)\/([0-9]+|\*)[ \t]*$/i;
const unsatisfiedGrammar = /^bytes[ \t]+\*\/([0-9]+)[ \t]*$/i;

/**
 * Reads a `Range` header (RFC 9110 §14.2).
 *
 * `500-0` is read although the RFC calls it invalid, because the conformance suite expects 416 for it; `resolveRange`
 * finds it unsatisfiable. Several ranges are answered in full: podman's partial pulls break on a single part.
 *
 * @returns `undefined`: answer with the whole content (no header, another unit, or several ranges).
 * @throws {OciError} RANGE_INVALID: the unit is bytes and what follows is malformed.
 */
export function parseRange(header: string | undefined): RangeRequest | undefined {
  if (header === undefined) {
    return undefined;
  }
  const equals = header.indexOf("=");
  if ((equals < 0 ? header : header.slice(0, equals)).trim().toLowerCase() !== "bytes") {
    return undefined;
  }
  const parts = equals < 0 ? [] : header.slice(equals + 1).split(",");
  // A list may have empty elements, which do not count (RFC 9110 §5.6.1.2).
  const requests = parts.filter((part) => !blank.test(part)).map(parseSpec);
  if (requests.length === 0) {
    throw malformed();
  }
  return requests.length === 1 ? requests[0] : undefined;
}

/**
 * Applies a range to content of a known size. A range that reaches over the end is clipped.
 *
 * Empty content has no byte to give, but containerd asks for `bytes=0-` of any content: ranges from its start, and
 * suffixes, are answered in full.
 *
 * @returns the span for a 206; `"full"` for a 200; `"unsatisfiable"` for a 416.
 */
export function resolveRange(
  request: RangeRequest | undefined,
  sizeBytes: number,
): "full" | "unsatisfiable" | ByteSpan {
  if (request === undefined) {
    return "full";
  }
  if ("suffix" in request) {
    if (request.suffix === 0) {
      return "unsatisfiable";
    }
    return sizeBytes === 0 ? "full" : { start: Math.max(0, sizeBytes - request.suffix), end: sizeBytes };
  }
  const { first, last } = request;
  if (last !== undefined && last < first) {
    return "unsatisfiable";
  }
  if (first >= sizeBytes) {
    return first === 0 ? "full" : "unsatisfiable";
  }
  return { start: first, end: last === undefined ? sizeBytes : Math.min(last + 1, sizeBytes) };
}

/** Writes the `Content-Range` of a 206 (RFC 9110 §14.4). */
export function formatContentRange(span: ByteSpan, sizeBytes: number): string {
  return `bytes ${span.start}-${span.end - 1}/${sizeBytes}`;
}

/** What a `Content-Range` header says; `sizeBytes` is the whole content's size, where the sender knew it. */
export type ContentRange =
  | { readonly start: number; readonly end: number; readonly sizeBytes: number | undefined }
  | { readonly unsatisfied: number };

/**
 * Reads the `Content-Range` header of an answer: `bytes 0-9/100`, or `bytes 0-9/*` (a 206's), or an asterisk for
 * the span (a 416's).
 *
 * @returns `undefined`: absent, malformed, another unit, contradictory, or with numbers that cannot be held exactly.
 */
export function parseContentRange(header: string | undefined): ContentRange | undefined {
  const unsatisfied = unsatisfiedGrammar.exec(header ?? "")?.[1];
  if (unsatisfied !== undefined) {
    const sizeBytes = Number(unsatisfied);
    return Number.isSafeInteger(sizeBytes) ? { unsatisfied: sizeBytes } : undefined;
  }
  const match = contentRangeGrammar.exec(header ?? "");
  if (match === null) {
    return undefined;
  }
  const start = Number(match[1]);
  const end = Number(match[2]) + 1;
  const sizeBytes = match[3] === "*" ? undefined : Number(match[3]);
  if (!Number.isSafeInteger(end) || start >= end) {
    return undefined;
  }
  if (sizeBytes !== undefined && (!Number.isSafeInteger(sizeBytes) || end > sizeBytes)) {
    return undefined;
  }
  return { start, end, sizeBytes };
}

function parseSpec(text: string): RangeRequest {
  const match = rangeGrammar.exec(text);
  const first = parseNumber(match?.[1] ?? "");
  const last = parseNumber(match?.[2] ?? "");
  if (first !== undefined) {
    return { first, last };
  }
  if (last !== undefined) {
    return { suffix: last };
  }
  throw malformed();
}

/** Numbers too large to be held exactly are clamped: they lie beyond the end of any content all the same. */
function parseNumber(digits: string): number | undefined {
  return digits === "" ? undefined : Math.min(Number(digits), Number.MAX_SAFE_INTEGER);
}

function malformed(): OciError {
  return new OciError("RANGE_INVALID", "the Range header must look like bytes=0-99, bytes=100- or bytes=-100");
}
