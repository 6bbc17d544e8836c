import { exitCodes } from "./terminal.ts";

/** The exit code of a program whose reader has left, as a shell has it of SIGPIPE. */
const readerGone = 141;

/** A program's standard output. */
export interface StandardOutput {
  write(text: string): void;
  /** Waits for all that was written so far; the exit code where something could not be. */
  written(): Promise<number | undefined>;
  /** Resolves, with the exit code, when something could not be written; never where nothing fails. */
  readonly failed: Promise<number>;
}

/**
 * Writes to a stream. Where its reader has left, as in `entrepot ls | head`, nothing is said; of another failure, such
 * as a full disk, `err` is told.
 */
export function createStandardOutput(stream: NodeJS.WritableStream, err: (text: string) => void): StandardOutput {
  const failed = Promise.withResolvers<number>();
  let exitCode: number | undefined;
  const fail = (error: NodeJS.ErrnoException): void => {
    if (exitCode !== undefined) return;
    exitCode = error.code === "EPIPE" ? readerGone : exitCodes.failed;
    if (error.code !== "EPIPE") err(`entrepot: cannot write to standard output: ${error.message}\n`);
    failed.resolve(exitCode);
  };
  stream.on("error", fail);
  let last: Promise<void> = Promise.resolve();
  return {
    failed: failed.promise,
    write(text) {
      last = new Promise((resolve) => {
        stream.write(text, (error) => {
          if (error instanceof Error) fail(error);
          resolve();
        });
      });
    },
    async written() {
      await last;
      return exitCode;
    },
  };
}
