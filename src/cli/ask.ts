import { createInterface } from "node:readline";

/**
 * Asks somebody at a terminal. The answer is a line; empty where the input ends (Ctrl-D), `undefined` after Ctrl-C.
 * Never rejects.
 */
export async function ask(
  input: NodeJS.ReadableStream,
  output: NodeJS.WritableStream,
  question: string,
): Promise<string | undefined> {
  const answer = Promise.withResolvers<string | undefined>();
  const lines = createInterface({ input, output, terminal: true });
  const leave = (given: string | undefined): void => {
    output.write("\n");
    answer.resolve(given);
  };
  lines.once("SIGINT", () => leave(undefined));
  lines.once("close", () => leave(""));
  lines.question(question, (line) => {
    lines.removeAllListeners("close");
    answer.resolve(line);
  });
  try {
    return await answer.promise;
  } finally {
    lines.removeAllListeners("close");
    lines.close();
  }
}
