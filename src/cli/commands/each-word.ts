import { exitCodes, Refusal, type Terminal } from "../terminal.ts";

/** What came of a command's words. */
export interface WordsDone<Answer> {
  /** Those for which it succeeded, in their order. */
  readonly words: readonly string[];
  /** What it answered for them. */
  readonly answers: readonly Answer[];
  /** Of a word alone its own; of several, 1 where one was refused. */
  readonly exitCode: number;
}

/**
 * Does something for each word of a command, one after the other. What is refused for one is said at once, and keeps no
 * other from being done; what is worse ends it, after `end` was told what had succeeded.
 *
 * @param report.each Told of each answer as it comes.
 * @param report.end Told of all of them in the end, however that comes.
 */
export async function forEachWord<Answer>(
  terminal: Terminal,
  words: readonly string[],
  work: (word: string) => Promise<Answer>,
  report: { readonly each?: (answer: Answer) => void; readonly end?: (answers: readonly Answer[]) => void } = {},
): Promise<WordsDone<Answer>> {
  const done: string[] = [];
  const answers: Answer[] = [];
  let exitCode: number = exitCodes.ok;
  try {
    for (const word of words) {
      try {
        const answer = await work(word);
        done.push(word);
        answers.push(answer);
        report.each?.(answer);
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        terminal.err(`entrepot: ${word}: ${error.message}\n`);
        exitCode = words.length === 1 ? error.exitCode : exitCodes.failed;
      }
    }
  } finally {
    report.end?.(answers);
  }
  return { words: done, answers, exitCode };
}
