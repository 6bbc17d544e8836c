import type { Clock } from "../concurrency/clock.ts";
import type { Config } from "../config/file-schema.ts";
import type { UpstreamConfig, UpstreamDefaults } from "../config/upstream-schema.ts";
import type { Observers } from "./observers.ts";
import type { Namespace, Repository } from "../oci/reference.ts";
import { Background } from "../concurrency/background.ts";
import { createMirror } from "../registry/mirror.ts";
import { Lookup } from "../registry/lookup.ts";
import { Namespaces } from "../registry/namespaces.ts";
import type { Ledger } from "../ledger/ledger.ts";
import type { Registry } from "../registry/registry.ts";
import { fallBackOn } from "../hosted/fallback.ts";
import { restrict } from "../registry/restrict.ts";
import type { Storage, Tier } from "./storage.ts";
import { rememberAbsences } from "../upstream/absences.ts";
import { askBucketFirst, openInBucket } from "../bucket/bucket-first.ts";
import { askReplicasFirst } from "../replicas/replicas-first.ts";
import type { Sharing } from "../replicas/sharing.ts";
import type { Digest } from "../oci/digest.ts";
import type { FreshnessPolicy } from "../registry/freshness.ts";
import type { Link } from "../store/content-records.ts";
import { isStoredSoon } from "../bucket/stored-soon.ts";
import { blobKey, type RepositoryId } from "../store/layout.ts";
import { type RedirectMode, redirectBlobs } from "../bucket/redirect.ts";
import { Budget } from "../upstream/budget.ts";
import { Breaker } from "../upstream/breaker.ts";
import type { NamePattern } from "../oci/name-pattern.ts";
import type { Upstream } from "../upstream/upstream.ts";
import { Upstreams, type UpstreamsOptions } from "./upstreams.ts";

const staleWaitMs = 3_000;
/** How much a mirror remembers of tags, and how much of absences; one of many that clients can name remembers less. */
const listedRemembered = 4_096;
const unlistedRemembered = 64;
/** How many hosts and accounts with limits such a one remembers. */
const unlistedAccounts = 16;

/** What the configuration does not say; all but the version is for tests. */
export interface MirrorsOptions extends UpstreamsOptions {
  readonly staleWaitMs?: number;
  readonly redirect?: RedirectMode;
}

/** The mirrors of all namespaces, on one storage. */
export interface Mirrors {
  readonly namespaces: Namespaces;
  /** Whether a repository may be pulled from, by the `allow` and `deny` of its namespace. */
  permits(id: RepositoryId): boolean;
  /** How each configured namespace's upstream does, and what is left of its rate limit. */
  readonly upstreams: ReadonlyMap<Namespace, { readonly breaker: Breaker; readonly budget: Budget }>;
  /** Resolves when nothing waits to be stored. */
  idle(): Promise<void>;
  /** Stops asking upstreams for anything, and closes their connections. Fills must have been closed before. */
  close(reason: Error): Promise<void>;
}

