import type { Credentials } from "../../../../src/upstream/credentials.ts";
import type { CredentialSource } from "../../../../src/upstream/credentials/source.ts";

/** A source that gives what it is told to, and writes down what is done to it. */
export interface FakeSource {
  readonly source: CredentialSource;
  /** What it gives from now on: credentials, none, or an error. */
  give(answer: Credentials | Error | undefined): void;
  /** The repositories, in order. */
  readonly asked: string[];
  readonly refused: Credentials[];
  /** How often it was closed. */
  closed(): number;
}

export function fakeSource(answer: Credentials | Error | undefined): FakeSource {
  let current = answer;
  let closed = 0;
  const asked: string[] = [];
  const refused: Credentials[] = [];
  return {
    asked,
    refused,
    closed: () => closed,
    give(next) {
      current = next;
    },
    source: {
      async get(repository, signal) {
        signal.throwIfAborted();
        asked.push(repository);
        if (current instanceof Error) {
          throw current;
        }
        return current;
      },
      refused: (credentials) => void refused.push(credentials),
      close() {
        closed += 1;
      },
    },
  };
}
