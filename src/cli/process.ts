import { readFileSync } from "node:fs";
import type { App } from "../app/app.ts";
import type { Config } from "../config/file-schema.ts";
import { ask } from "./ask.ts";
import type { OpenStore } from "./job-host.ts";
import { runCommandLine } from "./program.ts";
import { type Happenings, serve } from "./serve.ts";
import { onceAsked } from "./signals.ts";
import { createStandardOutput, type StandardOutput } from "./standard-output.ts";
import type { Person } from "./terminal.ts";
import { readVersion } from "./version.ts";

const happenings: Happenings = {
  onSignal(listener) {
    const asked = onceAsked(listener);
    for (const signal of ["SIGTERM", "SIGINT"]) {
      process.on(signal, asked);
    }
  },
  onUncaught(listener) {
    process.on("uncaughtException", listener);
    process.on("unhandledRejection", listener);
  },
};

const writeError = (text: string): void => {
  process.stderr.write(text);
};

const person: Person = {
  screen: process.stderr.isTTY ? process.stderr : undefined,
  ask:
    process.stdin.isTTY && process.stderr.isTTY
      ? (question) => ask(process.stdin, process.stderr, question)
      : undefined,
  onInterrupt(listener) {
    const asked = onceAsked(listener);
    process.on("SIGINT", asked);
    return () => process.off("SIGINT", asked);
  },
};

/** Runs the command line of this process; resolves with the exit code. */
export async function runProcess(): Promise<number> {
  // There is nobody left to tell.
  process.stderr.on("error", () => undefined);
  const cutShort = Promise.withResolvers<number>();
  let output: StandardOutput | undefined;
  // The server writes its log in another way, and starts sooner without.
  const getOutput = (): StandardOutput => {
    if (output === undefined) {
      output = createStandardOutput(process.stdout, writeError);
      void output.failed.then(cutShort.resolve);
    }
    return output;
  };
  const terminal = {
    env: process.env,
    readFile: (path: string) => readFileSync(path),
    out: (text: string) => getOutput().write(text),
    err: writeError,
  };
  const onLogFailure = (error: Error): void => writeError(`entrepot: lines of the log are lost: ${error.message}\n`);
  // The app is loaded only where it is used, as it is most of the program: other commands answer sooner.
  const actions = {
    serve: (config: Config, version: string): Promise<number> => {
      const start = async (): Promise<App> => {
        const { startApp } = await import("../app/app.ts");
        return startApp(config, { version, onLogFailure });
      };
      return serve(start, happenings, writeError);
    },
    openStore: async (config: Config, version: string, mustExist: boolean): Promise<OpenStore> => {
      const { openOffline } = await import("../app/app.ts");
      return openOffline(config, { version, onLogFailure, mustExist });
    },
    stopSignal: (): AbortSignal => {
      const stop = new AbortController();
      happenings.onSignal(() => {
        if (stop.signal.aborted) cutShort.resolve(1);
        stop.abort();
      });
      return stop.signal;
    },
  };
  const run = async (): Promise<number> => {
    const exitCode = await runCommandLine(process.argv.slice(2), terminal, readVersion(), actions, person);
    return (await output?.written()) ?? exitCode;
  };
  return Promise.race([cutShort.promise, run()]);
}
