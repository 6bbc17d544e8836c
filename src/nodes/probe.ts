import type * as http from "node:http";
import type * as https from "node:https";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);

/**
 * Asks an address for `/v2/`, as a runtime does: something else may listen there. Resolves to why that is no mirror, or
 * to `undefined` where it is one.
 *
 * @param url `http://host:port` or `https://host:port`
 * @param patienceMs How long the whole answer may take.
 * @param stop Ends it sooner.
 */
export async function probe(url: string, patienceMs: number, stop?: AbortSignal): Promise<string | undefined> {
  // An `import` reads all that a built-in module exports, which takes memory (see http/connections).
  const { get } = url.startsWith("https:")
    ? (require("node:https") as typeof https)
    : (require("node:http") as typeof http);
  const answer = Promise.withResolvers<string | undefined>();
  const timeout = AbortSignal.timeout(patienceMs);
  const signal = stop === undefined ? timeout : AbortSignal.any([timeout, stop]);
  const asking = get(new URL("/v2/", url), { agent: false, signal }, (response) => {
    const { statusCode: status = 0, headers } = response;
    const version = headers["docker-distribution-api-version"];
    response.on("error", answer.reject);
    if (status !== 200) answer.resolve(`it answers ${status} to GET /v2/`);
    else if (version !== "registry/2.0") answer.resolve("it answers, and is no registry");
    else response.on("end", () => answer.resolve(undefined)).resume();
  }).on("error", answer.reject);
  try {
    return await answer.promise;
  } catch (error) {
    if (timeout.aborted) return `no answer within ${patienceMs / 1_000} s`;
    const { code, message } = error as NodeJS.ErrnoException;
    return code === undefined || message.includes(code) ? message : `${message} (${code})`;
  } finally {
    asking.destroy();
  }
}
