import type { App } from "../app/app.ts";
import { ConfigError } from "../config/config-error.ts";

/** The parts of an `App` that are used here. */
export interface RunningApp extends Pick<App, "addresses" | "close"> {
  readonly log: Pick<App["log"], "info" | "error" | "fatal" | "flush">;
}

/** What the process tells the server: that it is to stop, or that it cannot go on. */
export interface Happenings {
  /** `listener` is called each time that somebody asks, by SIGTERM or SIGINT. */
  onSignal(listener: (signal: string) => void): void;
  /** `listener` is called for each error that nobody caught. */
  onUncaught(listener: (error: unknown) => void): void;
}

/**
 * Starts an app and runs it until a signal. The first signal lets it finish in its own time; the second ends it.
 *
 * @param err Writes to standard error, where the app has no log to write to.
 * @returns The exit code: 0 when it was asked to stop and did so, else 1.
 * @throws {ConfigError} Where the app refuses the configuration.
 */
export async function serve(
  start: () => Promise<RunningApp>,
  happenings: Happenings,
  err: (text: string) => void,
): Promise<number> {
  let log: RunningApp["log"] | undefined;
  const ended = Promise.withResolvers<number>();
  const asked = Promise.withResolvers<string>();
  let signals = 0;
  happenings.onSignal((signal) => {
    signals += 1;
    asked.resolve(signal);
    if (signals > 1) {
      log?.flush();
      ended.resolve(1);
    }
  });
  happenings.onUncaught((error) => {
    if (log === undefined) {
      err(`entrepot: ${explain(error)}\n`);
    } else {
      log.fatal({ err: error }, "an error that nobody caught: the process ends");
    }
    ended.resolve(1);
  });
  const run = async (): Promise<number> => {
    let app: RunningApp;
    try {
      app = await start();
    } catch (error) {
      if (error instanceof ConfigError) {
        throw error;
      }
      err(`entrepot: ${explain(error)}\n`);
      return 1;
    }
    log = app.log;
    log.info({ addresses: app.addresses }, "listening");
    log.flush();
    const signal = await asked.promise;
    log.info({ signal }, "stopping");
    log.flush();
    return close(app);
  };
  return Promise.race([run(), ended.promise]);
}

async function close(app: RunningApp): Promise<number> {
  try {
    await app.close();
  } catch (error) {
    app.log.error({ err: error }, "stopping failed");
    app.log.flush();
    return 1;
  }
  app.log.info("stopped");
  app.log.flush();
  return 0;
}

const listenFailures: Readonly<Record<string, string>> = {
  EADDRINUSE: "another program listens there",
  EACCES: "permission denied",
  EADDRNOTAVAIL: "this machine has no such address",
  ENOTFOUND: "the host name is not known",
};

/** Says in one line why the app could not start, causes included. */
export function explain(error: unknown): string {
  if (!(error instanceof Error)) {
    return String(error);
  }
  const { code, syscall, address, port } = error as NodeJS.ErrnoException & { address?: string; port?: number };
  const hint = listenFailures[code ?? ""];
  if (hint !== undefined && (syscall === "listen" || syscall === "getaddrinfo")) {
    const host = address?.includes(":") ? `[${address}]` : address;
    const place = host === undefined ? "" : ` at ${port === undefined || port < 0 ? host : `${host}:${port}`}`;
    // For a socket's path, libuv says EACCES where the folder is missing, too.
    const orMissing = code === "EACCES" && (port === undefined || port < 0) ? ", or there is no such folder" : "";
    return `cannot listen${place}: ${hint}${orMissing} (${code})`;
  }
  const text = error.message === "" ? error.name : error.message.replaceAll(/\s+/g, " ");
  return error.cause === undefined ? text : `${text}: ${explain(error.cause)}`;
}
