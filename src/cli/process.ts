import { readFileSync } from "node:fs";
import { runCommandLine } from "./program.ts";
import { type Happenings, serve } from "./serve.ts";
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
  return runCommandLine(process.argv.slice(2), terminal, readVersion(), (config, version) => {
    const start = async () => {
      // Only here, as it is most of the program: what does not serve answers sooner.
      const { startApp } = await import("../app.ts");
      const onLogFailure = (error: Error): void =>
        writeError(`entrepot: lines of the log are lost: ${error.message}\n`);
      return startApp(config, { version, onLogFailure });
    };
    return serve(start, happenings, writeError);
  });
}
