import { LRUCache } from "lru-cache";
import { algorithmOf, type Digest, digestOf } from "../oci/digest.ts";
import { OciError } from "../oci/errors.ts";
import { parseManifest } from "../oci/manifest.ts";
import { isDigestReference, type Namespace, type Reference, type Repository } from "../oci/reference.ts";
import type {
  Answer,
  BlobContent,
  ManifestContent,
  ManifestPush,
  MountSource,
  PullRegistry,
  PushCondition,
  PushedManifest,
  PushRegistry,
  Redirecting,
} from "../registry/registry.ts";
import { pageOfReferrers, pageOfTags, takePage } from "../registry/pages.ts";
import { readWhole } from "../store/read-whole.ts";
import type { RepositoryId } from "../store/layout.ts";
import { StoreError } from "../store/object-store.ts";
import type { HostedBytes } from "./bytes.ts";
import type { Quotas } from "./quotas.ts";
import type { HostedLink, HostedReferrer } from "./records.ts";
import { isBlob, isManifest, type Repositories } from "./repositories.ts";
import { assertDeletable, assertMovable, assertPushable, type HostedRules } from "./rules.ts";
import type { Uploads } from "./uploads.ts";

/** How much of the manifests that were read last stays in memory, for all namespaces together. */
const manifestMemoryBytes = 8 * 1024 * 1024;
/** How long a URL may be used to begin reading a blob, in seconds. */
const signedSeconds = 5 * 60;

/** What hosted namespaces have in common. */
export interface HostedTools {
  readonly repositories: Repositories;
  readonly bytes: HostedBytes;
  readonly uploads: Uploads;
  readonly quotas: Quotas;
  /** Whether clients are sent to where the bytes lie, when they can be had there. */
  readonly redirects: boolean;
  /** Told of content that does not have its digest. */
  readonly onDamage: (digest: Digest) => void;
}

