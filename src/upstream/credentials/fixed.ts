import type { Credentials } from "../credentials.ts";
import type { CredentialSource } from "./source.ts";

/** A source of one user name and one password, which are taken to the letter. */
export function createFixed({ username, password }: Credentials): CredentialSource {
  const credentials: Credentials = { username, password };
  return {
    async get(_repository, signal) {
      signal.throwIfAborted();
      return credentials;
    },
    refused() {},
    close() {},
  };
}
