import type { Span } from "./object-store.ts";

/** Which bytes of a growing object have arrived: disjoint spans in order, neighbours joined. Pure bookkeeping. */
export class Segments {
  readonly #spans: { start: number; end: number }[] = [];

  /** Notes that the bytes of `span` are here; they may overlap what is. */
  add(span: Span): void {
    if (span.end <= span.start) return;
    const last = this.#spans.at(-1);
    if (last !== undefined && last.start <= span.start && span.start <= last.end) {
      last.end = Math.max(last.end, span.end);
      return;
    }
    let first = this.#spans.findIndex((known) => known.end >= span.start);
    if (first < 0) first = this.#spans.length;
    let past = first;
    let { start, end } = span;
    for (let known = this.#spans[past]; known !== undefined && known.start <= end; known = this.#spans[++past]) {
      start = Math.min(start, known.start);
      end = Math.max(end, known.end);
    }
    this.#spans.splice(first, past - first, { start, end });
  }

  /** The end of the unbroken run of bytes that holds `position`; `position` itself where that byte is not here. */
  endFrom(position: number): number {
    for (const span of this.#spans) {
      if (span.start <= position && position < span.end) return span.end;
    }
    return position;
  }

  /** How many bytes are here from the start on without a gap. */
  get contiguousBytes(): number {
    return this.endFrom(0);
  }
}
