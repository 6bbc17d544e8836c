import type { TestContext } from "node:test";

/** Where a test at random starts: anywhere, or at TEST_SEED, to have a run again. It is printed before anything fails. */
export function chooseSeed(context: TestContext): number {
  const seed = Number(process.env["TEST_SEED"] ?? Date.now() % 1_000_000);
  context.diagnostic(`TEST_SEED=${seed}`);
  return seed;
}

/** Numbers from 0 up to 1, the same for the same start (mulberry32). */
export function createRandom(start: number): () => number {
  let state = start;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let value = Math.imul(state ^ (state >>> 15), 1 | state);
    value = (value + Math.imul(value ^ (value >>> 7), 61 | value)) ^ value;
    return ((value ^ (value >>> 14)) >>> 0) / 4_294_967_296;
  };
}