/** Makes the registries of hosted namespaces. */
export class Hosted {
  readonly #tools: HostedTools;
  readonly #manifests = new LRUCache<Digest, ManifestContent>({
    maxSize: manifestMemoryBytes,
    sizeCalculation: ({ bytes, parsed }) => bytes.length + parsed.names * 64 + 1_024,
  });

  constructor(tools: HostedTools) {
    this.#tools = tools;
  }

  /** The registry of a namespace: what was pushed to it, and nothing else. */
  registry(namespace: Namespace, rules: HostedRules): PullRegistry & Redirecting & { readonly push: PushRegistry } {
    const idOf = (repository: Repository): RepositoryId => ({ namespace, repository });
    const { bytes, repositories, redirects } = this.#tools;
    return {
      resolve: async (repository, reference) => {
        const found = await this.#resolve(idOf(repository), reference, (...link) => this.#offer(...link));
        return found && answer({ mediaType: found.mediaType, digest: found.digest, size: found.sizeBytes });
      },
      manifest: async (repository, reference) => {
        const found = await this.#resolve(idOf(repository), reference, (...link) => repositories.link(...link));
        const manifest = found && (await this.#manifest(found.digest, found.mediaType));
        return manifest && answer(manifest);
      },
      statBlob: async (repository, digest) => {
        const link = await this.#offer(idOf(repository), digest);
        return isBlob(link) ? answer({ sizeBytes: link.sizeBytes }) : undefined;
      },
      openBlob: async (repository, digest) => {
        const link = await repositories.link(idOf(repository), digest);
        const object = isBlob(link) ? await bytes.open(digest) : undefined;
        if (object === undefined) return undefined;
        const { sizeBytes } = object;
        if (sizeBytes !== link?.sizeBytes) {
          this.#tools.onDamage(digest);
          await object.close();
          return undefined;
        }
        const content: BlobContent = {
          sizeBytes,
          file: object.file,
          read: (span) => object.read(span ?? { start: 0, end: sizeBytes }),
          close: () => object.close(),
        };
        return answer(content);
      },
      blobLocation: async (repository, digest) => {
        if (!redirects || bytes.location === undefined) return undefined;
        const link = await repositories.link(idOf(repository), digest);
        return isBlob(link) ? bytes.location(digest, signedSeconds) : undefined;
      },
      tags: async (repository, query) => {
        const id = idOf(repository);
        if (!(await repositories.exists(id))) return undefined;
        return answer(await pageOfTags((last) => repositories.listTags(id, last), query));
      },
      referrers: async (repository, subject, query) => {
        const list = (after: Digest | undefined): AsyncIterable<HostedReferrer> =>
          repositories.listReferrers(idOf(repository), subject, after);
        return answer(await pageOfReferrers(list, query));
      },
      push: this.#push(namespace, rules),
    };
  }

  #push(namespace: Namespace, rules: HostedRules): PushRegistry {
    const { repositories, uploads, quotas } = this.#tools;
    const idOf = (repository: Repository): RepositoryId => {
      assertPushable(rules, repository);
      return { namespace, repository };
    };
    return {
      openUpload: async (repository, algorithm) => {
        await quotas.assertRoom(namespace, 1, rules.quotaBytes);
        return uploads.open(idOf(repository), algorithm);
      },
      upload: (repository, session) => uploads.state(idOf(repository), session, rules),
      addToUpload: async (repository, session, chunk) => {
        await quotas.assertRoom(namespace, chunk.sizeBytes ?? 1, rules.quotaBytes);
        return uploads.add(idOf(repository), session, chunk, rules);
      },
      finishUpload: async (repository, session, digest, chunk) => {
        const id = idOf(repository);
        const isDone = async (): Promise<boolean> => isBlob(await repositories.rely(id, digest));
        await this.#assertRoom(id, digest, rules, async () => {
          // One that has ended, or never was, says so below.
          const { receivedBytes } = await uploads.state(id, session, rules).catch(() => ({ receivedBytes: 0 }));
          return receivedBytes + (chunk?.sizeBytes ?? 0);
        });
        const sizeBytes = await uploads.finish(id, session, digest, chunk, rules, isDone);
        if (sizeBytes === undefined || (await repositories.addBlob(id, digest, sizeBytes))) return;
        throw new OciError("BLOB_UPLOAD_INVALID", `${digest} was removed before ${repository} had it: push it again`);
      },
      cancelUpload: (repository, session) => uploads.cancel(idOf(repository), session, rules),
      mountBlob: async (repository, digest, from) => {
        const id = idOf(repository);
        if (from !== undefined && from.registry.push === undefined) return this.#copyBlob(id, digest, from, rules);
        const source = from ?? repositories.holder(digest);
        const link = source && (await repositories.rely(source, digest));
        if (!isBlob(link) || link.sizeBytes > rules.maxBlobBytes) return false;
        await this.#assertRoom(id, digest, rules, () => link.sizeBytes);
        return repositories.mountBlob(id, digest);
      },
      putManifest: (repository, reference, manifest) => this.#putManifest(idOf(repository), reference, manifest, rules),
      deleteManifest: (repository, reference, condition) =>
        this.#deleteManifest(idOf(repository), reference, condition, rules),
      deleteBlob: (repository, digest) => {
        assertDeletable(rules, "blobs");
        return repositories.removeBlob(idOf(repository), digest);
      },
      repositories: async (after, limit) => {
        const { items, isLast } = await takePage(repositories.list(namespace, after), limit);
        return { names: items.map(({ repository }) => repository), isLast };
      },
    };
  }

  /** @throws {OciError} DENIED: there is no room in the quota for what the repository does not have yet. */
  async #assertRoom(
    id: RepositoryId,
    digest: Digest,
    { quotaBytes }: HostedRules,
    sizeOf: () => number | Promise<number>,
  ): Promise<void> {
    const { repositories, quotas } = this.#tools;
    if (quotaBytes === Infinity || (await repositories.link(id, digest)) !== undefined) return;
    await quotas.assertRoom(id.namespace, await sizeOf(), quotaBytes);
  }

  /**
   * Takes over what a mirror has in its cache, and gives out to whoever asks for it. What it refuses, or cannot be read or
   * stored, is left to the client, which uploads it then.
   */
  async #copyBlob(id: RepositoryId, digest: Digest, from: MountSource, rules: HostedRules): Promise<boolean> {
    const { repositories, uploads } = this.#tools;
    const cached = await from.registry.cachedBlob?.(from.repository, digest).catch(() => undefined);
    if (cached === undefined) return false;
    try {
      const { sizeBytes = Infinity } = cached;
      if (sizeBytes > rules.maxBlobBytes) return false;
      await this.#assertRoom(id, digest, rules, () => sizeBytes);
      const { session } = await uploads.open(id, algorithmOf(digest));
      const whole = { start: undefined, sizeBytes, bytes: cached.read(undefined, new AbortController().signal) };
      const limits = { ...rules, maxChunkBytes: Infinity };
      const copied = await uploads.finish(id, session, digest, whole, limits, async () => false).catch(() => undefined);
      return copied !== undefined && (await repositories.addBlob(id, digest, copied));
    } finally {
      await cached.close();
    }
  }

  async #putManifest(
    id: RepositoryId,
    reference: Reference,
    { bytes, contentType, tags, condition }: ManifestPush,
    rules: HostedRules,
  ): Promise<PushedManifest> {
    if (bytes.length > rules.maxManifestBytes) {
      throw new OciError("CONTENT_TOO_LARGE", `a manifest has at most ${rules.maxManifestBytes} bytes here`);
    }
    const byDigest = isDigestReference(reference);
    const digest = digestOf(bytes, byDigest ? algorithmOf(reference) : "sha256");
    if (byDigest && digest !== reference) {
      throw new OciError("DIGEST_INVALID", `the manifest's digest is ${digest}, not ${reference}`);
    }
    const parsed = parseManifest(bytes, contentType);
    if (parsed.isAmbiguous) {
      throw new OciError(
        "MANIFEST_INVALID",
        "the manifest's type is not known here, or others may read it in another way",
      );
    }
    await this.#assertRoom(id, digest, rules, () => bytes.length);
    const named = byDigest ? tags : [reference, ...tags];
    if (byDigest)
      assertCondition(condition, isManifest(await this.#tools.repositories.link(id, digest)) ? digest : undefined);
    await this.#tools.repositories.putManifest(id, {
      descriptor: { mediaType: parsed.mediaType, digest, size: bytes.length },
      bytes,
      parsed,
      tags: named,
      isSparse: rules.sparseManifests,
      admitTag: (tag, current) => {
        if (tag === reference) assertCondition(condition, current);
        assertMovable(rules, tag, current, digest);
      },
    });
    return { digest, tags, subject: parsed.subject?.digest };
  }

  async #deleteManifest(
    id: RepositoryId,
    reference: Reference,
    condition: PushCondition,
    rules: HostedRules,
  ): Promise<boolean> {
    const { repositories } = this.#tools;
    if (!isDigestReference(reference)) {
      assertDeletable(rules, "tags");
      return repositories.removeTag(id, reference, (current) => {
        assertCondition(condition, current);
        assertMovable(rules, reference, current, undefined);
      });
    }
    assertDeletable(rules, "manifests");
    assertCondition(condition, isManifest(await repositories.link(id, reference)) ? reference : undefined);
    return repositories.removeManifest(id, reference, (tag) => assertMovable(rules, tag, reference, undefined));
  }

  /**
   * What a client is told to be there (HEAD), which then pushes what refers to it: it can rely on it, unless nothing can be
   * written, and so nothing pushed.
   */
  async #offer(id: RepositoryId, digest: Digest): Promise<HostedLink | undefined> {
    const { repositories } = this.#tools;
    try {
      return await repositories.rely(id, digest);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      return repositories.link(id, digest);
    }
  }

  /** What a reference stands for; a digest by what is found in `look`. */
  async #resolve(
    id: RepositoryId,
    reference: Reference,
    look: (id: RepositoryId, digest: Digest) => Promise<HostedLink | undefined>,
  ): Promise<{ readonly digest: Digest; readonly mediaType: string; readonly sizeBytes: number } | undefined> {
    if (isDigestReference(reference)) {
      const link = await look(id, reference);
      return isManifest(link) ? { ...link, digest: reference } : undefined;
    }
    const tag = await this.#tools.repositories.tag(id, reference);
    return tag && { digest: tag.digest, mediaType: tag.mediaType, sizeBytes: tag.size };
  }

  /** A manifest's bytes, which are hashed when they come from the store. */
  async #manifest(digest: Digest, mediaType: string): Promise<ManifestContent | undefined> {
    const known = this.#manifests.get(digest);
    if (known?.descriptor.mediaType === mediaType) return known;
    const object = await this.#tools.bytes.open(digest);
    const bytes = object && (await readWhole(object, Infinity));
    if (bytes === undefined) return undefined;
    if (digestOf(bytes, algorithmOf(digest)) !== digest) {
      this.#tools.onDamage(digest);
      return undefined;
    }
    const manifest = {
      descriptor: { mediaType, digest, size: bytes.length },
      bytes,
      parsed: parseManifest(bytes, mediaType),
    };
    this.#manifests.set(digest, manifest);
    return manifest;
  }
}

/** Of what is hosted here everything is here. */
function answer<T>(value: T): Answer<T> {
  return { value, cache: { hit: true } };
}

function assertCondition(condition: PushCondition, current: Digest | undefined): void {
  if (!condition(current)) throw new OciError("PRECONDITION_FAILED");
}
