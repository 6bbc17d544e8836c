import { createHash } from "node:crypto";

/** What did not exist before a part was written: it goes with the part, where nothing else is in it. */
export type Made = "root" | "folder" | "file";

/** A part of a file that this program has written, for one owner. */
export interface Part {
  readonly owner: string;
  readonly made: readonly Made[];
  /** Where its first line begins, and where what follows its last line does. */
  readonly start: number;
  readonly end: number;
  /** Whether it is as it was written. */
  readonly isIntact: boolean;
}

/** What a file is besides one owner's part. */
export interface Rest {
  readonly rest: string;
  /** Where in it the part was, if there is one. */
  readonly at: number | undefined;
  /** What goes with the part; where there is none yet, what other owners' parts have made, as the last one takes it away. */
  readonly made: readonly Made[];
}

/** Why a file is left alone. */
export interface Left {
  readonly why: string;
}

const firstLine = /^# >>> entrepot node (?<owner>\S+) made=(?<made>[a-z,]*) sha256=(?<sum>[0-9a-f]{32}):/;
const anyFirstLine = /^# >>> entrepot node (\S+)/;

/** The parts of all owners, in order. One without an end is not intact, and is its first line alone. */
export function findParts(text: string): Part[] {
  const parts: Part[] = [];
  let from = 0;
  while (from < text.length) {
    const start = from;
    const line = lineAt(text, start);
    from += line.length + 1;
    const owner = anyFirstLine.exec(line)?.[1];
    if (owner === undefined) continue;
    const marked = firstLine.exec(line)?.groups;
    const made = (marked?.["made"] ?? "").split(",").filter((each) => each !== "") as Made[];
    const endsAt = findLine(text, lastLine(owner), from);
    if (endsAt === undefined) {
      parts.push({ owner, made, start, end: Math.min(from, text.length), isIntact: false });
      continue;
    }
    const body = text.slice(from, Math.max(from, endsAt - 1));
    from = endsAt + lastLine(owner).length + 1;
    const isIntact = marked?.["sum"] === sumOf(owner, made, body);
    parts.push({ owner, made, start, end: Math.min(from, text.length), isIntact });
  }
  return parts;
}

/** Writes a part, without a line break at its end. */
export function formatPart(owner: string, made: readonly Made[], body: string): string {
  const sum = sumOf(owner, made, body);
  const about = "a program has written this, and takes it away again; what you write outside of it stays";
  return `# >>> entrepot node ${owner} made=${made.join(",")} sha256=${sum}: ${about}\n${body}\n${lastLine(owner)}`;
}

/** Takes out what an owner has written; a part that somebody has edited is no longer ours. */
export function takeOut(text: string, owner: string): Rest | Left {
  const parts = findParts(text);
  const own = parts.filter((part) => part.owner === owner);
  const [part] = own;
  if (part === undefined) {
    return { rest: text, at: undefined, made: [...new Set(parts.flatMap(({ made }) => made))] };
  }
  if (own.length > 1 || !part.isIntact) return { why: "somebody has edited what was written here for this owner" };
  return { rest: without(text, part), at: part.start, made: part.made };
}

/** The text without any owner's part. */
export function withoutParts(text: string): string {
  return findParts(text).reduceRight(without, text);
}

/**
 * Puts a part into a text, at the beginning of a line or at the end. At the end of a text whose last line has no line
 * break the part has none either, by which that is known when it is taken out.
 */
export function putIn(rest: string, at: number, part: string): string {
  if (at >= rest.length && rest !== "" && !rest.endsWith("\n")) return `${rest}\n${part}`;
  return `${rest.slice(0, at)}${part}\n${rest.slice(at)}`;
}

function without(text: string, { start, end }: Part): string {
  const before = text.slice(0, start);
  const hadNoBreak = end >= text.length && !text.endsWith("\n");
  return hadNoBreak ? before.slice(0, -1) : before + text.slice(end);
}

function lastLine(owner: string): string {
  return `# <<< entrepot node ${owner}`;
}

function lineAt(text: string, start: number): string {
  const end = text.indexOf("\n", start);
  return text.slice(start, end < 0 ? undefined : end);
}

/** Where a line begins that is exactly this. */
function findLine(text: string, line: string, from: number): number | undefined {
  for (let at = from; at <= text.length;) {
    const each = lineAt(text, at);
    if (each === line) return at;
    at += each.length + 1;
  }
  return undefined;
}

function sumOf(owner: string, made: readonly Made[], body: string): string {
  return createHash("sha256")
    .update(JSON.stringify([owner, made, body]))
    .digest("hex")
    .slice(0, 32);
}
