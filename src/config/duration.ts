import { ValueError } from "./config-error.ts";

const second = 1000;
const day = 86_400 * second;

/** The unit names that Rust's humantime knows, in milliseconds; a month is 30.44 days and a year 365.25. */
const units: ReadonlyMap<string, number> = new Map(
  Object.entries({
    "ns nsec nanos": 1e-6,
    "us µs usec micros": 1e-3,
    "ms msec millis": 1,
    "s sec secs second seconds": second,
    "m min mins minute minutes": 60 * second,
    "h hr hrs hour hours": 3600 * second,
    "d day days": day,
    "w wk wks week weeks": 7 * day,
    "M month months": 2_630_016 * second,
    "y yr yrs year years": 31_557_600 * second,
  }).flatMap(([names, ms]) => names.split(" ").map((name) => [name, ms] as const)),
);

const whole = /^\s*(?:\d+\s*[a-zA-Zµ]+\s*)+$/;
const part = /(\d+)\s*([a-zA-Zµ]+)/g;

/** The shape of a duration as a JSON Schema `pattern`. */
export const durationPattern: string = whole.source;

/**
 * Reads a duration in humantime's form: whole numbers, each with a unit (`14d`, `0s`, `1h 30m`, `1h30m`), added up.
 *
 * @returns Milliseconds, rounded up, so that only a zero is 0.
 * @throws {ValueError}
 */
export function parseDuration(text: string): number {
  if (/^\s*\d+\s*$/.test(text)) {
    throw new ValueError(`a duration needs a unit: write "${text.trim()}s" for seconds (10s, 15m, 14d)`);
  }
  if (!whole.test(text)) {
    throw new ValueError(`expected a duration such as "10s", "1h 30m" or "14d", got ${JSON.stringify(text)}`);
  }
  let totalMs = 0;
  for (const [, count, name] of text.matchAll(part)) {
    const unitMs = units.get(name ?? "");
    if (unitMs === undefined) {
      throw new ValueError(`unknown unit of time "${name}"; use ms, s, m, h, d, w, M (month) or y`);
    }
    totalMs += Number(count) * unitMs;
  }
  if (totalMs > Number.MAX_SAFE_INTEGER) {
    throw new ValueError("the duration is too long");
  }
  return Math.ceil(totalMs);
}

/**
 * Writes whole milliseconds so that `parseDuration` reads the same number: `5400000` is `1h 30m`.
 *
 * @param ms A whole number, at least 0.
 */
export function formatDuration(ms: number): string {
  const parts: string[] = [];
  let rest = ms;
  for (const name of ["d", "h", "m", "s", "ms"]) {
    const unitMs = units.get(name) ?? 1;
    const count = Math.floor(rest / unitMs);
    rest -= count * unitMs;
    if (count > 0) {
      parts.push(`${count}${name}`);
    }
  }
  return parts.length === 0 ? "0s" : parts.join(" ");
}
