import type { ListenAddress } from "./address.ts";

export type { ListenAddress } from "./address.ts";

/** One upstream, with every default filled in. */
export interface UpstreamConfig {
  /** The name by which clients know the registry; unique among the upstreams. */
  readonly namespace: string;
  /** `host[:port]` that is asked. */
  readonly host: string;
  readonly tls: boolean;
  readonly acceptInvalidCerts: boolean;
  /** `undefined` stands for the built-in `entrepot/<version>`. */
  readonly userAgent: string | undefined;
  readonly credentials: { readonly username: string; readonly password: string } | undefined;
  /** How long a tag is served without asking the upstream; 0 asks every time. */
  readonly manifestInvalidationMs: number;
  /** How long a blob that nobody asks for is kept. */
  readonly blobInvalidationMs: number;
  /** How long after its last confirmation a tag may still be served while the upstream fails; may be `Infinity`. */
  readonly staleIfErrorMs: number;
  /** `Host` headers of the mirror, in lower case, that mean this upstream. */
  readonly serverNames: readonly string[];
  readonly maxConnections: number;
  readonly connectTimeoutMs: number;
  readonly headerTimeoutMs: number;
  readonly idleTimeoutMs: number;
  /** Tries after the first that bring no progress, before giving up. */
  readonly retries: number;
}

/** What an upstream has where its entry does not say otherwise, and what every unlisted namespace has. */
export type UpstreamDefaults = Omit<
  UpstreamConfig,
  "namespace" | "host" | "tls" | "acceptInvalidCerts" | "credentials" | "serverNames"
>;

/** The configuration as the program uses it: checked, with every default filled in. */
export interface Config {
  readonly listen: ListenAddress;
  /** Where metrics, the probes' details and administration live, when they are not to be on `listen`. */
  readonly adminListen: ListenAddress | undefined;
  /** The namespace of a request that names none. */
  readonly defaultNamespace: string;
  /** The namespace of a request whose `ns` is there but empty. */
  readonly defaultUpstreamNamespace: string;
  readonly checkCacheDigest: boolean;
  readonly storage: { readonly type: "filesystem"; readonly root: string };
  /** Each namespace once; docker.io is always among them. */
  readonly upstreams: readonly UpstreamConfig[];
  readonly upstreamDefaults: UpstreamDefaults;
  /** Whether namespaces that are not among `upstreams` are mirrored: all, none, or those that match a pattern. */
  readonly allowUnlisted: boolean | readonly string[];
  readonly log: {
    readonly level: "trace" | "debug" | "info" | "warn" | "error" | "silent";
    readonly format: "json" | "pretty";
  };
  /** How long running responses may take to finish after a signal to stop. */
  readonly shutdownTimeoutMs: number;
}
