import { boundedMap } from "../concurrency/bounded-map.ts";
import { forEachOf } from "../concurrency/for-each-of.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import { isObject, type Json } from "../oci/document.ts";
import { OciError } from "../oci/errors.ts";
import type { Namespace, Repository, Tag } from "../oci/reference.ts";
import type { ManifestContent } from "../registry/registry.ts";
import {
  digestOfHostedLink,
  hostedLinkKey,
  hostedNameKey,
  hostedNamesPrefix,
  hostedReferrerKey,
  hostedReferrersPrefix,
  hostedTagKey,
  hostedTagsPrefix,
  repositoryOfHostedName,
} from "../store/hosted-layout.ts";
import type { RepositoryId } from "../store/layout.ts";
import { readWhole } from "../store/read-whole.ts";
import type { DatedStore, Key } from "../store/object-store.ts";
import type { HostedBytes } from "./bytes.ts";
import { Catalog, type Decision, type Entry } from "./catalog.ts";
import {
  type HostedLink,
  type HostedReferrer,
  type HostedTag,
  isHostedLink,
  isHostedReferrer,
  isHostedTag,
} from "./records.ts";

/** How many records are looked at together. */
const atOnce = 16;
const linksInMemory = 16_384;
const tagsInMemory = 8_192;
const namesInMemory = 4_096;
const referrersInMemory = 2_048;
const holdersInMemory = 16_384;
/** How many names of children weigh as much as a record. */
const childrenOfWeight = 8;

/** What repositories are kept with. */
export interface RepositoriesOptions {
  readonly store: DatedStore;
  readonly bytes: HostedBytes;
  /** Whether other instances write to the store, too. */
  readonly isShared: boolean;
  /** How long what nothing refers to is left alone by the collection, in milliseconds. */
  readonly graceMs: number;
  readonly monotonic: () => number;
}

/** A manifest that was read and checked, and what it is to be called. */
export interface NewManifest extends ManifestContent {
  readonly tags: readonly Tag[];
  /** What has to be true of what a tag stands for now; throws where it is not. */
  readonly admitTag: (tag: Tag, current: Digest | undefined) => void;
  /** Whether it may refer to what is not here. */
  readonly isSparse: boolean;
}

/**
 * What hosted repositories contain: links to content, tags, referrers. Two that write at the same time lose nothing, here
 * or on other instances. Content comes before its link, a link before what refers to it and its tags; removed it is the
 * other way round, so that nothing that was promised ever points at what is not there.
 *
 * What the collection removes is older than the grace, and goes only as it was seen (`Catalog.changeSeen`). Whoever relies
 * on what is there already therefore *renews* it first, unless it is younger than half the grace: then either the removal
 * comes first, and it is not there, or it does not happen. From then on it stands for the other half, and within that
 * what refers to it has to be written; what takes longer is done again (`#timely`).
 */
export class Repositories {
  readonly links: Catalog<HostedLink>;
  readonly tags: Catalog<HostedTag>;
  readonly referrers: Catalog<HostedReferrer>;
  readonly names: Catalog<Json>;
  /** Who has a blob, as far as it was heard of lately. */
  readonly #holders = boundedMap<Digest, RepositoryId>(holdersInMemory);
  #onChange = (_namespace: Namespace, _bytes: number): void => undefined;
  readonly #bytes: HostedBytes;
  readonly #store: DatedStore;
  /** What is older is renewed before it is relied upon. */
  readonly #youngMs: number;

  constructor({ store, bytes, isShared, graceMs, monotonic }: RepositoriesOptions) {
    const common = { store, monotonic, maxAgeMs: isShared ? 0 : Infinity };
    this.#store = store;
    this.#bytes = bytes;
    this.#youngMs = graceMs / 2;
    const weigh = ({ children = [] }: HostedLink): number => 1 + children.length / childrenOfWeight;
    this.links = new Catalog({ ...common, isRecord: isHostedLink, maxInMemory: linksInMemory, weigh });
    this.tags = new Catalog({ ...common, isRecord: isHostedTag, maxInMemory: tagsInMemory });
    this.referrers = new Catalog({ ...common, isRecord: isHostedReferrer, maxInMemory: referrersInMemory });
    this.names = new Catalog({ ...common, isRecord: isObject, maxInMemory: namesInMemory });
  }

  /** Says who is told of how much more, or less, a namespace holds. */
  onChange(listener: (namespace: Namespace, bytes: number) => void): void {
    this.#onChange = listener;
  }

  /** A repository that had a blob when it was last heard of. */
  holder(digest: Digest): RepositoryId | undefined {
    return this.#holders.get(digest);
  }

  /** Whether anything was ever pushed to a repository that was not collected since. */
  async exists(id: RepositoryId): Promise<boolean> {
    return (await this.names.get(hostedNameKey(id))) !== undefined;
  }

