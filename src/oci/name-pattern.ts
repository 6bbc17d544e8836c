import { maxRepositoryLength } from "./reference.ts";

/** A character, or a wildcard. */
type Piece = string;

/**
 * A pattern of names: `*` stands for anything within a part of the name, `**` for anything, `/` included. It must fit the
 * whole name: `team/*` fits `team/app` and not `team/app/web`, which `team/**` fits as well.
 */
export class NamePattern {
  readonly text: string;
  /** Orders patterns: the more of a name a pattern lays down, the greater. */
  readonly specificity: number;
  readonly #pieces: readonly Piece[];

  constructor(text: string) {
    this.text = text;
    this.#pieces = text.match(/\*+|[^*]/gu) ?? [];
    const wildcards = this.#pieces.filter(isWildcard);
    // A literal counts more than any number of wildcards.
    const looseness = wildcards.reduce((sum, piece) => sum + (piece === "*" ? 1 : 2), 0) / 1000;
    this.specificity = this.#pieces.length - wildcards.length - looseness;
  }

  matches(name: string): boolean {
    return fits(this.#pieces, name);
  }
}

const grammar = /^[a-z0-9._*-]+(?:\/[a-z0-9._*-]+)*$/;

/** Whether a pattern can fit names of repositories. */
export function isRepositoryPattern(text: string): boolean {
  return grammar.test(text) && !text.includes("***") && text.length <= maxRepositoryLength;
}

/** Follows all ways through the pattern at once: a client chooses the name, and must not choose the time it takes. */
function fits(pieces: readonly Piece[], name: string): boolean {
  let reached = withSkips(pieces, new Set([0]));
  for (const character of name) {
    const next = new Set<number>();
    for (const position of reached) {
      const piece = pieces[position] ?? "";
      if (isWildcard(piece)) {
        if (piece !== "*" || character !== "/") {
          next.add(position);
        }
      } else if (piece === character) {
        next.add(position + 1);
      }
    }
    reached = withSkips(pieces, next);
  }
  return reached.has(pieces.length);
}

/** Wildcards may stand for nothing. */
function withSkips(pieces: readonly Piece[], positions: Set<number>): Set<number> {
  for (const position of positions) {
    if (isWildcard(pieces[position] ?? "")) {
      positions.add(position + 1); // The loop comes to it, too.
    }
  }
  return positions;
}

function isWildcard(piece: Piece): boolean {
  return piece.startsWith("*");
}
