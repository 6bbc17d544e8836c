import type { Clock } from "../../concurrency/clock.ts";
import type { Credentials } from "../credentials.ts";
import { CredentialError, type CredentialSource, type ProblemListener } from "./source.ts";
import { WatchedFile } from "./watched-file.ts";

/** Where a password is kept. */
export interface PasswordFileOptions {
  readonly username: string;
  /** The file whose whole text, but for one line's end after it, is the password. */
  readonly path: string;
  readonly clock: Clock;
  /** Hears that the file cannot be read any longer; the last password stays in use. */
  readonly onProblem?: ProblemListener | undefined;
}

const maxBytes = 64 * 1024;

/**
 * A source whose password is in a file, which is read again when it changes. The password may have several lines, as
 * the JSON key of a Google service account does.
 */
export function createPasswordFile({ username, path, clock, onProblem }: PasswordFileOptions): CredentialSource {
  const name = `password file ${path}`;
  const file = new WatchedFile<Credentials>({
    name,
    path,
    maxBytes,
    clock,
    onProblem,
    parse(text) {
      const password = text.replace(/\r?\n$/, "");
      if (password === "") {
        // Also what a file looks like that is being written.
        throw new CredentialError(name, "it is empty");
      }
      return { username, password };
    },
  });
  return {
    get: (_repository, signal) => file.read(signal),
    refused: () => file.expire(),
    close() {},
  };
}
