import { maxRepositoryLength } from "./reference.ts";

/**
 * A pattern of names: `*` stands for anything within a part of the name, `**` for anything, `/` included. It must fit the
 * whole name: `team/*` fits `team/app` and not `team/app/web`, which `team/**` fits as well.
 */
export class NamePattern {
  readonly text: string;
  /** Orders patterns: the more of a name a pattern lays down, the greater. */
  readonly specificity: number;
  /** Characters and wildcards. */
  readonly #pieces: readonly string[];

  constructor(text: string) {
    this.text = text;
    this.#pieces = text.match(/\*+|[^*]/gu) ?? [];
    const wildcards = this.#pieces.filter(isStars);
    // A literal counts more than any number of wildcards.
    const looseness = wildcards.reduce((sum, piece) => sum + (piece === "*" ? 1 : 2), 0) / 1000;
    this.specificity = this.#pieces.length - wildcards.length - looseness;
  }

  matches(name: string): boolean {
    return fits(this.#pieces, name, isStars, acceptsCharacter);
  }
}

const grammar = /^[a-z0-9._*-]+(?:\/[a-z0-9._*-]+)*$/;

/** Whether a pattern can fit names of repositories. */
export function isRepositoryPattern(text: string): boolean {
  return grammar.test(text) && !text.includes("***") && text.length <= maxRepositoryLength;
}

/**
 * Whether a pattern fits a whole sequence: each of its pieces is for one element, but a wildcard, which is for any number
 * of those that it accepts. It follows all ways through the pattern at once: a client chooses the name, and must not
 * choose the time it takes.
 */
export function fits<Piece, Element>(
  pieces: readonly Piece[],
  elements: Iterable<Element>,
  isWildcard: (piece: Piece) => boolean,
  accepts: (piece: Piece, element: Element) => boolean,
): boolean {
  // Wildcards may stand for nothing.
  const withSkips = (positions: Set<number>): Set<number> => {
    for (const position of positions) {
      const piece = pieces[position];
      // The loop comes to what is added, too.
      if (position < pieces.length && isWildcard(piece as Piece)) positions.add(position + 1);
    }
    return positions;
  };
  let reached = withSkips(new Set([0]));
  for (const element of elements) {
    const next = new Set<number>();
    for (const position of reached) {
      const piece = pieces[position] as Piece;
      if (position < pieces.length && accepts(piece, element)) next.add(isWildcard(piece) ? position : position + 1);
    }
    reached = withSkips(next);
  }
  return reached.has(pieces.length);
}

function isStars(piece: string): boolean {
  return piece.startsWith("*");
}

function acceptsCharacter(piece: string, character: string): boolean {
  return piece === "*" ? character !== "/" : isStars(piece) || piece === character;
}
