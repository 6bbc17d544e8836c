import type { Digest } from "../oci/digest.ts";
import type { Repository } from "../oci/reference.ts";
import { Fill, type FillRequest, type FillTools } from "./fill.ts";
import type { RepositoryId } from "./layout.ts";

/**
 * The fills that are under way in this process: at most one for each namespace, repository and digest. A repository
 * that is known to contain a digest (`linked`) also joins the fill of another repository of its namespace; never that
 * of another namespace, whose upstream it has no reason to trust or to wait for.
 */
export class Fills {
  readonly #tools: FillTools;
  readonly #fills = new Map<string, Map<Repository, Fill>>();
  /** How many fills of a digest are under way, in all namespaces. */
  readonly #digests = new Map<Digest, number>();
  #closing: Error | undefined;

  constructor(tools: FillTools) {
    this.#tools = tools;
  }

  /** How many are under way. */
  get size(): number {
    let count = 0;
    for (const fills of this.#fills.values()) count += fills.size;
    return count;
  }

  /** Whether a digest is being fetched, for whomever. */
  isFilling(digest: Digest): boolean {
    return this.#digests.has(digest);
  }

  /** The fill that a reader of this repository may join, if there is one. */
  find(id: RepositoryId, digest: Digest, linked: boolean): Fill | undefined {
    const fills = this.#fills.get(fillKey(id, digest));
    if (fills === undefined) return undefined;
    const own = fills.get(id.repository);
    if (own?.joinable) return own;
    // Another repository's fill is joined only when its upstream has said yes: its 404 is none of this one's.
    return linked ? fills.values().find((fill) => fill.joinable && fill.state !== "starting") : undefined;
  }

  /** The fill to join, or a new one. Look-up and insertion happen in one tick. */
  join(request: FillRequest, linked: boolean): { readonly fill: Fill; readonly joined: boolean } {
    if (this.#closing !== undefined) throw this.#closing;
    const found = this.find(request.id, request.digest, linked);
    if (found !== undefined) return { fill: found, joined: true };
    const fill = new Fill(request, this.#tools);
    this.#add(request, fill);
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

  #add(request: FillRequest, fill: Fill): void {
    const key = fillKey(request.id, request.digest);
    const fills = this.#fills.get(key) ?? new Map<Repository, Fill>();
    this.#fills.set(key, fills);
    fills.set(request.id.repository, fill);
    const { digest } = request;
    this.#digests.set(digest, (this.#digests.get(digest) ?? 0) + 1);
    void fill.ended.then(() => {
      if (fills.get(request.id.repository) === fill) fills.delete(request.id.repository);
      const left = (this.#digests.get(digest) ?? 1) - 1;
      if (left > 0) this.#digests.set(digest, left);
      else this.#digests.delete(digest);
      if (fills.size === 0 && this.#fills.get(key) === fills) this.#fills.delete(key);
    });
  }

  #all(): Fill[] {
    return [...this.#fills.values()].flatMap((fills) => [...fills.values()]);
  }
}

function fillKey(id: RepositoryId, digest: Digest): string {
  return `${id.namespace} ${digest}`;
}
