import { median } from "./statistics.ts";

/** One thing that was measured, of every server. */
export interface Row {
  readonly name: string;
  readonly unit: string;
  readonly samples: Readonly<Record<string, readonly number[]>>;
}

/** What was hoped for, and what came out. */
export interface Aim {
  readonly name: string;
  readonly value: number;
  readonly bound: "at least" | "at most";
  readonly limit: number;
  readonly unit: string;
  readonly met: boolean;
}

/** What a scenario has to say. */
export interface Section {
  readonly scenario: string;
  readonly title: string;
  readonly rows: readonly Row[];
  readonly aims: readonly Aim[];
  readonly notes: readonly string[];
}

/** A value with the place it should lie at. A value that is not a number misses. */
export function aim(name: string, value: number, bound: Aim["bound"], limit: number, unit = "×"): Aim {
  return { name, value, bound, limit, unit, met: bound === "at least" ? value >= limit : value <= limit };
}

/** A section as text: a table of medians with the lowest and highest samples, then the aims. */
export function formatSection(section: Section): string {
  const servers = [...new Set(section.rows.flatMap((row) => Object.keys(row.samples)))];
  const table = [
    ["", ...servers],
    ...section.rows.map((row) => [
      row.unit === "" ? row.name : `${row.name}, ${row.unit}`,
      ...servers.map((server) => formatSamples(row.samples[server] ?? [])),
    ]),
  ];
  const widths = table[0]?.map((_, column) => Math.max(...table.map((cells) => cells[column]?.length ?? 0))) ?? [];
  const lines = table.map((cells) =>
    cells
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join("  "),
  );
  return [
    `${section.scenario}: ${section.title}`,
    ...lines.map((line) => `  ${line.trimEnd()}`),
    ...section.aims.map((each) => `  ${formatAim(each)}`),
    ...section.notes.map((note) => `  note: ${note}`),
  ].join("\n");
}

/** An aim as a line that begins with `pass` or `MISS`. */
export function formatAim({ name, value, bound, limit, unit, met }: Aim): string {
  const gap = unit === "×" || unit === "" ? "" : " ";
  return `${met ? "pass" : "MISS"}  ${name}: ${formatNumber(value)}${gap}${unit} (aim: ${bound} ${limit}${gap}${unit})`;
}

function formatSamples(samples: readonly number[]): string {
  if (samples.length === 0) return "-";
  const middle = formatNumber(median(samples));
  if (samples.length === 1) return middle;
  return `${middle} (${formatNumber(Math.min(...samples))}–${formatNumber(Math.max(...samples))})`;
}

function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return "-";
  const size = Math.abs(value);
  return value.toFixed(size >= 100 || Number.isInteger(value) ? 0 : size >= 10 ? 1 : size >= 0.095 ? 2 : 3);
}
