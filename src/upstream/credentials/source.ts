import type { Repository } from "../../oci/reference.ts";
import type { Credentials } from "../credentials.ts";

/** Where an upstream's credentials come from. */
export interface CredentialSource {
  /**
   * The credentials to use for a repository now; `undefined`: anonymous. The source caches them and renews them before
   * they expire; equal calls at once are one.
   *
   * @throws {CredentialError} There are none to be had. The signal's reason after an abort, which leaves others alone.
   */
  get(repository: Repository, signal: AbortSignal): Promise<Credentials | undefined>;
  /**
   * The registry refused these (401 or 403 with them), so that the next `get` asks anew: a token of ECR that has
   * expired is refused with 403. Credentials that are not this source's own are none of its business.
   */
  refused(credentials: Credentials): void;
  /** Ends what is running. The source is not used after it. */
  close(): void;
}

/** Hears of a problem that did not keep the source from answering: a renewal that failed, a file that is broken. */
export type ProblemListener = (problem: CredentialError) => void;

/**
 * A source has no credentials to give. The message names the source, and never holds a secret. There is no `cause`:
 * what client libraries throw holds requests and answers, and with them tokens.
 */
export class CredentialError extends Error {
  override readonly name = "CredentialError";
  /** The source, as a person would look for it: `docker config /etc/docker.json`. */
  readonly source: string;

  constructor(source: string, message: string) {
    super(`${source}: ${message}`);
    this.source = source;
  }
}

/** Makes any error of a source one that may be shown; one that is a `CredentialError` already stays as it is. */
export function toCredentialError(source: string, error: unknown): CredentialError {
  return error instanceof CredentialError ? error : new CredentialError(source, describeFailure(error));
}

/**
 * Decodes a file's bytes; a byte order mark before them is left out.
 *
 * @throws {CredentialError} They are not UTF-8.
 */
export function readText(source: string, bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new CredentialError(source, "it is not UTF-8 text");
  }
}

/**
 * Reads JSON.
 *
 * @throws {CredentialError} with this message: the parser's own quotes the text.
 */
export function parseJson(source: string, text: string, message: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new CredentialError(source, message);
  }
}

/**
 * What is told of an error that a library threw: its name, its code and its status, and nothing of its message. AWS
 * quotes the request that it was sent in its messages, with the session's token in it.
 */
export function describeFailure(error: unknown): string {
  if (!(error instanceof Error)) return "it failed";
  const { code, status, $metadata } = error as { code?: unknown; status?: unknown; $metadata?: unknown };
  const { httpStatusCode } = ($metadata ?? {}) as { httpStatusCode?: unknown };
  const words = [error.name, code].filter((word) => typeof word === "string" && /^[A-Za-z][\w.]{0,63}$/.test(word));
  const known = [...new Set(words)].filter((word) => word !== "Error").join(", ");
  const number = [status, httpStatusCode].find((value) => typeof value === "number");
  return `${known === "" ? "it failed" : known}${number === undefined ? "" : ` (status ${number})`}`;
}
