import type { Digest } from "../oci/digest.ts";
import type { Tag } from "../oci/reference.ts";
import type { RepositoryId } from "../store/layout.ts";
import type { LedgerChange } from "./ledger.ts";

/** How many wait to be told: few enough for a short transaction. */
const maxNoted = 1_000;
const maxUnseen = 10_000;

interface Use {
  readonly id: RepositoryId;
  readonly digest: Digest;
  at: number;
  readonly tags: Set<Tag>;
}

/**
 * Uses that were noted: the latest of each link, until they are told; and which of them no answer of the ledger has
 * seen. Both take bounded memory: where too many were not seen, all links count as such.
 */
export class Uses {
  #noted = new Map<string, Use>();
  /** Links of uses that were taken, by the number of the take. */
  readonly #unseen = new Map<string, number>();
  #taken = 0;
  /** The number of the take up to which it is not known any more what was used. */
  #forgotten = 0;

  /** Whether there are enough of them to be told now. */
  note(id: RepositoryId, digest: Digest, tag: Tag | undefined, at: number): boolean {
    const key = keyOf(id, digest);
    let use = this.#noted.get(key);
    if (use === undefined) {
      use = { id, digest, at, tags: new Set() };
      this.#noted.set(key, use);
    }
    use.at = Math.max(use.at, at);
    if (tag !== undefined) use.tags.add(tag);
    return this.#noted.size >= maxNoted;
  }

  /** The uses to be told now; they are not seen yet. */
  take(): LedgerChange[] {
    if (this.#noted.size === 0) return [];
    this.#taken++;
    const changes = [...this.#noted.values()].flatMap(({ id, digest, at, tags }): LedgerChange[] =>
      tags.size === 0
        ? [{ kind: "use", id, digest, at }]
        : [...tags].map((tag) => ({ kind: "use", id, digest, tag, at })),
    );
    if (this.#unseen.size + this.#noted.size > maxUnseen) {
      this.#unseen.clear();
      this.#forgotten = this.#taken;
    } else {
      for (const key of this.#noted.keys()) this.#unseen.set(key, this.#taken);
    }
    this.#noted = new Map();
    return changes;
  }

  /** Marks what was taken so far; to call what is returned says that it was seen. */
  mark(): () => void {
    const taken = this.#taken;
    return () => {
      for (const [key, number] of this.#unseen) if (number <= taken) this.#unseen.delete(key);
      if (this.#forgotten <= taken) this.#forgotten = 0;
    };
  }

  /** Whether it was used and nobody has seen that. */
  isPending(id: RepositoryId, digest: Digest): boolean {
    const key = keyOf(id, digest);
    return this.#forgotten > 0 || this.#noted.has(key) || this.#unseen.has(key);
  }
}

function keyOf(id: RepositoryId, digest: Digest): string {
  return `${id.namespace}/${id.repository}@${digest}`;
}
