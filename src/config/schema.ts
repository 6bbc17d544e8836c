import type { ListenAddress } from "./address.ts";

export type { ListenAddress } from "./address.ts";

/** Where an account's credentials come from. `${ENV}` in texts is filled in already. */
export type CredentialConfig =
  | { readonly kind: "password"; readonly username: string; readonly password: string }
  | { readonly kind: "password-file"; readonly username: string; readonly passwordFile: string }
  /** A Docker `config.json`, with its credential helpers. */
  | { readonly kind: "docker-config"; readonly path: string }
  | {
      readonly kind: "ecr";
      readonly profile?: string;
      readonly roleArn?: string;
      readonly externalId?: string;
      /** The URL of the API, in place of the region's own. */
      readonly endpoint?: string;
    }
  | { readonly kind: "gcp"; readonly keyFile?: string }
  | { readonly kind: "acr"; readonly clientId?: string; readonly tenantId?: string };

/** Credentials for some of an upstream's repositories. */
export interface RepositoryCredentials {
  /** A pattern of repositories: `team/*`, `team/**`. */
  readonly match: string;
  /** None: these are asked for anonymously. */
  readonly accounts: readonly CredentialConfig[];
}

/** A registry that is asked: where it is, and how it is reached and logged in to. */
export interface EndpointConfig {
  /** `host[:port]`. */
  readonly host: string;
  readonly tls: boolean;
  readonly acceptInvalidCerts: boolean;
  /** The path of a PEM file. */
  readonly caFile: string | undefined;
  /** The paths of PEM files; both or neither. */
  readonly clientCert: string | undefined;
  readonly clientKey: string | undefined;
  /**
   * The URL of an HTTP proxy, which may hold a user and a password; `none` for a direct connection; `undefined` stands
   * for what the environment says (`Config.proxyEnvironment`).
   */
  readonly proxy: string | undefined;
  /** None: anonymous. Several: used in turn, by what is left of their rate limits. */
  readonly accounts: readonly CredentialConfig[];
  /** For repositories that match, in place of `accounts`; the most specific pattern decides. */
  readonly repositoryCredentials: readonly RepositoryCredentials[];
  /** Sent to the registry's own origin. The values are secret. */
  readonly headers: Readonly<Record<string, string>>;
  /** A project of the registry in which everything is looked for, without slashes at its ends. */
  readonly pathPrefix: string | undefined;
  /** Token servers (`host[:port]`) of other sites that may be sent the credentials. */
  readonly realmHosts: readonly string[];
  /** Whether redirects may lead to private addresses. */
  readonly allowPrivateRedirects: boolean;
}

/** A registry that is tried before the upstream itself. */
export type MirrorConfig = EndpointConfig;

/** What an upstream has where its entry does not say otherwise, and what every unlisted namespace has. */
export interface UpstreamDefaults {
  /** `undefined` stands for the built-in `entrepot/<version>`. */
  readonly userAgent: string | undefined;
  /** As of `EndpointConfig`. */
  readonly proxy: string | undefined;
  /**
   * How long a tag is served without asking the upstream; 0 asks every time. A manifest that nobody uses is kept for
   * this long or for `blobInvalidationMs`, whichever is longer.
   */
  readonly manifestInvalidationMs: number;
  /** How long a blob that nobody uses is kept, a use of its image's manifest included; may be `Infinity`. */
  readonly blobInvalidationMs: number;
  /** How long after its last confirmation a tag may still be served while the upstream fails; may be `Infinity`. */
  readonly staleIfErrorMs: number;
  /** How long after a tag's time is over it is still served at once while the upstream is asked; may be `Infinity`. */
  readonly staleWhileRevalidateMs: number;
  /** Whether a tag is still served, marked as stale, after the upstream said that it is gone. */
  readonly keepDeleted: boolean;
  /** How long a 404 is remembered; 0 is never. */
  readonly negativeTtlMs: number;
  /** The share (0 to 1) of the upstream's rate limit below which tags stay fresh for the limit's whole window. */
  readonly rateLimitReserve: number;
  readonly maxConnections: number;
  readonly connectTimeoutMs: number;
  readonly headerTimeoutMs: number;
  readonly idleTimeoutMs: number;
  /** Tries after the first that bring no progress, before giving up. */
  readonly retries: number;
  /**
   * What the namespace may take of the storage, in bytes; `undefined` for no limit of its own. A blob that it shares
   * with other namespaces counts fully.
   */
  readonly maxBytes: number | undefined;
  /** What is fetched at once when a client pulls an image's manifest: nothing, or all its blobs. */
  readonly prefetch: "none" | "platform";
}

