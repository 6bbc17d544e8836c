/** A small fault of the program that a test must notice. */
export interface Fault {
  /** The unit's path below `src/`, and what is wrong with it: `jobs/evict/grace-ignored`. */
  readonly name: string;
  /** The source file, and text that is in it exactly once. */
  readonly file: string;
  readonly find: string;
  /** What is there instead. */
  readonly replace: string;
  /** The promise that is not kept then. */
  readonly breaks: string;
  /** The test files of which one must fail. */
  readonly tests: readonly string[];
}

/** A fault as the lists write it: what it shares with the others of its unit is said once. */
export interface ListedFault extends Pick<Fault, "find" | "replace" | "breaks"> {
  /** The last part of its name. */
  readonly name: string;
  /** Other test files than those of the unit, where these must notice it. */
  readonly tests?: readonly string[];
}

/**
 * The faults of one unit.
 *
 * @param unit Its path below `src/`, without `.ts`.
 * @param tests The test files, below `test/` and without `.test.ts`, that must notice its faults.
 */
export function faultsOf(unit: string, tests: readonly string[], faults: readonly ListedFault[]): Fault[] {
  return faults.map((fault) => ({
    ...fault,
    name: `${unit}/${fault.name}`,
    file: `src/${unit}.ts`,
    tests: (fault.tests ?? tests).map((test) => `test/${test}.test.ts`),
  }));
}

/**
 * The source with the fault in it.
 *
 * @throws {Error} where its text is not there, or more than once: then the fault is another one, or none.
 */
export function putIn({ name, file, find, replace }: Fault, source: string): string {
  const [before, after, ...more] = source.split(find);
  if (before === undefined || after === undefined || more.length > 0) {
    throw new Error(`${name}: its text is in ${file} ${after === undefined ? 0 : more.length + 1} times, not once`);
  }
  return before + replace + after;
}
