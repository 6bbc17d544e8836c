import type { ServerResponse } from "node:http";

/** How much memory answers may take, all together, that their clients have not taken yet. */
const maxUnsentBytes = 64 * 1024 * 1024;

/**
 * Ends responses with bodies that are whole in memory, and bounds what of it waits there for clients that do not read:
 * they can ask for as much as they like. Where it is too much, those that have waited longest are cut.
 */
export class Unsent {
  /** Who waits for a body; answers may share it. The oldest first. */
  readonly #waiting = new Map<Uint8Array, Set<ServerResponse>>();
  #bytes = 0;

  /** @param idleMs How long the client may take nothing before its connection is cut. */
  end(response: ServerResponse, body: Uint8Array, idleMs: number): void {
    response.end(body);
    // The kernel has taken it already, as it does of nearly all.
    if ((response.socket?.writableLength ?? 0) === 0) return;
    response.setTimeout(idleMs, () => response.destroy());
    let waiting = this.#waiting.get(body);
    if (waiting === undefined) {
      this.#waiting.set(body, (waiting = new Set()));
      this.#bytes += body.length;
    }
    const responses = waiting.add(response);
    response.once("close", () => {
      responses.delete(response);
      if (responses.size === 0 && this.#waiting.get(body) === responses) this.#forget(body);
    });
    this.#cut(body);
  }

  #cut(newest: Uint8Array): void {
    for (const [body, responses] of this.#waiting) {
      if (this.#bytes <= maxUnsentBytes) return;
      if (body === newest) continue;
      this.#forget(body);
      for (const response of responses) response.destroy();
    }
  }

  #forget(body: Uint8Array): void {
    if (this.#waiting.delete(body)) this.#bytes -= body.length;
  }
}
