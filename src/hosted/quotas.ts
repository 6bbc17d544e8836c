import { OciError } from "../oci/errors.ts";
import type { Namespace } from "../oci/reference.ts";
import { hostedLinksPrefix } from "../store/hosted-layout.ts";
import type { Repositories } from "./repositories.ts";

/** How long a count is good for: others may write to the store, too, and what comes while it is counted may count twice. */
const countedMs = 10 * 60_000;

interface Count {
  /** What had been counted, or is being. */
  readonly counted: Promise<number>;
  readonly at: number;
  /** What has come and gone here since. */
  changedBytes: number;
}

/**
 * What each namespace holds, for those that have a quota: counted when it is asked for first, kept up with what happens
 * here, and counted anew now and then. What others do meanwhile can take a namespace past its quota by as much.
 */
export class Quotas {
  readonly #repositories: Repositories;
  readonly #monotonic: () => number;
  readonly #counts = new Map<Namespace, Count>();

  constructor(repositories: Repositories, monotonic: () => number) {
    this.#repositories = repositories;
    this.#monotonic = monotonic;
    repositories.onChange((namespace, bytes) => {
      const count = this.#counts.get(namespace);
      if (count !== undefined) count.changedBytes += bytes;
    });
  }

  /** @throws {OciError} DENIED: with so much more, a namespace would hold more than its quota. */
  async assertRoom(namespace: Namespace, moreBytes: number, quotaBytes: number): Promise<void> {
    if (quotaBytes === Infinity) return;
    const usedBytes = await this.#usedBytes(namespace);
    if (usedBytes + moreBytes <= quotaBytes) return;
    throw new OciError(
      "DENIED",
      `the quota of ${namespace} is ${quotaBytes} bytes, of which ${usedBytes} are used: delete what is not needed, or raise it`,
    );
  }

  async #usedBytes(namespace: Namespace): Promise<number> {
    let count = this.#counts.get(namespace);
    if (count === undefined || this.#monotonic() - count.at > countedMs) {
      count = { counted: this.#count(namespace), at: this.#monotonic(), changedBytes: 0 };
      this.#counts.set(namespace, count);
      // Whoever waits for it hears of it; the next one counts again.
      count.counted.catch(() => this.#counts.delete(namespace));
    }
    return (await count.counted) + count.changedBytes;
  }

  async #count(namespace: Namespace): Promise<number> {
    let bytes = 0;
    for await (const id of this.#repositories.list(namespace)) {
      for await (const { record } of this.#repositories.links.list(hostedLinksPrefix(id))) bytes += record.sizeBytes;
    }
    return bytes;
  }
}
