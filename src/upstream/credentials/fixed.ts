import type { Credentials } from "../credentials.ts";
import type { CredentialSource } from "./source.ts";

/** A source of the same credentials always, taken to the letter; of `undefined`, one for whoever asks anonymously. */
export function createFixed(credentials: Credentials | undefined): CredentialSource {
  return {
    async get(_repository, signal) {
      signal.throwIfAborted();
      return credentials;
    },
    refused() {},
    close() {},
  };
}