/** One upstream, with every default filled in. */
export interface UpstreamConfig extends EndpointConfig, UpstreamDefaults {
  /** The name by which clients know the registry; unique among the upstreams. */
  readonly namespace: string;
  /** Tried in this order, before the upstream itself. */
  readonly mirrors: readonly MirrorConfig[];
  /** Whether the upstream and its mirrors are never asked: only what is cached is served. */
  readonly offline: boolean;
  /** Patterns of the only repositories that are served; `undefined` for all. */
  readonly allow: readonly string[] | undefined;
  /** Patterns of repositories that are not served, even if `allow` has them. */
  readonly deny: readonly string[];
  /** `Host` headers of the mirror, in lower case, that mean this upstream. */
  readonly serverNames: readonly string[];
}

/** The proxies that the environment names (`HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY`). */
export interface ProxyEnvironment {
  /** The URL of the proxy for http, and for https where `https` is `undefined`. */
  readonly http: string | undefined;
  /** The URL of the proxy for https. */
  readonly https: string | undefined;
  /** Hosts that are reached directly, as they stand in the variable. */
  readonly noProxy: string | undefined;
}

/** How much of a volume: a number of bytes, or a share (0 to 1) of the volume's total size. */
export type SizeLimit =
  | { readonly kind: "bytes"; readonly bytes: number }
  | { readonly kind: "share"; readonly share: number };

/** Where the content is kept, and how much of it. */
export interface StorageConfig {
  readonly type: "filesystem";
  readonly root: string;
  /** What the content may take; `undefined` for no limit. */
  readonly maxSize: SizeLimit | undefined;
  /** What is left free on the volume. */
  readonly minFree: SizeLimit;
  /** The share (0 to 1) of `maxSize` at which content begins to be evicted; above `lowWatermark`. */
  readonly highWatermark: number;
  /** The share (0 to 1) of `maxSize` down to which content is evicted; above 0. */
  readonly lowWatermark: number;
  /** Larger blobs are passed on without being stored; `undefined` for no limit. */
  readonly maxObjectBytes: number | undefined;
  /** Patterns (`parsePinPattern`) of what is never evicted. */
  readonly pins: readonly string[];
}

/** How what is stored is checked in the background. */
export interface VerifyConfig {
  /** The time from one pass to the next, longer perhaps than a timer can count; `Infinity` for none. */
  readonly intervalMs: number;
  /** How fast a pass reads. */
  readonly bytesPerSecond: number;
}

/** The images that are pulled into the cache on a schedule. */
export interface WarmConfig {
  /** References as people write them: `alpine:3`, `quay.io/team/app@sha256:…`. */
  readonly images: readonly string[];
  /** The path of a file with more of them, one a line; `#` begins a comment. */
  readonly file: string | undefined;
  /** `os/arch[/variant]`; none: all that an index has. */
  readonly platforms: readonly string[];
  /** The time from one pass to the next, longer perhaps than a timer can count. */
  readonly intervalMs: number;
  /** How many images are pulled at a time, and how many manifests and blobs of all of them together; 1 to 64. */
  readonly parallel: number;
}

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
  readonly storage: StorageConfig;
  readonly verify: VerifyConfig;
  readonly warm: WarmConfig;
  /**
   * Who presents it (`Authorization: Bearer …`) may use the administration API at `listen`, and only who presents it at
   * `adminListen`. Secret.
   */
  readonly adminToken: string | undefined;
  /** The path of a file that holds the token, in place of `adminToken`. */
  readonly adminTokenFile: string | undefined;
  /** Each namespace once; docker.io is always among them. */
  readonly upstreams: readonly UpstreamConfig[];
  readonly upstreamDefaults: UpstreamDefaults;
  /** Whether namespaces that are not among `upstreams` are mirrored: all, none, or those that match a pattern. */
  readonly allowUnlisted: boolean | readonly string[];
  readonly proxyEnvironment: ProxyEnvironment;
  readonly log: {
    readonly level: "trace" | "debug" | "info" | "warn" | "error" | "silent";
    readonly format: "json" | "pretty";
  };
  /** How long running responses may take to finish after a signal to stop. */
  readonly shutdownTimeoutMs: number;
}
