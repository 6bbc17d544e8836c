import * as z from "zod";
import type { NamePattern } from "../oci/name-pattern.ts";
import { ValueError } from "./config-error.ts";
import { durationPattern, formatDuration, parseDuration } from "./duration.ts";
import { escapeReferences } from "./interpolation.ts";
import type { Kind } from "./setting.ts";
import { formatSize, parseRate, parseSize, ratePattern, sizePattern } from "./size.ts";

/** How much of a volume: a number of bytes, or a share (0 to 1) of the volume's total size. */
type Limit = { readonly kind: "bytes"; readonly bytes: number } | { readonly kind: "share"; readonly share: number };

/** What timers can count, in milliseconds. */
const maxTimerMs = 24 * 86_400_000;

const percentage = /^(?:100|\d{1,2}(?:\.\d{1,4})?)%$/;

const limitPattern = `${percentage.source}|${sizePattern}`;

/** How texts of one kind are read and written. */
interface TextOptions<T> {
  /** Writes what the parser reads; without it the value is the text. */
  readonly show?: (value: T) => unknown;
  /** The shape as a JSON Schema `pattern`. */
  readonly pattern?: string;
  /** What is wrong with a number in the text's place. */
  readonly explainNumber?: (value: number) => string;
  /** Whether messages keep silent about what stands there. */
  readonly isSecret?: boolean;
  readonly hasVariables?: boolean;
}

