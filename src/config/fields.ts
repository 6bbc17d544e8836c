import * as z from "zod";
import { ValueError } from "./config-error.ts";
import { durationPattern, formatDuration, parseDuration } from "./duration.ts";
import type { SizeLimit } from "./schema.ts";
import { formatSize, parseRate, parseSize, ratePattern, sizePattern } from "./size.ts";

/** What timers can count, in milliseconds. */
const maxTimerMs = 24 * 86_400_000;

const percentage = /^(?:100|\d{1,2}(?:\.\d{1,4})?)%$/;

const foreverPattern = `^forever$|${durationPattern}`;
const neverPattern = `^never$|${durationPattern}`;
const sizeOrNonePattern = `^none$|${sizePattern}`;
const limitPattern = `${percentage.source}|${sizePattern}`;
const limitOrNonePattern = `^none$|${limitPattern}`;

/** The schemas of keys, by what these hold. */
export type Shape<Keys> = { readonly [Key in keyof Keys]: z.ZodType<Keys[Key]> };

/** Text that `parse` reads; the message of its `ValueError` becomes the problem's. */
export function text<T>(parse: (value: string) => T): z.ZodType<T, string> {
  return z.string().transform((value, context) => {
    try {
      return parse(value);
    } catch (error) {
      if (!(error instanceof ValueError)) {
        throw error;
      }
      context.issues.push({ code: "custom", message: error.message, input: value });
      return z.NEVER;
    }
  });
}

/**
 * Reads a file's path.
 *
 * @throws {ValueError}
 */
export function parseFilePath(value: string): string {
  // oxlint-disable-next-line no-control-regex -- what is refused are the control characters
  if (value === "" || /[\x00-\x1f\x7f]/.test(value)) {
    throw new ValueError("expected a file's path");
  }
  return value;
}

/** A duration of any length; the value is in milliseconds. */
export function duration(description: string): z.ZodType<number, string> {
  return text(parseDuration).meta({ description, pattern: durationPattern });
}

/** A duration that a timer can count; the value is in milliseconds, at least `leastMs`. */
export function timeout(description: string, leastMs: 0 | 1): z.ZodType<number, string> {
  const parse = (value: string): number => {
    const ms = parseDuration(value);
    if (ms < leastMs || ms > maxTimerMs) {
      throw new ValueError(
        `must be ${leastMs === 0 ? "" : "longer than 0s and "}at most ${formatDuration(maxTimerMs)}, got "${value}"`,
      );
    }
    return ms;
  };
  return text(parse).meta({ description, pattern: durationPattern });
}

/** A duration or `forever`; the value is in milliseconds, or `Infinity`. */
export function durationOrForever(description: string): z.ZodType<number, string> {
  const parse = (value: string): number => (value === "forever" ? Number.POSITIVE_INFINITY : parseDuration(value));
  return text(parse).meta({ description, pattern: foreverPattern });
}

/** Writes what `durationOrForever` reads. */
export function formatDurationOrForever(ms: number): string {
  return ms === Number.POSITIVE_INFINITY ? "forever" : formatDuration(ms);
}

function parseInterval(value: string): number {
  const ms = parseDuration(value);
  if (ms === 0) {
    throw new ValueError(`must be longer than 0s, got "${value}"`);
  }
  return ms;
}

/** A duration longer than nothing, longer perhaps than a timer can count; the value is in milliseconds. */
export function interval(description: string): z.ZodType<number, string> {
  return text(parseInterval).meta({ description, pattern: durationPattern });
}

/** An `interval` or `never`; the value is in milliseconds, or `Infinity`. */
export function intervalOrNever(description: string): z.ZodType<number, string> {
  const parse = (value: string): number => (value === "never" ? Number.POSITIVE_INFINITY : parseInterval(value));
  return text(parse).meta({ description, pattern: neverPattern });
}

/** Writes what `intervalOrNever` reads. */
export function formatIntervalOrNever(ms: number): string {
  return ms === Number.POSITIVE_INFINITY ? "never" : formatDuration(ms);
}

