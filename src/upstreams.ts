import type { Config, UpstreamConfig, UpstreamDefaults } from "./config/schema.ts";
import type { Namespace } from "./oci/reference.ts";
import type { Observers } from "./observers.ts";
import { createUpstream, type UpstreamOptions } from "./upstream/client.ts";
import { createDispatcher } from "./upstream/dispatcher.ts";
import type { Lookup } from "./upstream/addresses.ts";
import type { Upstream } from "./upstream/upstream.ts";

/** What the configuration does not say. */
export interface UpstreamsOptions {
  readonly version: string;
  /** How unlisted namespaces' names are resolved; the system's way where it is not given. */
  readonly lookup?: Lookup;
  /** Certificates (PEM) that are trusted for unlisted namespaces, in place of the built-in ones. */
  readonly ca?: string;
}

/** The clients of all upstreams, as the configuration wants them. */
export class Upstreams {
  readonly #defaults: UpstreamDefaults;
  readonly #userAgent: string;
  readonly #observers: Observers;
  readonly #open: Upstream[] = [];
  /** The connections of all namespaces that are not configured, and of token servers of other sites. */
  readonly #public: ReturnType<typeof createDispatcher>;

  constructor(config: Config, options: UpstreamsOptions, observers: Observers) {
    this.#defaults = config.upstreamDefaults;
    this.#userAgent = `entrepot/${options.version}`;
    this.#observers = observers;
    this.#public = createDispatcher({
      ...config.upstreamDefaults,
      onlyPublic: true,
      acceptInvalidCerts: false,
      ...(options.lookup !== undefined && { lookup: options.lookup }),
      ...(options.ca !== undefined && { ca: options.ca }),
    });
  }

  /** The client of a configured upstream; it may be anywhere. */
  listed(settings: UpstreamConfig): Upstream {
    const dispatcher = createDispatcher({ ...settings, onlyPublic: false });
    const upstream = createUpstream({ ...settings, ...this.#common(settings.namespace, settings), dispatcher });
    this.#open.push(upstream);
    return upstream;
  }

  /** The client of a namespace that is not configured, over public addresses only; there is nothing to close. */
  unlisted(namespace: Namespace): Upstream {
    return createUpstream({
      ...this.#defaults,
      ...this.#common(namespace, this.#defaults),
      host: namespace,
      tls: true,
      acceptInvalidCerts: false,
      credentials: undefined,
      dispatcher: this.#public,
      sharedDispatcher: true,
    });
  }

  /** Gives back all connections. */
  async close(): Promise<void> {
    await Promise.all(this.#open.map((upstream) => upstream.close()));
    await this.#public.close();
  }

  #common(
    namespace: string,
    settings: UpstreamDefaults,
  ): Pick<UpstreamOptions, "observer" | "publicDispatcher" | "userAgent"> {
    return {
      publicDispatcher: this.#public,
      observer: this.#observers.upstream(namespace),
      userAgent: settings.userAgent ?? this.#userAgent,
    };
  }
}
