import type { Digest } from "../oci/digest.ts";
import { Fill } from "./fill.ts";
import type { FillRequest, FillTools } from "./fill-tools.ts";
import type { RepositoryId } from "../store/layout.ts";

/**
 * The fills that are under way in this process: at most one for each namespace, repository and digest. A repository
 * that is known to contain a digest (`linked`) also joins the fill of another repository of its namespace; that of
 * another namespace, whose upstream it has no reason to trust or to wait for, only when that is verified: it is then as
 * good as stored.
 */
export class Fills {
  readonly #tools: FillTools;
  readonly #fills = new Map<Digest, Set<Fill>>();
  #closing: Error | undefined;
  #ended = 0;

  constructor(tools: FillTools) {
    this.#tools = tools;
  }

  /** How many are under way. */
  get size(): number {
    let count = 0;
    for (const fills of this.#fills.values()) count += fills.size;
    return count;
  }

  /** How many have ended so far: who finds it unchanged knows that none has stored anything meanwhile. */
  get ended(): number {
    return this.#ended;
  }

  /** Whether a digest is being fetched, for whomever. */
  isFilling(digest: Digest): boolean {
    return this.#fills.has(digest);
  }

  /** The fill that a reader of this repository may join, if there is one. */
  find(id: RepositoryId, digest: Digest, linked: boolean): Fill | undefined {
    const fills =
      this.#fills
        .get(digest)
        ?.values()
        .filter((fill) => fill.joinable) ?? [];
    let found: Fill | undefined;
    for (const fill of fills) {
      const isOfNamespace = fill.id.namespace === id.namespace;
      if (isOfNamespace && fill.id.repository === id.repository) return fill;
      // Another repository's fill is joined only when its upstream has said yes: its 404 is none of this one's.
      const isOpen = isOfNamespace ? fill.state !== "starting" : fill.isVerified;
      if (linked && isOpen) found ??= fill;
    }
    return found;
  }

  /** The fill to join, or a new one. Look-up and insertion happen in one tick. */
  join(request: FillRequest, linked: boolean): { readonly fill: Fill; readonly joined: boolean } {
    if (this.#closing !== undefined) throw this.#closing;
    const found = this.find(request.id, request.digest, linked);
    if (found !== undefined) return { fill: found, joined: true };
    const fill = new Fill(request, this.#tools);
    this.#add(request.digest, fill);
    return { fill, joined: false };
  }

  /** Ends all fills and waits until their files are gone. No fill can be started afterwards. */
  async close(reason: Error): Promise<void> {
    this.#closing = reason;
    const running = this.#all();
    for (const fill of running) fill.abort(reason);
    await Promise.all(running.map((fill) => fill.ended));
  }

  /** Waits until no fill is under way. */
  async idle(): Promise<void> {
    while (this.#fills.size > 0) await Promise.all(this.#all().map((fill) => fill.ended));
  }

  #add(digest: Digest, fill: Fill): void {
    const fills = this.#fills.get(digest) ?? new Set();
    this.#fills.set(digest, fills.add(fill));
    void fill.ended.then(() => {
      this.#ended++;
      fills.delete(fill);
      if (fills.size === 0) this.#fills.delete(digest);
    });
  }

  #all(): Fill[] {
    return [...this.#fills.values()].flatMap((fills) => [...fills]);
  }
}
