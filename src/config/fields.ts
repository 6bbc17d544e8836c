import * as z from "zod";
import { ValueError } from "./config-error.ts";
import { durationPattern, formatDuration, parseDuration } from "./duration.ts";

/** What timers can count, in milliseconds. */
const maxTimerMs = 24 * 86_400_000;

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

/** A whole number within limits. */
export function count(description: string, least: number, most: number): z.ZodType<number, number> {
  return z.int().min(least).max(most).meta({ description });
}
