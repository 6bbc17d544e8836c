import assert from "node:assert/strict";
import { runCommandLine } from "../../src/cli/program.ts";

/** What a command line came to. */
export interface CommandOutcome {
  readonly exitCode: number;
  readonly out: string;
  readonly err: string;
}

/** Runs a command that needs neither a mirror nor a store, with nobody at the terminal. */
export async function runCommand(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<CommandOutcome> {
  let out = "";
  let err = "";
  const terminal = {
    env,
    readFile: () => assert.fail("nothing is read so"),
    out: (text: string) => void (out += text),
    err: (text: string) => void (err += text),
  };
  const actions = {
    serve: () => assert.fail("nothing is served"),
    openStore: () => assert.fail("no store is opened"),
    stopSignal: () => new AbortController().signal,
  };
  const person = { screen: undefined, ask: undefined, onInterrupt: () => () => undefined };
  const exitCode = await runCommandLine([...args], terminal, "0.0.0", actions, person);
  return { exitCode, out, err };
}
