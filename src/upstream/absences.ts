import { boundedMap } from "../concurrency/bounded-map.ts";
import type { Upstream } from "./upstream.ts";

/**
 * The same upstream, which for `ttlMs` remembers what it does not have (a 404 and nothing else: a refusal, a rate limit
 * or a failure says nothing about what is there). Equal questions in that time are answered without asking.
 *
 * @param remembered How many absences, at most; the longest unused are forgotten.
 */
export function rememberAbsences(
  upstream: Upstream,
  ttlMs: number,
  remembered: number,
  monotonic: () => number,
): Upstream {
  if (ttlMs === 0) return upstream;
  const absences = boundedMap<string, number>(remembered);
  // Equal questions that run at once, and how often one of them found it: an absence that ends later is out of date.
  const asking = new Map<string, { questions: number; found: number }>();

  async function ask<T>(key: string, question: () => Promise<T | undefined>): Promise<T | undefined> {
    const until = absences.get(key);
    if (until !== undefined && monotonic() < until) return undefined;
    const equal = asking.get(key) ?? { questions: 0, found: 0 };
    asking.set(key, equal);
    equal.questions++;
    const foundBefore = equal.found;
    try {
      const answer = await question();
      if (answer !== undefined) {
        equal.found++;
        absences.delete(key);
      } else if (equal.found === foundBefore) {
        absences.set(key, monotonic() + ttlMs);
      }
      return answer;
    } finally {
      if (--equal.questions === 0) asking.delete(key);
    }
  }

  return {
    ...upstream,
    resolve: (repository, reference, ...rest) =>
      ask(`manifests/${repository}@${reference}`, () => upstream.resolve(repository, reference, ...rest)),
    manifest: (repository, reference, ...rest) =>
      ask(`manifests/${repository}@${reference}`, () => upstream.manifest(repository, reference, ...rest)),
    blob: (repository, digest, ...rest) =>
      ask(`blobs/${repository}@${digest}`, () => upstream.blob(repository, digest, ...rest)),
    statBlob: (repository, digest, ...rest) =>
      ask(`blobs/${repository}@${digest}`, () => upstream.statBlob(repository, digest, ...rest)),
  };
}
