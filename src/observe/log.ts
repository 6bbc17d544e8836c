import { write, writeSync } from "node:fs";
import { type DestinationStream, type Logger, pino } from "pino";

export type { Logger } from "pino";

/** How the log is written. */
export interface LogOptions {
  readonly level: string;
  /** One JSON object a line, or lines for people. */
  readonly format: "json" | "pretty";
  /** Where to; `fileDescriptor` where it is not given. */
  readonly destination?: DestinationStream | undefined;
  /** An open file; standard output where it is not given. */
  readonly fileDescriptor?: number;
  /** Told of the first line that could not be written, and then of the first after each that could. */
  readonly onFailure?: ((error: Error) => void) | undefined;
}

const bufferedLength = 4096;
const flushMs = 1_000;
const retryMs = 100;
const maxLength = 1024 * 1024;
/** A write that takes longer waits for a reader that does not read. */
const stuckMs = 1_000;
const errorLevel = 50;
const fatalLevel = 60;

/**
 * Makes the process's log. JSON lines are buffered for up to a second, so that logging never waits for its reader;
 * `logger.flush()` at the end writes what is left. Lines that cannot be written are dropped.
 */
export async function createLogger(options: LogOptions): Promise<Logger> {
  const settings = {
    level: options.level,
    base: null,
    timestamp: createTimestamp(),
    serializers: { err: describeError },
  };
  if (options.destination !== undefined) return pino(settings, options.destination);
  const { fileDescriptor = 1, onFailure = () => undefined } = options;
  if (options.format === "pretty") {
    const { prettyFactory } = await import("pino-pretty");
    const prettify = prettyFactory({ colorize: false, translateTime: false, ignore: "pid,hostname" });
    const output = new Output(fileDescriptor, 0, onFailure);
    return pino(settings, { write: (line) => output.write(prettify(line)) });
  }
  return pino(settings, new Output(fileDescriptor, bufferedLength, onFailure));
}

/**
 * Writes lines to a file, a pipe or a terminal, off the event loop. Where that fails the lines are dropped and the next
 * are tried anew; where it takes none for now they wait, up to a bound. Nothing here throws or spins: pino's own
 * destination does both on a full disk.
 */
class Output implements DestinationStream {
  /** Makes pino set `lastLevel` before each line. */
  readonly [pino.symbols.needsMetadataGsym] = true;
  lastLevel = 0;
  readonly #fd: number;
  readonly #bufferedLength: number;
  readonly #onFailure: (error: Error) => void;
  #lines = "";
  #failing = false;
  /** Since when a write is under way, in `performance.now()`. */
  #writingSince: number | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** @param buffered How long lines may get before they are written; 0 writes each before `write` returns. */
  constructor(fd: number, buffered: number, onFailure: (error: Error) => void) {
    this.#fd = fd;
    this.#bufferedLength = buffered;
    this.#onFailure = onFailure;
  }

  write(line: string): void {
    if (this.#lines.length + line.length > maxLength) return;
    this.#lines += line;
    // After a fatal line the process ends, and asks for no flush.
    if (this.#bufferedLength === 0 || this.lastLevel >= fatalLevel) {
      this.flush();
      return;
    }
    if (this.#writingSince !== undefined) return;
    if (this.#lines.length >= this.#bufferedLength || this.lastLevel >= errorLevel) this.#start();
    else this.#timer ??= setTimeout(() => this.#start(), flushMs).unref();
  }

  /** Writes what is left before it returns, unless the reader is stuck. */
  flush(): void {
    if (this.#writingSince !== undefined && performance.now() - this.#writingSince > stuckMs) return;
    const bytes = this.#take();
    let done = 0;
    try {
      while (done < bytes.length) done += writeSync(this.#fd, bytes, done);
      if (done > 0) this.#failing = false;
    } catch (error) {
      if (isBusy(error)) {
        this.#lines = bytes.toString("utf8", done);
        this.#timer = setTimeout(() => this.#start(), retryMs).unref();
      } else {
        this.#fail(error as Error);
      }
    }
  }

  #take(): Buffer {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const bytes = Buffer.from(this.#lines);
    this.#lines = "";
    return bytes;
  }

  #start(): void {
    if (this.#writingSince !== undefined) return;
    const bytes = this.#take();
    if (bytes.length === 0) return;
    this.#writingSince = performance.now();
    this.#write(bytes, 0);
  }

  #write(bytes: Buffer, from: number): void {
    write(this.#fd, bytes, from, (error, count) => {
      if (isBusy(error)) {
        setTimeout(() => this.#write(bytes, from), retryMs).unref();
        return;
      }
      if (error === null) {
        this.#failing = false;
        if (from + count < bytes.length) {
          this.#write(bytes, from + count);
          return;
        }
      } else {
        this.#fail(error);
      }
      this.#writingSince = undefined;
      if (this.#lines.length > 0) this.#start();
    });
  }

  #fail(error: Error): void {
    if (this.#failing) return;
    this.#failing = true;
    this.#onFailure(error);
  }
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "EAGAIN" || error.code === "EBUSY");
}

/** The time as pino wants it; busy servers write many lines in one millisecond. */
function createTimestamp(): () => string {
  let last = 0;
  let text = "";
  return () => {
    const now = Date.now();
    if (now !== last) {
      last = now;
      text = `,"time":"${new Date(now).toISOString()}"`;
    }
    return text;
  };
}

/** Longer messages are cut: they may name what an upstream has sent, such as where a redirect leads. */
const maxMessageLength = 1_000;

/** An error's message as the log shows it. */
export function describeMessage({ message }: Error): string {
  return message.length <= maxMessageLength ? message : `${message.slice(0, maxMessageLength)}…`;
}

/**
 * An error as the log shows it: type, message and causes. The stack only where somebody has made a mistake: an error
 * class of ours says all there is to say in its message.
 */
export function describeError(error: unknown): Record<string, unknown> {
  if (!(error instanceof Error)) return { message: String(error) };
  const { name, message, cause, stack } = error;
  const unexpected = name === "Error" || builtIn.has(name);
  return {
    type: name,
    message: describeMessage(error),
    ...("code" in error && error.code !== undefined && { code: error.code }),
    ...(cause !== undefined && { cause: describeError(cause) }),
    ...(unexpected && !("code" in error) && { stack: stack?.replace(message, () => describeMessage(error)) }),
  };
}

const builtIn: ReadonlySet<string> = new Set([
  "TypeError",
  "RangeError",
  "ReferenceError",
  "SyntaxError",
  "AssertionError",
]);
