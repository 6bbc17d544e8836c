import { constants } from "node:fs";
import { open } from "node:fs/promises";
import type { Clock } from "../../concurrency/clock.ts";
import { settleOrAbort } from "../../concurrency/settle-or-abort.ts";
import { CredentialError, type ProblemListener, readText, toCredentialError } from "./source.ts";

/** What file is read, and how. */
export interface WatchedFileOptions<Content> {
  /** The source's name in messages. */
  readonly name: string;
  readonly path: string;
  readonly maxBytes: number;
  readonly clock: Clock;
  /** Reads the file's text. A `CredentialError` of it may be shown. */
  readonly parse: (text: string) => Content;
  /** Hears, once for each new problem, that the last good content stays in use. */
  readonly onProblem?: ProblemListener | undefined;
}

/** For this long a look at the file counts. */
const intervalMs = 1000;

/**
 * A small file that is read again when it changes. It is watched by reading it, not by its times: a secret that is
 * mounted into a container changes by a symbolic link that is pointed elsewhere, and one that is written in place can
 * change twice within a tick of the file's clock.
 */
export class WatchedFile<Content> {
  readonly #options: WatchedFileOptions<Content>;
  #good: { readonly text: string; readonly content: Content } | undefined;
  #lookedAt = -Infinity;
  #reported: string | undefined;
  #look: Promise<Content> | undefined;

  constructor(options: WatchedFileOptions<Content>) {
    this.#options = options;
  }

  /**
   * What the file says now. The same object as before where it says the same as before.
   *
   * @throws {CredentialError} The file cannot be read or used, and never could. The signal's reason after an abort.
   */
  async read(signal: AbortSignal): Promise<Content> {
    signal.throwIfAborted();
    if (this.#look === undefined) {
      const now = this.#options.clock.monotonic();
      if (this.#good !== undefined && now - this.#lookedAt < intervalMs) return this.#good.content;
      // Before the look: what changes during it is seen by the next one.
      this.#lookedAt = now;
      this.#look = Promise.resolve().then(() => this.#readAgain());
    }
    return settleOrAbort(this.#look, signal);
  }

  /** The next `read` looks at the file, however short ago the last look was. */
  expire(): void {
    this.#lookedAt = -Infinity;
  }

  async #readAgain(): Promise<Content> {
    const { name, path, maxBytes, parse, onProblem } = this.#options;
    try {
      const text = await readWhole(name, path, maxBytes);
      if (text !== this.#good?.text) this.#good = { text, content: parse(text) };
      this.#reported = undefined;
      return this.#good.content;
    } catch (error) {
      const problem = toCredentialError(name, error);
      if (this.#good === undefined) throw problem;
      if (problem.message !== this.#reported) {
        this.#reported = problem.message;
        onProblem?.(problem);
      }
      return this.#good.content;
    } finally {
      this.#look = undefined;
    }
  }
}

async function readWhole(name: string, path: string, maxBytes: number): Promise<string> {
  // Opening a pipe would otherwise wait for its writer, and keep a thread of the pool for as long.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stat = await file.stat();
    if (!stat.isFile()) throw new CredentialError(name, "it is not a regular file");
    const buffer = Buffer.allocUnsafe(maxBytes + 1);
    let length = 0;
    for (;;) {
      const { bytesRead } = await file.read(buffer, length, buffer.length - length, length);
      length += bytesRead;
      if (length > maxBytes) throw new CredentialError(name, `it is larger than ${maxBytes} bytes`);
      if (bytesRead === 0) break;
    }
    return readText(name, buffer.subarray(0, length));
  } finally {
    await file.close();
  }
}
