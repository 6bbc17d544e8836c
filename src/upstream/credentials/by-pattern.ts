import type { NamePattern } from "../../oci/name-pattern.ts";
import type { CredentialSource } from "./source.ts";

/** A source, and the repositories that it is for. */
export interface PatternEntry {
  readonly match: NamePattern;
  readonly source: CredentialSource;
}

/**
 * A source that is made of several, of which the most specific pattern that fits decides; of two that are equally
 * specific, the first. It closes them all.
 *
 * @param otherwise For repositories that no pattern fits; without it, those are asked for anonymously.
 */
export function createByPattern(entries: readonly PatternEntry[], otherwise?: CredentialSource): CredentialSource {
  const ordered = entries.toSorted((a, b) => b.match.specificity - a.match.specificity);
  const all = new Set([...entries.map(({ source }) => source), ...(otherwise === undefined ? [] : [otherwise])]);
  return {
    async get(repository, signal) {
      signal.throwIfAborted();
      const entry = ordered.find(({ match }) => match.matches(repository));
      return (entry?.source ?? otherwise)?.get(repository, signal);
    },
    refused(credentials) {
      for (const source of all) {
        source.refused(credentials);
      }
    },
    close() {
      for (const source of all) {
        source.close();
      }
    },
  };
}
