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

/** The first line to the last; the last may be missing, and the line breaks are no others than `\n`. */
const parts =
  /(?<![^\n])# >>> entrepot node (?<owner>\S+)(?!\S)(?: made=(?<made>[a-z,]*) sha256=(?<sum>[0-9a-f]{32}):)?[^\n]*(?:\n(?<body>(?:[^]*?\n)??)# <<< entrepot node \k<owner>(?![^\n]))?\n?/g;

/** The parts of all owners, in order. One without an end is not intact, and is its first line alone. */
export function findParts(text: string): Part[] {
  return [...text.matchAll(parts)].map(({ 0: all, index: start, groups = {} }) => {
    const { owner = "", made: names = "", sum, body } = groups;
    const made = names.split(",").filter((each) => each !== "") as Made[];
    const isIntact = body !== undefined && sum === sumOf(owner, made, body.slice(0, -1));
    return { owner, made, start, end: start + all.length, isIntact };
  });
}

/** Writes a part, without a line break at its end. */
export function formatPart(owner: string, made: readonly Made[], body: string): string {
  const sum = sumOf(owner, made, body);
  const about = "a program has written this, and takes it away again; what you write outside of it stays";
  const first = `# >>> entrepot node ${owner} made=${made.join(",")} sha256=${sum}: ${about}`;
  return `${first}\n${body}\n# <<< entrepot node ${owner}`;
}

/** Takes out what an owner has written; a part that somebody has edited is no longer ours. */
export function takeOut(text: string, owner: string): Rest | Left {
  const all = findParts(text);
  const own = all.filter((part) => part.owner === owner);
  const [part] = own;
  if (part === undefined) {
    return { rest: text, at: undefined, made: [...new Set(all.flatMap(({ made }) => made))] };
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

function sumOf(owner: string, made: readonly Made[], body: string): string {
  return createHash("sha256")
    .update(JSON.stringify([owner, made, body]))
    .digest("hex")
    .slice(0, 32);
}
