import assert from "node:assert/strict";
import type { HostedBytes } from "../../src/hosted/bytes.ts";
import type { HostedLink } from "../../src/hosted/records.ts";
import { isManifest, Repositories, tagOf } from "../../src/hosted/repositories.ts";
import type { Digest } from "../../src/oci/digest.ts";
import {
  digestOfHostedLink,
  hostedLinksPrefix,
  hostedNameKey,
  hostedReferrersPrefix,
  hostedTagsPrefix,
} from "../../src/store/hosted-layout.ts";
import type { RepositoryId } from "../../src/store/layout.ts";
import type { DatedStore } from "../../src/store/object-store.ts";
import { MemoryBytes } from "./memory-bytes.ts";

/** A process that has repositories on a store. */
export interface HostedInstance {
  readonly repositories: Repositories;
  readonly bytes: HostedBytes;
}

/** Opens repositories on a store as a process does that has just started. */
export function openHosted(
  store: DatedStore,
  options: { readonly isShared?: boolean; readonly graceMs?: number; readonly bytes?: HostedBytes } = {},
): HostedInstance {
  const { isShared = false, graceMs = 3_600_000, bytes = new MemoryBytes(store) } = options;
  return { repositories: new Repositories({ store, bytes, isShared, graceMs, monotonic: () => 0 }), bytes };
}

/** What a repository has. */
export interface RepositoryState {
  readonly tags: ReadonlyMap<string, Digest>;
  readonly links: ReadonlyMap<Digest, HostedLink>;
  /** By digest, of which subject. */
  readonly referrers: ReadonlyMap<Digest, Digest>;
  readonly isNamed: boolean;
}

/** What a repository has, read by somebody who remembers nothing. */
export async function readRepository({ repositories }: HostedInstance, id: RepositoryId): Promise<RepositoryState> {
  const tags = new Map<string, Digest>();
  for await (const { key, record } of repositories.tags.list(hostedTagsPrefix(id))) tags.set(tagOf(key), record.digest);
  const links = new Map<Digest, HostedLink>();
  for await (const { key, record } of repositories.links.list(hostedLinksPrefix(id))) {
    links.set(digestOfHostedLink(key) ?? assert.fail(key), record);
  }
  const referrers = new Map<Digest, Digest>();
  for await (const { key, record } of repositories.referrers.list(hostedReferrersPrefix(id))) {
    const [algorithm, hex] = key.split("/").slice(-3);
    referrers.set(record.digest, `${algorithm}:${hex}` as Digest);
  }
  return { tags, links, referrers, isNamed: (await repositories.names.get(hostedNameKey(id))) !== undefined };
}

/**
 * Fails where something of a repository points at what is not there: a tag at no manifest, a link at no content, a
 * manifest at what the repository does not have, but for what was `deleted` from it; or where one is not listed for its
 * subject.
 */
export async function assertSound(
  instance: HostedInstance,
  id: RepositoryId,
  deleted: ReadonlySet<Digest> = new Set(),
): Promise<RepositoryState> {
  const state = await readRepository(instance, id);
  const { tags, links, referrers, isNamed } = state;
  for (const [tag, digest] of tags)
    assert.ok(isManifest(links.get(digest)), `${tag} stands for ${digest}, which is gone`);
  for (const [digest, { children = [], subject, role }] of links) {
    assert.ok(role === "blob" || referrers.get(digest) === subject, `${digest} is not listed for its subject`);
    assert.ok((await instance.bytes.stat(digest)) !== undefined, `the content of ${digest} is gone`);
    for (const child of children) {
      assert.ok(deleted.has(child) || links.has(child), `${child}, to which ${digest} refers, is gone`);
    }
  }
  assert.ok(isNamed || links.size + tags.size === 0, "a repository without a name has content");
  return state;
}
