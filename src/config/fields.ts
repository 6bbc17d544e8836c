import * as z from "zod";
import { ValueError } from "./config-error.ts";
import { durationPattern, formatDuration, parseDuration } from "./duration.ts";

/** What timers can count, in milliseconds. */
const maxTimerMs = 24 * 86_400_000;

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
  return text(parse).meta({ description, pattern: `^forever$|${durationPattern}` });
}

const percentage = /^(?:100|\d{1,2}(?:\.\d{1,4})?)%$/;

/** A share in percent; the value is from 0 to 1. */
export function share(description: string): z.ZodType<number, string> {
  const parse = (value: string): number => {
    if (!percentage.test(value)) {
      throw new ValueError(`expected a share from 0% to 100%, such as "10%", got ${JSON.stringify(value)}`);
    }
    return Number(value.slice(0, -1)) / 100;
  };
  return text(parse).meta({ description, pattern: percentage.source });
}

/** Writes a share as `share` reads it. */
export function formatShare(value: number): string {
  return `${Number((value * 100).toFixed(4))}%`;
}

/** A whole number within limits. */
export function count(description: string, least: number, most: number): z.ZodType<number, number> {
  return z.int().min(least).max(most).meta({ description });
}
