/** The middle of the samples. */
export function median(samples: readonly number[]): number {
  const sorted = [...samples].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle];
  const lower = sorted[sorted.length % 2 === 0 ? middle - 1 : middle];
  if (upper === undefined || lower === undefined) throw new Error("no samples");
  return (lower + upper) / 2;
}

/** The value that a share of the samples, from 0 to 1, does not exceed. */
export function quantile(samples: readonly number[], share: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? Number.NaN;
}

/**
 * How `ours` compares with `theirs`: the median of the rounds' ratios, which a machine that is slower in some rounds
 * disturbs less than the ratio of the medians. That one is taken where the rounds do not correspond.
 */
export function ratio(ours: readonly number[], theirs: readonly number[]): number {
  if (ours.length !== theirs.length) return median(ours) / median(theirs);
  return median(ours.map((value, round) => value / (theirs[round] ?? Number.NaN)));
}

/** The rounds' differences `ours - theirs`, in the middle. */
export function difference(ours: readonly number[], theirs: readonly number[]): number {
  return median(ours.map((value, round) => value - (theirs[round] ?? Number.NaN)));
}

/** Runs one round after the other, and within a round each of `names` once, beginning with another one each time. */
export async function interleave<N extends string>(
  names: readonly N[],
  rounds: number,
  measure: (name: N, round: number) => Promise<void>,
): Promise<void> {
  for (let round = 0; round < rounds; round++) {
    for (let turn = 0; turn < names.length; turn++) {
      const name = names[(round + turn) % names.length];
      if (name !== undefined) await measure(name, round);
    }
  }
}

/** Samples by server and by what was measured, in the order of the rounds. */
export class Samples {
  readonly #values = new Map<string, Map<string, number[]>>();

  add(what: string, server: string, value: number): void {
    const servers = this.#values.get(what) ?? new Map<string, number[]>();
    this.#values.set(what, servers);
    servers.set(server, [...(servers.get(server) ?? []), value]);
  }

  /** What was measured of a server; empty where nothing was. */
  of(what: string, server: string): readonly number[] {
    return this.#values.get(what)?.get(server) ?? [];
  }

  /** All servers' samples of one thing. */
  all(what: string): Record<string, readonly number[]> {
    return Object.fromEntries(this.#values.get(what) ?? []);
  }
}
