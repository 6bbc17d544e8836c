import { forEachOf } from "../concurrency/for-each-of.ts";
import { type Digest, digestOf } from "../oci/digest.ts";
import { DigestSet } from "../oci/digest-set.ts";
import type { NamePattern } from "../oci/name-pattern.ts";
import type { Namespace, Tag } from "../oci/reference.ts";
import {
  digestOfHostedLink,
  digestOfHostedReferrer,
  hostedLinkKey,
  hostedLinksPrefix,
  hostedNameKey,
  hostedReferrersPrefix,
  hostedRepositoriesPrefix,
  hostedTagsPrefix,
} from "../store/hosted-layout.ts";
import type { RepositoryId } from "../store/layout.ts";
import type { DatedStore, Key } from "../store/object-store.ts";
import type { HostedBytes } from "./bytes.ts";
import type { Entry } from "./catalog.ts";
import { Reach } from "./reach.ts";
import type { HostedTag } from "./records.ts";
import { isManifest, type Repositories, tagOf } from "./repositories.ts";
import { planRetention, type RetentionRule } from "./retention.ts";

/** How many things are removed together. */
const atOnce = 16;
/** How often it is seen to that nobody else collects. */
const renewMs = 20_000;

/** What is collected of a namespace. */
export interface CollectedNamespace {
  readonly namespace: Namespace;
  readonly retention: readonly RetentionRule[];
  /** Tags that stay, whatever the rules of retention say. */
  readonly immutableTags: readonly NamePattern[];
  /** How long after its last byte an upload can be gone on with, in milliseconds. */
  readonly expiryMs: number;
}

/** What a collection works with. */
export interface CollectionOptions {
  readonly store: DatedStore;
  readonly repositories: Repositories;
  readonly bytes: HostedBytes;
  readonly namespaces: readonly CollectedNamespace[];
  /** How long what nothing refers to is left alone, in milliseconds: what `Repositories` goes by as well. */
  readonly graceMs: number;
  /** Whether somebody wants a tag kept. */
  readonly isPinned: (id: RepositoryId, tag: Tag) => boolean;
  /** Renews the right to collect; false where another instance has it. `undefined`: nobody else is there. */
  readonly acquire: (() => Promise<boolean>) | undefined;
  readonly monotonic: () => number;
}

/** Told of what a collection comes upon and does. */
export interface CollectionProgress {
  count(what: string, by?: number): void;
  /** Names something: a dry run what would go, and each what cannot be read. */
  note(text: string): void;
}

/**
 * One pass over all that is hosted: its steps, in this order. A dry run says what a pass would do, and changes nothing.
 *
 * It needs no pause of those who push. What it removes had not been written for the grace when the step began with its
 * repository, and goes only as it was seen; who relies on something renews it before, unless it is younger than half
 * the grace, and has written what refers to it within the other half (`Repositories`). So each thing that the pass finds
 * old, and nothing to refer to it, is either not relied upon, or renewed before it goes, and stays.
 *
 * - Manifests go before what lives with them (`Reach`). One that was renewed stays, and with it all that lives with it.
 * - Content goes when no repository of any namespace has it: links are listed first, and content is renewed before
 *   each link that is made since.
 * - What cannot be read is not taken for absent: its repository stays as it is.
 */
export class Collection {
  readonly #options: CollectionOptions;
  readonly #isDryRun: boolean;
  /** The keys of what a dry run would have removed, as digests of them. */
  readonly #going = new DigestSet();
  #acquiredAt = -Infinity;

  constructor(options: CollectionOptions, { dryRun }: { readonly dryRun: boolean }) {
    this.#options = options;
    this.#isDryRun = dryRun;
  }

  /** Removes the tags that retention does not keep. */
  async tags(progress: CollectionProgress, signal: AbortSignal): Promise<void> {
    for (const { namespace, retention, immutableTags } of this.#options.namespaces) {
      if (retention.length === 0) continue;
      const protect = (id: RepositoryId, tag: Tag): string | undefined => {
        if (immutableTags.some((pattern) => pattern.matches(tag))) return "immutable";
        return this.#options.isPinned(id, tag) ? "pinned" : undefined;
      };
      for await (const id of this.#walk(this.#options.repositories.list(namespace), signal)) {
        await this.#retain(id, retention, (tag) => protect(id, tag), progress);
      }
    }
  }

  /** Removes what nothing reaches within its repository: links, referrers, and the names of repositories without content. */
  async links(progress: CollectionProgress, signal: AbortSignal): Promise<void> {
    for (const { namespace } of this.#options.namespaces) {
      for await (const id of this.#walk(this.#options.repositories.list(namespace), signal)) {
        await this.#collectRepository(id, progress, signal);
        progress.count("repositories");
      }
    }
  }

