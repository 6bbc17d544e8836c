import { type DestinationStream, type Logger, pino } from "pino";

export type { Logger } from "pino";

/** How the log is written. */
export interface LogOptions {
  readonly level: string;
  /** One JSON object a line, or lines for people. */
  readonly format: "json" | "pretty";
  /** Where to; standard output where it is not given. */
  readonly destination?: DestinationStream;
}

/**
 * Makes the process's log. JSON lines are buffered for up to a second, so that logging never waits for its reader;
 * `logger.flush()` at the end writes what is left.
 */
export async function createLogger(options: LogOptions): Promise<Logger> {
  const settings = {
    level: options.level,
    base: null,
    timestamp: createTimestamp(),
    serializers: { err: describeError },
  };
  if (options.destination !== undefined) return pino(settings, options.destination);
  if (options.format === "pretty") {
    const { default: pretty } = await import("pino-pretty");
    return pino(settings, pretty({ sync: true, colorize: false, translateTime: false, ignore: "pid,hostname" }));
  }
  const destination = pino.destination({ dest: 1, sync: false, minLength: 4096, periodicFlush: 1000 });
  return pino(settings, destination);
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
    message,
    ...("code" in error && error.code !== undefined && { code: error.code }),
    ...(cause !== undefined && { cause: describeError(cause) }),
    ...(unexpected && !("code" in error) && { stack }),
  };
}

const builtIn: ReadonlySet<string> = new Set([
  "TypeError",
  "RangeError",
  "ReferenceError",
  "SyntaxError",
  "AssertionError",
]);
