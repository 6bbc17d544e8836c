import { type ChildProcess, spawn } from "node:child_process";
import type { Credentials } from "../credentials.ts";
import { settleOrAbort } from "../../concurrency/settle-or-abort.ts";
import { CredentialError, parseJson } from "./source.ts";

/** What a helper program may do. */
export interface HelperLimits {
  /** The program's environment, in whose PATH it is looked for; without it, our own. */
  readonly env?: NodeJS.ProcessEnv | undefined;
  readonly maxOutputBytes?: number | undefined;
}

const nameGrammar = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const defaultMaxOutputBytes = 64 * 1024;
/** What helpers print where they know nothing (docker-credential-helpers, `credentials/error.go`). */
const notFound = "credentials not found in native keychain";

/**
 * Asks a credential helper (protocol: docker-credential-helpers): runs `docker-credential-<helper> get` with the
 * server's URL on its standard input, without a shell. An abort kills the program.
 *
 * @returns `undefined`: the helper knows no credentials.
 * @throws {CredentialError} The program is not there, failed, or its answer is of no use. Nothing that it printed is in
 *   the message. The signal's reason after an abort.
 */
export async function askCredentialHelper(
  helper: string,
  serverUrl: string,
  limits: HelperLimits,
  signal: AbortSignal,
): Promise<Credentials | undefined> {
  if (!nameGrammar.test(helper)) {
    throw new CredentialError("credential helper", "its name is letters, digits, dots, underscores and dashes");
  }
  const name = `credential helper docker-credential-${helper}`;
  signal.throwIfAborted();
  const child = spawn(`docker-credential-${helper}`, ["get"], {
    stdio: ["pipe", "pipe", "ignore"],
    ...(limits.env === undefined ? {} : { env: limits.env }),
  });
  try {
    const { status, output } = await settleOrAbort(
      talk(child, name, `${serverUrl}\n`, limits.maxOutputBytes ?? defaultMaxOutputBytes),
      signal,
    );
    if (status === 0) return parseAnswer(name, output);
    if (output.trim() === notFound) return undefined;
    throw new CredentialError(name, status === null ? "it was killed" : `it ended with status ${status}`);
  } finally {
    child.kill("SIGKILL");
    // A process that it left behind may hold the other ends.
    child.stdin?.destroy();
    child.stdout?.destroy();
  }
}

function talk(
  child: ChildProcess,
  name: string,
  input: string,
  maxBytes: number,
): Promise<{ status: number | null; output: string }> {
  const { promise, resolve, reject } = Promise.withResolvers<{ status: number | null; output: string }>();
  const chunks: Buffer[] = [];
  let length = 0;
  child.once("error", (error: NodeJS.ErrnoException) => {
    const reason = error.code === "ENOENT" ? "there is no such program on the PATH" : `it cannot be run: ${error.code}`;
    reject(new CredentialError(name, reason));
  });
  child.stdout?.on("data", (chunk: Buffer) => {
    length += chunk.length;
    if (length > maxBytes) {
      reject(new CredentialError(name, `its answer is larger than ${maxBytes} bytes`));
    } else {
      chunks.push(chunk);
    }
  });
  child.once("close", (status) => resolve({ status, output: Buffer.concat(chunks).toString("utf8") }));
  // A helper need not read what it is told, so a broken pipe is no failure; its answer decides.
  child.stdin?.on("error", () => {});
  child.stdout?.on("error", () => {});
  child.stdin?.end(input);
  return promise;
}

function parseAnswer(name: string, output: string): Credentials | undefined {
  const unusable = "its answer holds no credentials";
  const answer = (parseJson(name, output, unusable) ?? {}) as { Username?: unknown; Secret?: unknown };
  const { Username: username, Secret: password } = answer;
  if (typeof username !== "string" || typeof password !== "string") throw new CredentialError(name, unusable);
  return username === "" && password === "" ? undefined : { username, password };
}