/** Text that `parse` reads; the message of its `ValueError` becomes the problem's. */
export function text<T>(parse: (value: string) => T, options: TextOptions<T> = {}): Kind<T> {
  const { show = (value: T) => value, pattern, explainNumber, isSecret = false, hasVariables = false } = options;
  const schema = z
    .string({
      error: ({ input }) => {
        if (input === undefined) return undefined;
        if (isSecret) return "expected text; put it in quotes";
        return typeof input === "number" ? explainNumber?.(input) : undefined;
      },
    })
    .transform((value, context) => {
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
  return { schema: pattern === undefined ? schema : schema.meta({ pattern }), show, hasVariables };
}

/** What stands in for a secret. */
export const hiddenText = "[hidden]";

/** A pattern of names that `parse` reads. */
export function pattern(parse: (value: string) => NamePattern): Kind<NamePattern> {
  return text(parse, { show: (value) => value.text });
}

/** A secret that `parse` reads. */
export function secret(parse: (value: string) => string): Kind<string> {
  return text(parse, { show: () => hiddenText, isSecret: true, hasVariables: true });
}

/** A list of what is of one kind. */
export function list<T>(kind: Kind<T>): Kind<readonly T[]> {
  return { ...kind, schema: z.array(kind.schema), show: (values) => values.map((value) => kind.show(value)) };
}

/** True or false. */
export const yesOrNo: Kind<boolean> = { schema: z.boolean(), show: (value) => value };

/** One of some words. */
export function choice<const Words extends readonly string[]>(words: Words): Kind<Words[number]> {
  return { schema: z.enum(words), show: (value) => value };
}

/** A whole number within limits. */
export function count(least: number, most: number): Kind<number> {
  return { schema: z.int().min(least).max(most), show: (value) => value };
}

/**
 * A parser of texts that fit a grammar, as they are.
 *
 * @param message What is expected; it is said in place of the text.
 */
export function fitting(grammar: RegExp, message: string): (value: string) => string {
  return (value) => {
    if (!grammar.test(value)) throw new ValueError(message);
    return value;
  };
}

/** A text without control characters, such as a line's end. */
// oxlint-disable-next-line no-control-regex -- what is refused are the control characters
export const uncontrolled: RegExp = /^[^\x00-\x1f\x7f]+$/;

/** Reads a file's path. */
export const parseFilePath: (value: string) => string = fitting(uncontrolled, "expected a file's path");

/** A file's path, which may hold variables. */
export const filePath: Kind<string> = text(parseFilePath, { show: escapeReferences, hasVariables: true });

const explainBareTime = (value: number): string =>
  `a duration needs a unit: write "${value}s" for seconds (10s, 15m, 14d)`;

/** A duration that `parse` reads, in milliseconds; `Infinity` for `word`, where there is one. */
function time(parse: (value: string) => number, word?: string): Kind<number> {
  return text((value) => (value === word ? Number.POSITIVE_INFINITY : parse(value)), {
    show: (ms) => (ms === Number.POSITIVE_INFINITY ? word : formatDuration(ms)),
    pattern: word === undefined ? durationPattern : `^${word}$|${durationPattern}`,
    explainNumber: explainBareTime,
  });
}

/** A duration that a timer can count; the value is in milliseconds, at least `leastMs`. */
export function timeout(leastMs: 0 | 1): Kind<number> {
  return time((value) => {
    const ms = parseDuration(value);
    if (ms < leastMs || ms > maxTimerMs) {
      throw new ValueError(
        `must be ${leastMs === 0 ? "" : "longer than 0s and "}at most ${formatDuration(maxTimerMs)}, got "${value}"`,
      );
    }
    return ms;
  });
}

function parseInterval(value: string): number {
  const ms = parseDuration(value);
  if (ms === 0) {
    throw new ValueError(`must be longer than 0s, got "${value}"`);
  }
  return ms;
}

/** A duration of any length; the value is in milliseconds. */
export const duration: Kind<number> = time(parseDuration);
/** A duration or `forever`; the value is in milliseconds, or `Infinity`. */
export const durationOrForever: Kind<number> = time(parseDuration, "forever");
/** A duration longer than nothing, longer perhaps than a timer can count; the value is in milliseconds. */
export const interval: Kind<number> = time(parseInterval);
/** An `interval` or `never`; the value is in milliseconds, or `Infinity`. */
export const intervalOrNever: Kind<number> = time(parseInterval, "never");

function parseShare(value: string): number {
  if (!percentage.test(value)) {
    throw new ValueError(`expected a share from 0% to 100%, such as "10%", got ${JSON.stringify(value)}`);
  }
  return Number(value.slice(0, -1)) / 100;
}

/** Writes a share as `share` reads it. */
export function formatShare(value: number): string {
  return `${Number((value * 100).toFixed(4))}%`;
}

/** A share in percent; the value is from 0 to 1. */
export const share: Kind<number> = text(parseShare, {
  show: formatShare,
  pattern: percentage.source,
  explainNumber: () => 'a share needs a percent sign: write "10%"',
});

const bareLimit = 'needs a unit or a percent sign, as in "50GiB" or "90%"';

function parseSizeLimit(value: string): Limit {
  if (/^\s*[\d.]+\s*$/.test(value)) {
    throw new ValueError(bareLimit);
  }
  return value.includes("%") ? { kind: "share", share: parseShare(value) } : { kind: "bytes", bytes: parseSize(value) };
}

function showSizeLimit(limit: Limit): string {
  return limit.kind === "share" ? formatShare(limit.share) : formatSize(limit.bytes);
}

const limitOptions = { pattern: limitPattern, explainNumber: () => bareLimit, show: showSizeLimit };
/** A size, or a share of the volume. */
export const sizeLimit: Kind<Limit> = text(parseSizeLimit, limitOptions);

const bareSize = (): string => 'a size needs a unit, as in "500MB" or "50GiB"';

/** What `parse` reads, above 0; `none` and null for no limit. */
function orNone<T>(
  parse: (value: string) => T,
  amountOf: (limit: T) => number,
  options: { readonly pattern: string; readonly explainNumber: () => string; readonly show: (limit: T) => string },
): Kind<T | undefined> {
  const { schema } = text(
    (value) => {
      const limit = value === "none" ? undefined : parse(value);
      if (limit !== undefined && amountOf(limit) === 0) {
        throw new ValueError(`must be more than nothing, or "none" for no limit; got "${value}"`);
      }
      return limit;
    },
    { pattern: `^none$|${options.pattern}`, explainNumber: options.explainNumber },
  );
  return {
    schema: schema.nullable().transform((limit) => limit ?? undefined),
    show: (limit) => (limit === undefined ? "none" : options.show(limit)),
  };
}

/** A `sizeLimit` above 0; `undefined` for no limit. */
export const sizeLimitOrNone: Kind<Limit | undefined> = orNone(
  parseSizeLimit,
  (limit) => (limit.kind === "share" ? limit.share : limit.bytes),
  limitOptions,
);

/** A size above 0, in bytes; `undefined` for no limit. */
export const sizeOrNone: Kind<number | undefined> = orNone(parseSize, (bytes) => bytes, {
  pattern: sizePattern,
  explainNumber: bareSize,
  show: formatSize,
});

/** A size within limits; the value is in bytes. */
export function sizeWithin(leastBytes: number, mostBytes: number): Kind<number> {
  return text(
    (value) => {
      const bytes = parseSize(value);
      if (bytes < leastBytes || bytes > mostBytes) {
        throw new ValueError(`must be from ${formatSize(leastBytes)} to ${formatSize(mostBytes)}, got "${value}"`);
      }
      return bytes;
    },
    { pattern: sizePattern, explainNumber: bareSize, show: formatSize },
  );
}

/** A size per second; the value is in bytes per second, at least 1. */
export const rate: Kind<number> = text(parseRate, {
  show: (bytesPerSecond) => `${formatSize(bytesPerSecond)}/s`,
  pattern: ratePattern,
  explainNumber: bareSize,
});

/** What texts are, by the patterns of their schemas, in words for people. */
export const namesOfPatterns: ReadonlyMap<string, string> = new Map([
  [durationPattern, "duration"],
  [`^forever$|${durationPattern}`, "duration"],
  [`^never$|${durationPattern}`, "duration"],
  [percentage.source, "percentage"],
  [`^none$|${sizePattern}`, "size"],
  [limitPattern, "size or percentage"],
  [`^none$|${limitPattern}`, "size or percentage"],
  [ratePattern, "size per second"],
]);