/** Makes the mirrors that the configuration wants. No upstream is asked. */
export function createMirrors(
  config: Config,
  options: MirrorsOptions,
  clock: Clock,
  storage: Storage,
  observers: Observers,
  {
    hosted,
    layouts,
  }: { readonly hosted: ReadonlyMap<Namespace, Registry>; readonly layouts: ReadonlyMap<Namespace, Registry> },
  sharing?: Sharing,
): Mirrors {
  const { now, monotonic } = clock;
  const stopping = new AbortController();
  const background = new Background((error) => {
    if (!stopping.signal.aborted) observers.uncached(error);
  });
  const clients = new Upstreams(config, options, observers);
  const upstreams = new Map<Namespace, { readonly breaker: Breaker; readonly budget: Budget }>();
  const link = (id: RepositoryId, digest: Digest): Promise<Link | undefined> =>
    new Lookup(storage.content).link(id, digest);
  /** An upstream that is asked when neither the bucket nor another replica has what is looked for. */
  const behind = (
    upstream: Upstream,
    { bucket }: Tier,
    namespace: Namespace,
    policy: FreshnessPolicy,
    absentMs: number,
    breaker: Breaker,
  ): Upstream => {
    const shared =
      sharing === undefined
        ? upstream
        : askReplicasFirst(upstream, {
            sharing,
            namespace,
            link,
            stored: async (repository, digest, from, { signal }) => {
              bucket.doubtAbsence(blobKey(digest));
              const id = { namespace, repository };
              return openInBucket(bucket, id, digest, await link(id, digest), from, signal);
            },
            freshMs: policy.ttlMs,
            absentMs,
            now,
            mayHold: () => breaker.state === "closed",
          });
    return askBucketFirst(shared, { bucket, namespace, link, policy, now });
  };
  const mirror = (
    open: (budget: Budget) => Upstream,
    settings: UpstreamDefaults,
    namespace: Namespace,
    trusted: boolean,
  ): Registry => {
    const { staleWhileRevalidateMs, staleIfErrorMs, keepDeleted } = settings;
    const remembered = trusted ? listedRemembered : unlistedRemembered;
    const breaker = new Breaker(monotonic, observers.breaker(namespace));
    const budget = trusted
      ? new Budget({ monotonic }, { reserve: settings.rateLimitReserve, onTold: observers.budget(namespace) })
      : new Budget({ monotonic }, { remembered: unlistedAccounts });
    if (trusted) upstreams.set(namespace, { breaker, budget });
    const policy = { staleWhileRevalidateMs, staleIfErrorMs, keepDeleted, ttlMs: settings.manifestInvalidationMs };
    const guarded = rememberAbsences(breaker.guard(open(budget)), settings.negativeTtlMs, remembered, monotonic);
    const { tier } = storage;
    const noteUse: Ledger["use"] = (id, digest, tag) => {
      storage.ledger.use(id, digest, tag);
      tier?.usage.note(id, digest, tag);
    };
    const registry = createMirror({
      content: storage.content,
      fills: storage.fills,
      hashes: storage.hashes,
      namespace,
      upstream:
        tier === undefined ? guarded : behind(guarded, tier, namespace, policy, settings.negativeTtlMs, breaker),
      ...(tier && {
        isStoredElsewhere: (...manifest) => isStoredSoon(tier.bucket, ...manifest, clock, stopping.signal),
        follow: (...fill) => {
          tier.copies.follow(...fill);
          sharing?.follow(...fill);
        },
      }),
      breaker,
      budget,
      trusted,
      remembered,
      background,
      policy,
      retries: settings.retries,
      staleWaitMs: options.staleWaitMs ?? staleWaitMs,
      checkDigest: config.checkCacheDigest,
      prefetch: trusted && settings.prefetch === "platform",
      noteUse,
      now,
      monotonic,
      signal: stopping.signal,
    });
    if (tier === undefined) return registry;
    const { bucket, store } = tier;
    const mode = options.redirect ?? config.storage.s3?.redirect ?? "never";
    return { ...registry, ...redirectBlobs({ mode, bucket, store, namespace, content: storage.content, noteUse }) };
  };
  const rules = new Map(config.upstreams.map((settings) => [settings.namespace, repositoryRule(settings)]));
  const permits = ({ namespace, repository }: RepositoryId): boolean => rules.get(namespace)?.(repository) ?? true;
  const mirrored = new Map<Namespace, Registry>(
    config.upstreams.map((settings) => {
      const { namespace } = settings;
      const registry = mirror((budget) => clients.listed(settings, budget), settings, namespace, true);
      return [namespace, restrict(registry, (repository) => permits({ namespace, repository }))];
    }),
  );
  const pushable = config.hosted.map(({ namespace, fallback }): [Namespace, Registry] => {
    const registry = hosted.get(namespace);
    if (registry === undefined) throw new Error(`${namespace} was not opened`);
    const other = fallback && mirrored.get(fallback);
    return [namespace, other === undefined ? registry : fallBackOn(registry, other)];
  });
  const namespaces = new Namespaces({
    rules: {
      ofServerName: serverNames([...config.upstreams, ...config.hosted, ...config.layouts]),
      defaultNamespace: config.defaultNamespace,
      emptyNamespace: config.defaultUpstreamNamespace,
    },
    listed: new Map([...mirrored, ...pushable, ...layouts]),
    allowsUnlisted: unlistedRule(config.allowUnlisted),
    openUnlisted: (namespace) =>
      mirror((budget) => clients.unlisted(namespace, budget), config.upstreamDefaults, namespace, false),
  });
  return {
    namespaces,
    permits,
    upstreams,
    idle: () => background.idle(),
    async close(reason) {
      stopping.abort(reason);
      await background.idle();
      await clients.close();
    },
  };
}

/** Whether a repository may be pulled from: `deny` beats `allow`, and without `allow` all are. */
function repositoryRule({ allow, deny }: UpstreamConfig): (repository: Repository) => boolean {
  return (repository) => !matchesAny(deny, repository) && (allow === undefined || matchesAny(allow, repository));
}

/** Which namespaces are mirrored although they are not configured. */
export function unlistedRule(setting: Config["allowUnlisted"]): (namespace: Namespace) => boolean {
  return (namespace) => (typeof setting === "boolean" ? setting : matchesAny(setting, namespace));
}

function matchesAny(patterns: readonly NamePattern[], name: string): boolean {
  return patterns.some((pattern) => pattern.matches(name));
}

function serverNames(
  entries: readonly Pick<UpstreamConfig, "namespace" | "serverNames">[],
): (host: string) => Namespace | undefined {
  const names = new Map(entries.flatMap(({ namespace, serverNames: hosts }) => hosts.map((host) => [host, namespace])));
  return (host) => names.get(host);
}
