import type * as undici from "undici";
import { Dispatcher, errors } from "./undici.ts";

/** More connections are not kept at once, but for those that are in use. */
const maxConnections = 64;
/** Nor are the pools of more origins, even of such as are in no connection. */
const maxOrigins = 64;

/** How one origin is reached. */
interface Origin {
  readonly dispatcher: undici.Dispatcher;
  /** The pools that `dispatcher` is, or has made. */
  readonly pools: Set<undici.Pool>;
}

/** Makes what reaches an origin, and tells of each pool that belongs to it. */
export type OpenOrigin = (origin: string, add: (pool: undici.Pool) => void) => undici.Dispatcher;

/**
 * Pools of connections by origin. Clients and upstreams make up origins as they like, so what is kept of those that
 * nobody uses at the moment is bounded, all together: the longest unused are closed.
 */
export class Origins extends Dispatcher {
  readonly #open: OpenOrigin;
  readonly #refusalOf: (origin: string) => Error | undefined;
  /** The longest unused first. */
  readonly #origins = new Map<string, Origin>();
  #isClosed = false;

  /** @param refusalOf Why no request may be sent to an origin. */
  constructor(open: OpenOrigin, refusalOf: (origin: string) => Error | undefined) {
    super();
    this.#open = open;
    this.#refusalOf = refusalOf;
  }

  override dispatch(request: undici.Dispatcher.DispatchOptions, handler: undici.Dispatcher.DispatchHandler): boolean {
    if (this.#isClosed) throw new errors.ClientDestroyedError();
    const name = String(request.origin);
    const refusal = this.#refusalOf(name);
    if (refusal !== undefined) throw refusal;
    let origin = this.#origins.get(name);
    if (origin === undefined) {
      this.#trim(maxOrigins - 1);
      origin = this.#make(name);
    }
    this.#origins.delete(name);
    this.#origins.set(name, origin);
    return origin.dispatcher.dispatch(request, handler);
  }

  override async close(): Promise<void> {
    await this.#end((dispatcher) => dispatcher.close());
  }

  override async destroy(): Promise<void> {
    await this.#end((dispatcher) => dispatcher.destroy());
  }

  #make(name: string): Origin {
    const pools = new Set<undici.Pool>();
    const dispatcher = this.#open(name, (pool) => {
      pools.add(pool);
      const trim = (): void => this.#trim(maxOrigins);
      pool.on("connect", trim).on("connectionError", trim);
      pool.on("disconnect", () => {
        if (pool.destroyed || pool.closed) {
          pools.delete(pool);
        }
        trim();
      });
    });
    return { dispatcher, pools };
  }

  #trim(most: number): void {
    let connections = 0;
    for (const { pools } of this.#origins.values()) {
      connections += connectionsOf(pools);
    }
    for (const [name, { dispatcher, pools }] of this.#origins) {
      const own = connectionsOf(pools);
      const isKept = own > 0 && connections <= maxConnections && this.#origins.size <= most;
      if (!isKept && isIdle(pools)) {
        this.#origins.delete(name);
        connections -= own;
        // Nothing is under way there, so nothing is cut.
        void dispatcher.destroy();
      }
    }
  }

  async #end(end: (dispatcher: undici.Dispatcher) => Promise<void>): Promise<void> {
    this.#isClosed = true;
    const all = [...this.#origins.values()];
    this.#origins.clear();
    await Promise.all(all.map(({ dispatcher }) => end(dispatcher)));
  }
}

function connectionsOf(pools: ReadonlySet<undici.Pool>): number {
  return pools.values().reduce((sum, pool) => sum + pool.stats.connected, 0);
}

function isIdle(pools: ReadonlySet<undici.Pool>): boolean {
  return pools.values().every((pool) => pool.stats.size === 0);
}
