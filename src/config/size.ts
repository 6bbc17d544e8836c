import { ValueError } from "./config-error.ts";

/** Bytes in each unit, the largest first. */
const units: ReadonlyMap<string, number> = new Map([
  ["TiB", 1024 ** 4],
  ["TB", 1000 ** 4],
  ["GiB", 1024 ** 3],
  ["GB", 1000 ** 3],
  ["MiB", 1024 ** 2],
  ["MB", 1000 ** 2],
  ["KiB", 1024],
  ["kB", 1000],
  ["B", 1],
]);

const whole = /^\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]+)\s*$/;

/** The shape of a size as a JSON Schema `pattern`. */
export const sizePattern: string = String.raw`^\s*\d+(?:\.\d+)?\s*(?:B|[kMGT]B|[KMGT]iB)\s*$`;

/** The shape of a rate as a JSON Schema `pattern`. */
export const ratePattern: string = String.raw`^\s*\d+(?:\.\d+)?\s*(?:B|[kMGT]B|[KMGT]iB)(?:/s)?\s*$`;

/**
 * Reads a size: a number with a unit. B, kB, MB, GB and TB are powers of 1000; KiB, MiB, GiB and TiB are powers of 1024.
 *
 * @returns Whole bytes.
 * @throws {ValueError}
 */
export function parseSize(text: string): number {
  if (/^\s*[\d.]+\s*$/.test(text)) {
    throw new ValueError('a size needs a unit, as in "500MB" or "50GiB"');
  }
  const [, count, name = ""] = whole.exec(text) ?? [];
  if (count === undefined) {
    throw new ValueError(`expected a size such as "500MB" or "50GiB", got ${JSON.stringify(text)}`);
  }
  const unitBytes = units.get(name);
  if (unitBytes === undefined) {
    throw new ValueError(`unknown unit of size "${name}"; use B, kB, MB, GB, TB, KiB, MiB, GiB or TiB`);
  }
  const bytes = Math.round(Number(count) * unitBytes);
  if (bytes > Number.MAX_SAFE_INTEGER) {
    throw new ValueError("the size is too large");
  }
  return bytes;
}

/**
 * Reads a rate, a size per second: `50MiB/s`. The `/s` may be left out.
 *
 * @returns Bytes per second, at least 1.
 * @throws {ValueError}
 */
export function parseRate(text: string): number {
  const bytesPerSecond = parseSize(text.replace(/\/s\s*$/, ""));
  if (bytesPerSecond === 0) {
    throw new ValueError('must be more than 0, such as "50MiB/s"');
  }
  return bytesPerSecond;
}

/**
 * Writes whole bytes so that `parseSize` reads the same number, in the largest unit that gives a whole number.
 *
 * @param bytes A whole number, at least 0.
 */
export function formatSize(bytes: number): string {
  for (const [name, unitBytes] of units) {
    if (bytes >= unitBytes && bytes % unitBytes === 0) {
      return `${bytes / unitBytes}${name}`;
    }
  }
  return `${bytes}B`;
}
