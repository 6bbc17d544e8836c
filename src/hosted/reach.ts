import { type Digest, hexOf } from "../oci/digest.ts";

/** What is noted of each digest. */
const kept = 1;
const manifest = 2;
/** No edge, and no digest. */
const none = -1;

/**
 * What is to be kept of one repository: what is said to be (`keep`), and what lives with that, at any depth: what a
 * manifest refers to lives with the manifest, and a referrer with its subject, where that is there. A subject does not live
 * with its referrers.
 *
 * Of each digest it knows 52 bits, and takes two for one where these are equal: then both are kept where one of them is
 * (in a repository of a million with a probability of 10⁻⁴ at all). A repository of a million digests takes some 100 MB.
 */
export class Reach {
  readonly #numbers = new Map<number, number>();
  /** By number: what is noted, and the first edge to what lives with it. */
  readonly #notes = new Integers();
  readonly #firstEdges = new Integers();
  /** By edge: twice the number to which it goes, and one more where that is a referrer; the next one from the same digest. */
  readonly #targets = new Integers();
  readonly #nextEdges = new Integers();

  /** Adds a manifest of the repository, before or after what it refers to. */
  add(digest: Digest, children: readonly Digest[], subject: Digest | undefined): void {
    const number = this.#numberOf(digest);
    this.#note(number, manifest);
    // Its referrers live with it from now on.
    if (this.#has(number, kept)) this.#keep(...this.#living(number));
    for (const child of children) this.#connect(number, this.#numberOf(child), false);
    if (subject !== undefined) this.#connect(this.#numberOf(subject), number, true);
  }

  /** Keeps a digest, and all that lives with it or will be added as such. */
  keep(digest: Digest): void {
    this.#keep(this.#numberOf(digest));
  }

  /** Whether a digest is to be kept. */
  isKept(digest: Digest): boolean {
    return this.#has(this.#numbers.get(partOf(digest)), kept);
  }

  /** Whether a digest was added as a manifest. */
  isManifest(digest: Digest): boolean {
    return this.#has(this.#numbers.get(partOf(digest)), manifest);
  }

  /**
   * Manifests in an order in which each comes before what lives with it: who turns out to have to keep one has not
   * removed anything of it. Where a referrer also lists its subject, so that each would come before the other, the
   * referrer comes first.
   */
  inOrder(digests: readonly Digest[]): Digest[] {
    const waiting = new Map<number, { readonly digest: Digest; parents: number; subjects: number }>();
    for (const digest of digests) waiting.set(this.#numberOf(digest), { digest, parents: 0, subjects: 0 });
    for (const number of waiting.keys()) {
      for (const { target, isReferrer } of this.#edges(number)) {
        const each = waiting.get(target);
        if (each !== undefined) each[isReferrer ? "subjects" : "parents"]++;
      }
    }
    const ready: number[] = [];
    /** What waits for nothing but its subject: at least one does while anything waits, as no manifest lists itself. */
    const almostReady: number[] = [];
    const sort = (number: number): void => {
      const { parents = 1, subjects = 1 } = waiting.get(number) ?? {};
      if (parents === 0) (subjects === 0 ? ready : almostReady).push(number);
    };
    for (const number of waiting.keys()) sort(number);
    const ordered: Digest[] = [];
    const take = (): number | undefined => ready.pop() ?? almostReady.pop();
    for (let number = take(); number !== undefined; number = take()) {
      const next = waiting.get(number);
      if (next === undefined) continue;
      waiting.delete(number);
      ordered.push(next.digest);
      for (const { target, isReferrer } of this.#edges(number)) {
        const each = waiting.get(target);
        if (each === undefined) continue;
        each[isReferrer ? "subjects" : "parents"]--;
        sort(target);
      }
    }
    return ordered;
  }

  #keep(...reached: number[]): void {
    for (let number = reached.pop(); number !== undefined; number = reached.pop()) {
      if (this.#has(number, kept)) continue;
      this.#note(number, kept);
      for (const target of this.#living(number)) reached.push(target);
    }
  }

  /** What lives with something: of what is not there only what it was said to refer to. */
  *#living(number: number): Generator<number> {
    for (const { target, isReferrer } of this.#edges(number)) {
      if (!isReferrer || this.#has(number, manifest)) yield target;
    }
  }

  *#edges(number: number): Generator<{ readonly target: number; readonly isReferrer: boolean }> {
    for (let edge = this.#firstEdges.at(number); edge !== none; edge = this.#nextEdges.at(edge)) {
      const target = this.#targets.at(edge);
      yield { target: target >> 1, isReferrer: (target & 1) === 1 };
    }
  }

  #connect(from: number, to: number, isReferrer: boolean): void {
    this.#nextEdges.push(this.#firstEdges.at(from));
    this.#firstEdges.set(from, this.#targets.push(to * 2 + Number(isReferrer)));
    if (this.#has(from, kept) && (!isReferrer || this.#has(from, manifest))) this.#keep(to);
  }

  #has(number: number | undefined, note: number): boolean {
    return number !== undefined && (this.#notes.at(number) & note) !== 0;
  }

  #note(number: number, note: number): void {
    this.#notes.set(number, this.#notes.at(number) | note);
  }

  #numberOf(digest: Digest): number {
    const part = partOf(digest);
    const known = this.#numbers.get(part);
    if (known !== undefined) return known;
    const number = this.#notes.push(0);
    this.#firstEdges.push(none);
    this.#numbers.set(part, number);
    return number;
  }
}

/** 52 bits of a digest. */
function partOf(digest: Digest): number {
  return Number.parseInt(hexOf(digest).slice(0, 13), 16);
}

/** A list of small integers, of 4 to 8 bytes each. */
class Integers {
  #items = new Int32Array(16);
  #length = 0;

  at(index: number): number {
    return this.#items[index] ?? none;
  }

  set(index: number, item: number): void {
    this.#items[index] = item;
  }

  /** @returns the item's index. */
  push(item: number): number {
    if (this.#length === this.#items.length) {
      const items = new Int32Array(this.#length * 2);
      items.set(this.#items);
      this.#items = items;
    }
    this.#items[this.#length] = item;
    return this.#length++;
  }
}