function parseShare(value: string): number {
  if (!percentage.test(value)) {
    throw new ValueError(`expected a share from 0% to 100%, such as "10%", got ${JSON.stringify(value)}`);
  }
  return Number(value.slice(0, -1)) / 100;
}

/** A share in percent; the value is from 0 to 1. */
export function share(description: string): z.ZodType<number, string> {
  return text(parseShare).meta({ description, pattern: percentage.source });
}

/** Writes a share as `share` reads it. */
export function formatShare(value: number): string {
  return `${Number((value * 100).toFixed(4))}%`;
}

function parseSizeLimit(value: string): SizeLimit {
  if (/^\s*[\d.]+\s*$/.test(value)) {
    throw new ValueError('needs a unit or a percent sign, as in "50GiB" or "90%"');
  }
  return value.includes("%") ? { kind: "share", share: parseShare(value) } : { kind: "bytes", bytes: parseSize(value) };
}

function requirePositive(amount: number, value: string): void {
  if (amount === 0) {
    throw new ValueError(`must be more than nothing, or "none" for no limit; got "${value}"`);
  }
}

/** A size, or a share of the volume. */
export function sizeLimit(description: string): z.ZodType<SizeLimit, string> {
  return text(parseSizeLimit).meta({ description, pattern: limitPattern });
}

/** A `sizeLimit` above 0; `none` and null for no limit. */
export function sizeLimitOrNone(description: string): z.ZodType<SizeLimit | undefined, string | null> {
  const parse = (value: string): SizeLimit | undefined => {
    const limit = value === "none" ? undefined : parseSizeLimit(value);
    requirePositive(limit?.kind === "share" ? limit.share : (limit?.bytes ?? Number.POSITIVE_INFINITY), value);
    return limit;
  };
  return text(parse)
    .meta({ pattern: limitOrNonePattern })
    .nullable()
    .transform((limit) => limit ?? undefined)
    .meta({ description });
}

/** Writes what `sizeLimit` and `sizeLimitOrNone` read. */
export function formatSizeLimit(limit: SizeLimit | undefined): string {
  return limit?.kind === "share" ? formatShare(limit.share) : formatSizeOrNone(limit?.bytes);
}

/** A size above 0; the value is in bytes, or `Infinity` for `none` and null. */
export function sizeOrNone(description: string): z.ZodType<number, string | null> {
  const parse = (value: string): number => {
    const bytes = value === "none" ? Number.POSITIVE_INFINITY : parseSize(value);
    requirePositive(bytes, value);
    return bytes;
  };
  return text(parse)
    .meta({ pattern: sizeOrNonePattern })
    .nullable()
    .transform((bytes) => bytes ?? Number.POSITIVE_INFINITY)
    .meta({ description });
}

/** What `sizeOrNone` gives, with `undefined` for no limit. */
export function finiteSize(bytes: number): number | undefined {
  return bytes === Number.POSITIVE_INFINITY ? undefined : bytes;
}

/** Writes what `sizeOrNone` reads. */
export function formatSizeOrNone(bytes: number | undefined): string {
  return bytes === undefined ? "none" : formatSize(bytes);
}

/** A size per second; the value is in bytes per second, at least 1. */
export function rate(description: string): z.ZodType<number, string> {
  return text(parseRate).meta({ description, pattern: ratePattern });
}

/** What texts are, by the patterns of their schemas, in words for people. */
export const namesOfPatterns: ReadonlyMap<string, string> = new Map([
  [durationPattern, "duration"],
  [foreverPattern, "duration"],
  [neverPattern, "duration"],
  [percentage.source, "percentage"],
  [sizeOrNonePattern, "size"],
  [limitPattern, "size or percentage"],
  [limitOrNonePattern, "size or percentage"],
  [ratePattern, "size per second"],
]);

/** A whole number within limits. */
export function count(description: string, least: number, most: number): z.ZodType<number, number> {
  return z.int().min(least).max(most).meta({ description });
}
