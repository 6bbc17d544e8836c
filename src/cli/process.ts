import { readFileSync } from "node:fs";
import { createInterface } from "node:readline/promises";
import type { App } from "../app.ts";
import type { Config } from "../config/schema.ts";
import type { OpenStore } from "./commands/command.ts";
import { runCommandLine } from "./program.ts";
import { type Happenings, serve } from "./serve.ts";
import type { Person } from "./terminal.ts";
import { readVersion } from "./version.ts";

const happenings: Happenings = {
  onSignal(listener) {
    for (const signal of ["SIGTERM", "SIGINT"]) {
      process.on(signal, listener);
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
  ask: process.stdin.isTTY && process.stderr.isTTY ? ask : undefined,
  onInterrupt(listener) {
    process.on("SIGINT", listener);
    return () => process.off("SIGINT", listener);
  },
};

async function ask(question: string): Promise<string> {
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    return await lines.question(question);
  } finally {
    lines.close();
  }
}

/** Runs the command line of this process; resolves with the exit code. */
export function runProcess(): Promise<number> {
  const terminal = {
    env: process.env,
    readFile: (path: string) => readFileSync(path, "utf8"),
    out: (text: string) => {
      process.stdout.write(text);
    },
    err: writeError,
  };
  const onLogFailure = (error: Error): void => writeError(`entrepot: lines of the log are lost: ${error.message}\n`);
  // The app is loaded only where it is used, as it is most of the program: other commands answer sooner.
  const actions = {
    serve: (config: Config, version: string): Promise<number> => {
      const start = async (): Promise<App> => {
        const { startApp } = await import("../app.ts");
        return startApp(config, { version, onLogFailure });
      };
      return serve(start, happenings, writeError);
    },
    openStore: async (config: Config, version: string): Promise<OpenStore> => {
      const { openOffline } = await import("../app.ts");
      return openOffline(config, { version, onLogFailure });
    },
  };
  return runCommandLine(process.argv.slice(2), terminal, readVersion(), actions, person);
}
