import { type CollectedNamespace, Collection, type CollectionOptions } from "../../src/hosted/collect.ts";
import type { Digest } from "../../src/oci/digest.ts";
import type { Namespace, Tag } from "../../src/oci/reference.ts";
import type { ManifestContent } from "../../src/registry/registry.ts";
import { hostedPrefix } from "../../src/store/hosted-layout.ts";
import type { RepositoryId } from "../../src/store/layout.ts";
import { MemoryStore } from "../../src/store/memory.ts";
import type { DatedStore } from "../../src/store/object-store.ts";
import { never } from "./event-loop.ts";
import { type Blob, blobOf, imageOf, indexOf, pushBlobs, pushOf, repositoryId } from "./hosted-content.ts";
import { type HostedInstance, openHosted, readRepository } from "./hosted-world.ts";
import { all } from "./s3-store.ts";

export const app = repositoryId("team/app");
export const other = repositoryId("team/other");
export const graceMs = 3_600_000;
export const dayMs = 86_400_000;
export const config = blobOf("{}");
export const layer = blobOf("layer");
export const image = imageOf([config, layer]);
export const armConfig = blobOf('{"architecture":"arm64"}');
export const arm = imageOf([armConfig, layer]);
export const index = indexOf([image, arm]);
const steps = ["tags", "links", "content", "uploads"] as const;

/** What a collection told. */
export interface Told {
  readonly counts: Readonly<Record<string, Readonly<Record<string, number>>>>;
  readonly notes: readonly string[];
}

/** Two repositories on a store whose time is the test's, and what they are filled with. */
export class CollectedWorld {
  now = dayMs;
  readonly memory: MemoryStore = new MemoryStore(() => this.now);
  readonly instance: HostedInstance = openHosted(this.memory, { graceMs, isShared: true });

  async push(
    id: RepositoryId,
    manifest: ManifestContent,
    blobs: readonly Blob[],
    ...tags: readonly string[]
  ): Promise<void> {
    await pushBlobs(this.instance, id, blobs);
    await this.instance.repositories.putManifest(id, pushOf(manifest, ...tags));
  }

  /** An index of two platforms, with what its platforms list. */
  async pushIndex(...tags: readonly string[]): Promise<void> {
    await this.push(app, image, [config, layer]);
    await this.push(app, arm, [armConfig, layer]);
    await this.push(app, index, [], ...tags);
  }

  async untag(tag: string): Promise<void> {
    await this.instance.repositories.removeTag(app, tag as Tag, () => undefined);
  }

  async links(id: RepositoryId = app): Promise<Set<Digest>> {
    return new Set((await readRepository(openHosted(this.memory), id)).links.keys());
  }

  async content(): Promise<Set<Digest>> {
    return new Set((await all(this.instance.bytes.list())).map(({ digest }) => digest));
  }

  async keys(): Promise<string[]> {
    return (await all(this.memory.list(hostedPrefix))).map(({ key }) => key);
  }

  collection(options: Partial<CollectionOptions & { dryRun: boolean; store: DatedStore }> = {}): Collection {
    const { store = this.memory, dryRun = false } = options;
    return new Collection(
      {
        store,
        ...openHosted(store, { graceMs, isShared: true }),
        namespaces: [namespaceOf({})],
        graceMs,
        isPinned: () => false,
        acquire: undefined,
        monotonic: () => 0,
        ...options,
      },
      { dryRun },
    );
  }

  collect(options: Partial<CollectionOptions & { dryRun: boolean }> = {}): Promise<Told> {
    return run(this.collection(options));
  }
}

export async function run(collection: Collection): Promise<Told> {
  const counts: Record<string, Record<string, number>> = {};
  const notes: string[] = [];
  for (const step of steps) {
    const counted: Record<string, number> = {};
    counts[step] = counted;
    const count = (what: string, by = 1): void => void (counted[what] = (counted[what] ?? 0) + by);
    await collection[step]({ count, note: (text) => void notes.push(text) }, never());
  }
  return { counts, notes };
}

export function namespaceOf(more: Partial<CollectedNamespace>): CollectedNamespace {
  return { namespace: "apps" as Namespace, retention: [], immutableTags: [], expiryMs: dayMs, ...more };
}

export function digestsOf(...things: readonly (ManifestContent | Blob)[]): Set<Digest> {
  return new Set(things.map((thing) => ("descriptor" in thing ? thing.descriptor.digest : thing.digest)));
}
