/** What the command line reads and writes. */
export interface Terminal {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Reads a file whole. */
  readFile(path: string): Uint8Array;
  /** Writes to standard output. */
  out(text: string): void;
  /** Writes to standard error. */
  err(text: string): void;
}

/** Who sits at the terminal, if anybody. */
export interface Person {
  /** Where bars may be drawn; `undefined` where standard error is no terminal. */
  readonly screen: NodeJS.WritableStream | undefined;
  /** Asks, as `ask` does; `undefined` where there is nobody to ask. */
  readonly ask: ((question: string) => Promise<string | undefined>) | undefined;
  /** `listener` is called for each Ctrl-C (SIGINT, which may come several times for one) until what is returned is called. */
  onInterrupt(listener: () => void): () => void;
}

/** Exit codes: what was asked for was done, it failed, it was asked for wrongly, or it was interrupted. */
export const exitCodes = { ok: 0, failed: 1, usage: 2, interrupted: 130 } as const;

/** A command cannot do what it was asked for; the message is for people. */
export class CommandFailure extends Error {
  override readonly name = "CommandFailure";
  readonly exitCode: number;

  constructor(message: string, options: { exitCode?: number; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.exitCode = options.exitCode ?? exitCodes.failed;
  }
}

/** A mirror understood what it was asked for, and says no to that. */
export class Refusal extends CommandFailure {}