  /** A namespace's repositories, in the order of their names' keys. */
  async *list(namespace: Namespace, after?: string): AsyncGenerator<RepositoryId> {
    const options = after === undefined ? {} : { after: hostedNameKey({ namespace, repository: after as Repository }) };
    for await (const { key } of this.#store.list(hostedNamesPrefix(namespace), options)) {
      const id = repositoryOfHostedName(key);
      if (id !== undefined) yield id;
    }
  }

  /** What a tag stands for. */
  async tag(id: RepositoryId, tag: Tag): Promise<HostedTag | undefined> {
    return (await this.tags.get(hostedTagKey(id, tag)))?.record;
  }

  /** What a repository has a digest as. */
  async link(id: RepositoryId, digest: Digest): Promise<HostedLink | undefined> {
    return (await this.links.get(hostedLinkKey(id, digest)))?.record;
  }

  /**
   * What a repository has a digest as, where its content is stored: neither is collected within half the grace from now
   * on, whatever refers to it.
   */
  async rely(id: RepositoryId, digest: Digest): Promise<HostedLink | undefined> {
    const [link, content] = await Promise.all([
      this.links.renew(hostedLinkKey(id, digest), this.#youngMs),
      this.#bytes.stat(digest),
    ]);
    // What has another size by now is as good as gone: who is told so pushes it again.
    return content !== undefined && content.sizeBytes === link?.record.sizeBytes ? link.record : undefined;
  }

  /**
   * Notes that a repository contains a blob, whose content was stored just now or belongs to another repository.
   *
   * @returns false where it is not stored any more.
   */
  async addBlob(id: RepositoryId, digest: Digest, sizeBytes: number): Promise<boolean> {
    let link: Entry<HostedLink> | undefined;
    return this.#timely(async () => {
      if (!(await this.#bytes.renew(digest, this.#youngMs))) {
        if (link !== undefined) await this.changeLink(id, link, "remove");
        return false;
      }
      await this.#addName(id);
      link = await this.#changeLink(id, digest, (found) => ({
        set: found === undefined ? blobOf(sizeBytes) : withRole(found.record, "blob"),
      }));
      this.#holders.set(digest, id);
      return true;
    });
  }

  /**
   * Adds a blob that is stored already, as another repository has it.
   *
   * @returns false where it is not stored any more.
   */
  async mountBlob(id: RepositoryId, digest: Digest): Promise<boolean> {
    const content = await this.#bytes.stat(digest);
    return content !== undefined && this.addBlob(id, digest, content.sizeBytes);
  }

  /** Removes a blob from a repository; false where it has none. */
  async removeBlob(id: RepositoryId, digest: Digest): Promise<boolean> {
    let isRemoved = false;
    await this.#changeLink(id, digest, (found) => {
      isRemoved = found !== undefined && found.record.role !== "manifest";
      if (found === undefined || !isRemoved) return "keep";
      return found.record.role === "blob" ? "remove" : { set: { ...found.record, role: "manifest" } };
    });
    return isRemoved;
  }

  /**
   * Stores a manifest, and sets its tags, each of them or none that was not admitted.
   *
   * @throws {OciError} MANIFEST_BLOB_UNKNOWN: it refers to what the repository does not have; MANIFEST_INVALID: it says
   *   otherwise than that what it refers to is, or was pushed as another type; what `admitTag` throws.
   */
  async putManifest(id: RepositoryId, manifest: NewManifest): Promise<void> {
    const { descriptor, parsed, bytes, tags, admitTag } = manifest;
    const { digest, mediaType, size } = descriptor;
    // Before anything is written; once more when it is.
    await forEachOf(tags, atOnce, async (tag) => {
      admitTag(tag, (await this.tags.get(hostedTagKey(id, tag)))?.record.digest);
    });
    const subject = parsed.subject?.digest;
    const link: HostedLink = {
      mediaType,
      sizeBytes: size,
      role: "manifest",
      children: parsed.children.map((child) => child.digest),
      ...(subject !== undefined && { subject }),
    };
    const tagged = new Set<Tag>();
    const key = hostedLinkKey(id, digest);
    // Whoever removes the manifest meanwhile is seen to have done so, or sees that its link is another one.
    do {
      await this.#timely(async () => {
        await this.#assertChildren(id, manifest);
        await this.#removeDamaged(digest, bytes);
        await this.#bytes.put(digest, bytes);
        await this.#addName(id);
        // Before it is there: whoever finds it there does not push it again.
        if (subject !== undefined) await this.#addReferrer(id, subject, manifest);
        await this.#setLink(id, digest, link);
      });
      // And after: whoever has removed it just before takes the record away that was seen then.
      if (subject !== undefined) await this.#addReferrer(id, subject, manifest);
      for (const tag of tags) {
        await this.#setTag(id, tag, descriptor, tagged.has(tag) ? () => undefined : admitTag);
        tagged.add(tag);
      }
    } while (!isManifest((await this.links.renew(key, this.#youngMs))?.record));
  }

  /** Removes a tag; false where there is none. */
  async removeTag(id: RepositoryId, tag: Tag, admit: (current: Digest | undefined) => void): Promise<boolean> {
    let isRemoved = false;
    await this.tags.change(hostedTagKey(id, tag), (found) => {
      admit(found?.record.digest);
      isRemoved = found !== undefined;
      return "remove";
    });
    return isRemoved;
  }

  /**
   * Removes a manifest: the tags that stand for it, itself, then that it is listed as a referrer. False where there is none.
   *
   * @param admitTag Throws where a tag may not go: then nothing has.
   */
  async removeManifest(id: RepositoryId, digest: Digest, admitTag: (tag: Tag) => void): Promise<boolean> {
    const key = hostedLinkKey(id, digest);
    for (;;) {
      const link = await this.links.get(key);
      if (link === undefined || link.record.role === "blob") return false;
      const tags = await this.#tagsOf(id, digest);
      for (const tag of tags) admitTag(tagOf(tag.key));
      await forEachOf(tags, atOnce, async (tag) => {
        await this.tags.change(tag.key, (found) => (found?.record.digest === digest ? "remove" : "keep"));
      });
      const { role, sizeBytes } = link.record;
      if (await this.changeLink(id, link, role === "both" ? { set: blobOf(sizeBytes) } : "remove")) break;
    }
    // Who pushed it just before the end may have set a tag since. Who pushes it again from now on sets its tags anew.
    for (const tag of await this.#tagsOf(id, digest)) {
      if (isManifest((await this.links.get(key))?.record)) break;
      await this.tags.changeSeen(tag, "remove");
    }
    return true;
  }

  /** Changes a link as it was seen to one of no manifest; false where it is another one by now. */
  async changeLink(id: RepositoryId, link: Entry<HostedLink>, decision: Decision<HostedLink>): Promise<boolean> {
    const { subject } = link.record;
    const digest = digestOfHostedLink(link.key);
    const referrer = subject && digest && (await this.referrers.get(hostedReferrerKey(id, subject, digest)));
    const isChanged = await this.links.changeSeen(link, decision);
    // Who pushes it again meanwhile lists it again, too.
    if (isChanged && decision === "remove") this.#onChange(id.namespace, -link.record.sizeBytes);
    if (isChanged && referrer !== undefined) await this.referrers.changeSeen(referrer, "remove");
    return isChanged;
  }

  /** Removes a link that was written at this moment or before; false where it was written since: it stays. */
  async removeOld(id: RepositoryId, digest: Digest, writtenUntil: number): Promise<boolean> {
    for (;;) {
      const link = await this.links.get(hostedLinkKey(id, digest));
      if (link === undefined) return true;
      if (link.writtenAt > writtenUntil) return false;
      if (await this.changeLink(id, link, "remove")) return true;
    }
  }

  /** What refers to a subject, by the order of its keys, behind the referrer of this digest. */
  async *listReferrers(id: RepositoryId, subject: Digest, after?: Digest): AsyncGenerator<HostedReferrer> {
    const last = after && hostedReferrerKey(id, subject, after);
    for await (const { record } of this.referrers.list(hostedReferrersPrefix(id, subject), { after: last })) {
      // A process that ended between both has removed the manifest, or has not promised it.
      if (isManifest(await this.link(id, record.digest))) yield record;
    }
  }

  /** A repository's tags in their order, behind this one. */
  async *listTags(id: RepositoryId, after?: string): AsyncGenerator<Tag> {
    const prefix = hostedTagsPrefix(id);
    const last = after === undefined ? {} : { after: `${prefix}/${after}` as Key };
    for await (const { key } of this.#store.list(prefix, last)) yield tagOf(key);
  }

  async #changeLink(
    id: RepositoryId,
    digest: Digest,
    decide: (found: Entry<HostedLink> | undefined) => Decision<HostedLink>,
  ): Promise<Entry<HostedLink> | undefined> {
    let before: Entry<HostedLink> | undefined;
    const after = await this.links.change(hostedLinkKey(id, digest), (found) => decide((before = found)));
    const change = (after?.record.sizeBytes ?? 0) - (before?.record.sizeBytes ?? 0);
    if (change !== 0) this.#onChange(id.namespace, change);
    return after;
  }

  /** What stands for a manifest. */
  async #tagsOf(id: RepositoryId, digest: Digest): Promise<readonly Entry<HostedTag>[]> {
    const tags: Entry<HostedTag>[] = [];
    for await (const tag of this.tags.list(hostedTagsPrefix(id))) if (tag.record.digest === digest) tags.push(tag);
    return tags;
  }

  /**
   * Does what relies on things and writes what refers to them; again where that took so long that they may have been
   * collected meanwhile.
   */
  async #timely<T>(work: () => Promise<T>): Promise<T> {
    for (;;) {
      const startedAt = this.#store.now();
      const result = await work();
      if (this.#store.now() - startedAt < this.#youngMs) return result;
    }
  }

  /** Removes what is stored of a digest where it is not what it should be, so that it is stored anew. */
  async #removeDamaged(digest: Digest, right: Buffer): Promise<void> {
    const content = await this.#bytes.stat(digest);
    const object = content && (await this.#bytes.open(digest));
    const stored = object && (await readWhole(object, right.length));
    if (content !== undefined && object !== undefined && stored?.equals(right) !== true)
      await this.#bytes.remove(content);
  }

  /** Relies on all that a manifest refers to and that is here; what has to be must be. */
  async #assertChildren(id: RepositoryId, { parsed, isSparse }: NewManifest): Promise<void> {
    const isIndex = parsed.kind === "index";
    const listed = isIndex ? parsed.children : parsed.required;
    const required = new Set(isSparse ? [] : listed.map(({ digest }) => digest));
    await forEachOf(parsed.children, atOnce, async ({ digest, size }) => {
      const link = await this.rely(id, digest);
      if (link === undefined || (isIndex ? !isManifest(link) : !isBlob(link))) {
        if (!required.has(digest)) return;
        const what = isIndex ? "manifest" : "blob";
        const hint = isIndex ? ": push it first, or let the namespace take such indexes (sparse_manifests)" : "";
        const message = `${id.repository} does not have the ${what} ${digest}${hint}`;
        throw new OciError("MANIFEST_BLOB_UNKNOWN", message, { detail: { digest } });
      }
      if (link.sizeBytes === size) return;
      throw new OciError("MANIFEST_INVALID", `${digest} has ${link.sizeBytes} bytes, not ${size}`);
    });
  }

  async #setLink(id: RepositoryId, digest: Digest, link: HostedLink): Promise<void> {
    await this.#changeLink(id, digest, (found) => {
      const known = found?.record;
      if (known === undefined) return { set: link };
      if (known.role === "blob") return { set: withRole(link, "blob") };
      if (known.mediaType === link.mediaType) return { set: withRole(link, known.role) };
      // One digest is one thing to all who have it (CVE-2021-41190).
      throw new OciError("MANIFEST_INVALID", `${digest} was pushed as ${known.mediaType} before`);
    });
  }

  /** Written also where it stands for this already: so whoever removes it as it was sees that it was pushed again. */
  async #setTag(id: RepositoryId, tag: Tag, { digest, mediaType, size }: Descriptor, admit: NewManifest["admitTag"]) {
    await this.tags.change(hostedTagKey(id, tag), (found) => {
      admit(tag, found?.record.digest);
      const isSame = found?.record.digest === digest;
      return { set: isSame ? found.record : { digest, mediaType, size, pushedAt: this.#store.now() } };
    });
  }

  async #addReferrer(id: RepositoryId, subject: Digest, { descriptor, parsed }: NewManifest): Promise<void> {
    const artifactType = parsed.artifactType ?? parsed.config?.mediaType;
    const { annotations } = parsed;
    const record: HostedReferrer = {
      mediaType: descriptor.mediaType,
      digest: descriptor.digest,
      size: descriptor.size,
      ...(artifactType !== undefined && { artifactType }),
      ...(annotations !== undefined && { annotations }),
    };
    await this.referrers.change(hostedReferrerKey(id, subject, descriptor.digest), () => ({ set: record }));
  }

  async #addName(id: RepositoryId): Promise<void> {
    const key = hostedNameKey(id);
    if ((await this.names.renew(key, this.#youngMs)) !== undefined) return;
    await this.names.change(key, (found) => (found === undefined ? { set: {} } : "keep"));
  }
}

/** A repository's tag by its key. */
export function tagOf(key: Key): Tag {
  return key.slice(key.lastIndexOf("/") + 1) as Tag;
}

/** Whether a link is, among others, one of a manifest. */
export function isManifest(link: HostedLink | undefined): link is HostedLink {
  return link !== undefined && link.role !== "blob";
}

/** Whether a link is, among others, one of a blob. */
export function isBlob(link: HostedLink | undefined): link is HostedLink {
  return link !== undefined && link.role !== "manifest";
}

/** A link that is one of this sort as well. */
function withRole(link: HostedLink, role: HostedLink["role"]): HostedLink {
  return link.role === role ? link : { ...link, role: "both" };
}

function blobOf(sizeBytes: number): HostedLink {
  return { mediaType: "application/octet-stream", sizeBytes, role: "blob" };
}
