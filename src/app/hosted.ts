import type { Clock } from "../concurrency/clock.ts";
import type { Config } from "../config/file-schema.ts";
import type { HostedConfig } from "../config/hosted-schema.ts";
import { BucketBytes } from "../hosted/bucket-bytes.ts";
import type { HostedBytes } from "../hosted/bytes.ts";
import { FolderBytes } from "../hosted/folder-bytes.ts";
import { Hosted } from "../hosted/hosted.ts";
import { Quotas } from "../hosted/quotas.ts";
import { Repositories } from "../hosted/repositories.ts";
import type { HostedRules } from "../hosted/rules.ts";
import { rememberSecret } from "../hosted/upload-secret.ts";
import { Uploads } from "../hosted/uploads.ts";
import type { Namespace } from "../oci/reference.ts";
import type { Registry } from "../registry/registry.ts";
import type { DatedStore } from "../store/object-store.ts";
import type { Observers } from "./observers.ts";
import type { Storage } from "./storage.ts";

/** What is hosted, on a storage. */
export interface OpenHosted {
  readonly registries: ReadonlyMap<Namespace, Registry>;
  readonly repositories: Repositories;
  readonly bytes: HostedBytes;
  /** Where its records lie. */
  readonly store: DatedStore;
  /** Ends uploads that are being received; what has come of them stays. */
  close(): Promise<void>;
}

/** Makes the registries of what is hosted: in the bucket where there is one, else in the folder. Nothing is asked of it. */
export function openHosted(
  config: Config,
  { content, hostedFiles, tier, hashes, pool }: Storage,
  { clock, observers }: { readonly clock: Clock; readonly observers: Observers },
): OpenHosted {
  const { monotonic } = clock;
  const store = tier?.store ?? hostedFiles;
  const bytes: HostedBytes =
    tier === undefined
      ? new FolderBytes({ files: hostedFiles, hashes, pool })
      : new BucketBytes({ store: tier.store, hashes });
  // Who hosts nothing asks nothing more.
  if (config.hosted.length > 0) content.shareWith(bytes);
  const { graceMs } = config.collection;
  const repositories = new Repositories({ store, bytes, isShared: tier !== undefined, graceMs, monotonic });
  const uploads = new Uploads({ bytes, secret: rememberSecret(store) });
  const hosted = new Hosted({
    repositories,
    bytes,
    uploads,
    quotas: new Quotas(repositories, monotonic),
    redirects: config.storage.s3 !== undefined && config.storage.s3.redirect !== "never",
    onDamage: observers.hostedDamaged,
  });
  return {
    registries: new Map(
      config.hosted.map((settings) => [settings.namespace, hosted.registry(settings.namespace, rulesOf(settings))]),
    ),
    repositories,
    bytes,
    store,
    async close() {
      await uploads.close();
      await bytes.close();
    },
  };
}

function rulesOf(settings: HostedConfig): HostedRules {
  const { maxChunkBytes = Infinity, maxBlobBytes = Infinity, quotaBytes = Infinity } = settings;
  return { ...settings, maxChunkBytes, maxBlobBytes, quotaBytes };
}