  /** Removes content that no repository has. */
  async content(progress: CollectionProgress, signal: AbortSignal): Promise<void> {
    const { store, bytes } = this.#options;
    const oldest = this.#cutoff();
    const held = new DigestSet();
    // By their keys, of namespaces that are not configured any more as well: nothing that is named nowhere else is lost.
    for await (const { key } of this.#walk(store.list(hostedRepositoriesPrefix), signal)) {
      const digest = digestOfHostedLink(key);
      if (digest !== undefined && !this.#isGoing(key)) held.add(digest);
    }
    const list = bytes.list();
    await this.#each(list, signal, async (content) => {
      progress.count("examined");
      if (content.writtenAt > oldest || held.has(content.digest)) return;
      const sizeBytes = (await bytes.stat(content.digest))?.sizeBytes ?? 0;
      if (!this.#isDryRun && !(await bytes.remove(content))) return;
      this.#tell(progress, content.digest);
      progress.count("removed");
      progress.count("bytes freed", sizeBytes);
    });
  }

  /** Removes what was received of uploads that nobody can go on with. */
  async uploads(progress: CollectionProgress, signal: AbortSignal): Promise<void> {
    const { bytes, namespaces, graceMs } = this.#options;
    if (namespaces.length === 0) return;
    // Whose an upload is only its own name tells. Who began just before it expired has the grace to send a byte.
    const longestMs = Math.max(...namespaces.map(({ expiryMs }) => expiryMs));
    const oldest = bytes.now() - longestMs - graceMs;
    await this.#each(bytes.uploads(), signal, async ({ session, receivedBytes, writtenAt }) => {
      progress.count("examined");
      if (writtenAt > oldest) return;
      if (!this.#isDryRun) await bytes.drop(session);
      this.#tell(progress, session);
      progress.count("removed");
      progress.count("bytes freed", receivedBytes);
    });
    const swept = this.#isDryRun ? 0 : ((await bytes.sweep?.(longestMs + graceMs)) ?? 0);
    if (swept > 0) progress.count("unnamed objects", swept);
  }

  async #retain(
    id: RepositoryId,
    rules: readonly RetentionRule[],
    protection: (tag: Tag) => string | undefined,
    progress: CollectionProgress,
  ): Promise<void> {
    const { repositories, store } = this.#options;
    const entries = new Map<Tag, Entry<HostedTag>>();
    for await (const entry of repositories.tags.list(hostedTagsPrefix(id))) entries.set(tagOf(entry.key), entry);
    const pushes = [...entries].map(([tag, { record }]) => ({ tag, pushedAt: record.pushedAt }));
    for (const verdict of planRetention(id.repository, pushes, rules, { now: store.now(), protection })) {
      const { tag, goes, reason } = verdict;
      const entry = entries.get(tag);
      progress.count("examined");
      if (entry === undefined) continue;
      if (goes && !(await this.#remove(entry.key, () => repositories.tags.changeSeen(entry, "remove")))) continue;
      this.#tell(progress, `${goes ? "goes" : "stays"} ${nameOf(id)}:${tag} (${reason})`);
      if (goes) progress.count("removed");
    }
  }

  async #collectRepository(id: RepositoryId, progress: CollectionProgress, signal: AbortSignal): Promise<void> {
    const { repositories, store } = this.#options;
    const oldest = this.#cutoff();
    const name = await repositories.names.get(hostedNameKey(id));
    const { reach, tags, unreadable } = await this.#look(id, oldest, progress, signal);
    if (unreadable.length > 0) {
      progress.count("unreadable", unreadable.length);
      for (const key of unreadable) progress.note(`${key} cannot be read: ${nameOf(id)} is left as it is`);
      return;
    }
    const remove = async (digest: Digest): Promise<boolean> => {
      const key = hostedLinkKey(id, digest);
      if (!(await this.#remove(key, () => repositories.removeOld(id, digest, oldest)))) return false;
      this.#tell(progress, `${nameOf(id)}@${digest}`);
      progress.count("removed");
      return true;
    };

    const manifests: Digest[] = [];
    for await (const { key } of this.#walk(store.list(hostedLinksPrefix(id)), signal)) {
      const digest = digestOfHostedLink(key);
      if (digest !== undefined && reach.isManifest(digest) && !reach.isKept(digest)) manifests.push(digest);
    }
    for (const digest of reach.inOrder(manifests)) {
      await this.#go(signal);
      if (!reach.isKept(digest) && !(await remove(digest))) reach.keep(digest);
    }

    let left = tags;
    await this.#each(store.list(hostedLinksPrefix(id)), signal, async ({ key, writtenAt }) => {
      const digest = digestOfHostedLink(key);
      if (this.#isGoing(key)) return;
      const stays = digest === undefined || reach.isKept(digest) || reach.isManifest(digest) || writtenAt > oldest;
      if (stays || !(await remove(digest))) left++;
    });
    await this.#each(store.list(hostedReferrersPrefix(id)), signal, async ({ key }) => {
      if (!(await this.#removeReferrer(id, key, oldest, progress))) left++;
    });
    if (left > 0 || name === undefined || name.writtenAt > oldest) return;
    if (!(await this.#remove(name.key, () => repositories.names.changeSeen(name, "remove")))) return;
    this.#tell(progress, `${nameOf(id)} is empty`);
    progress.count("repositories removed");
  }

  /** What a repository's tags and young things reach, how many tags it has, and what of it cannot be read. */
  async #look(
    id: RepositoryId,
    oldest: number,
    progress: CollectionProgress,
    signal: AbortSignal,
  ): Promise<{ readonly reach: Reach; readonly tags: number; readonly unreadable: readonly Key[] }> {
    const { repositories } = this.#options;
    const reach = new Reach();
    const unreadable: Key[] = [];
    const onUnreadable = (key: Key): void => void unreadable.push(key);
    let tags = 0;
    const listedTags = repositories.tags.list(hostedTagsPrefix(id), { onUnreadable });
    for await (const { key, record } of this.#walk(listedTags, signal)) {
      if (this.#isGoing(key)) continue;
      reach.keep(record.digest);
      tags++;
    }
    const links = repositories.links.list(hostedLinksPrefix(id), { onUnreadable });
    for await (const { key, record, writtenAt } of this.#walk(links, signal)) {
      progress.count("examined");
      const digest = digestOfHostedLink(key);
      if (digest === undefined || !isManifest(record)) continue;
      reach.add(digest, record.children ?? [], record.subject);
      if (writtenAt > oldest) reach.keep(digest);
    }
    return { reach, tags, unreadable };
  }

  /** Removes what says that a manifest refers to a subject, where that is old and the manifest is not there. */
  async #removeReferrer(id: RepositoryId, key: Key, oldest: number, progress: CollectionProgress): Promise<boolean> {
    const { repositories } = this.#options;
    const digest = digestOfHostedReferrer(key);
    if (digest === undefined) return false;
    const link = hostedLinkKey(id, digest);
    // It would have gone with its manifest.
    if (this.#isGoing(link)) return true;
    // Before the link is looked at: who pushes the manifest in between writes this anew, too.
    const referrer = await repositories.referrers.get(key);
    if (referrer === undefined || referrer.writtenAt > oldest) return false;
    const isThere = isManifest((await repositories.links.get(link))?.record);
    if (isThere || !(await this.#remove(key, () => repositories.referrers.changeSeen(referrer, "remove"))))
      return false;
    progress.count("referrers removed");
    return true;
  }

  #tell(progress: CollectionProgress, text: string): void {
    if (this.#isDryRun) progress.note(text);
  }

  /** Removes something, or notes that it would be: false where it stays, as somebody has written it since. */
  async #remove(key: Key, remove: () => Promise<boolean>): Promise<boolean> {
    if (!this.#isDryRun) return remove();
    this.#going.add(digestOf(Buffer.from(key)));
    return true;
  }

  #isGoing(key: Key): boolean {
    return this.#isDryRun && this.#going.has(digestOf(Buffer.from(key)));
  }

  /** What was written later is young, and what was not is old, to whoever begins to look now. */
  #cutoff(): number {
    return this.#options.store.now() - this.#options.graceMs;
  }

  #each<T>(items: AsyncIterable<T>, signal: AbortSignal, work: (item: T) => Promise<void>): Promise<void> {
    return forEachOf(this.#walk(items, signal), atOnce, work);
  }

  /** What is listed, for as long as the collection may go on (`#go`). */
  async *#walk<T>(items: AsyncIterable<T>, signal: AbortSignal): AsyncGenerator<T> {
    for await (const item of items) {
      await this.#go(signal);
      yield item;
    }
  }

  /**
   * @throws the signal's reason.
   * @throws {Error} another instance collects by now.
   */
  async #go(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const { acquire, monotonic } = this.#options;
    if (acquire === undefined || monotonic() - this.#acquiredAt < renewMs) return;
    if (!(await acquire())) throw new Error("another instance is collecting");
    this.#acquiredAt = monotonic();
  }
}

function nameOf({ namespace, repository }: RepositoryId): string {
  return `${namespace}/${repository}`;
}
