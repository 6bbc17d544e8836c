import { boundedMap } from "../concurrency/bounded-map.ts";
import { forEachOf } from "../concurrency/for-each-of.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import { isManifestMediaType } from "../oci/manifest.ts";
import { isDigestReference, type Reference, type Tag } from "../oci/reference.ts";
import type { Referrer } from "../registry/pages.ts";
import type { ManifestContent } from "../registry/registry.ts";
import type { FoundImage, Place } from "./place.ts";

/** How many manifests there may be within each other, the image's own included. */
export const maxDepth = 8;
/** How many manifests are read together. */
const atOnce = 4;
/** Of how many digests it is remembered that manifests which were read last refer to them. */
const nearInMemory = 2_048;

/** An entry of a place. */
export interface Root {
  readonly place: Place;
  readonly image: FoundImage;
}

/** What a repository has a digest as, and where it may lie. */
export interface Reached {
  readonly descriptor: Descriptor;
  readonly isManifest: boolean;
  readonly isBlob: boolean;
  readonly places: readonly Place[];
}

/** All that a repository contains. */
interface Reach {
  readonly reached: ReadonlyMap<Digest, Reached>;
  readonly referrers: ReadonlyMap<Digest, readonly Referrer[]>;
  /** What could not be told: what is not among `reached` may be there. */
  readonly failures: readonly unknown[];
}

/** Reads a manifest in a place, checked; `undefined` where it is not there, or cannot be used. Throws where that cannot be told. */
export type ReadManifest = (place: Place, descriptor: Descriptor) => Promise<ManifestContent | undefined>;

/**
 * A repository of layouts, as it was when they were looked at. A digest belongs to it when one of its entries is of that, or
 * leads to it: through indexes within each other, manifests, and what they list. What lies beside it in the same layout does
 * not.
 */
export class LayoutRepository {
  readonly roots: readonly Root[];
  readonly #read: ReadManifest;
  readonly #tagged = new Map<Tag, Root>();
  readonly #tags: readonly Tag[];
  readonly #near = boundedMap<Digest, Reached>(nearInMemory);
  #reach: Promise<Reach> | undefined;

  /** @param roots In the order in which they count: of equal tags of two places the first one does, in one place the last. */
  constructor(roots: readonly Root[], read: ReadManifest) {
    this.roots = roots;
    this.#read = read;
    for (const root of roots) {
      const { tag } = root.image;
      if (tag === undefined) continue;
      const known = this.#tagged.get(tag);
      if (known === undefined || known.place === root.place) this.#tagged.set(tag, root);
    }
    this.#tags = [...this.#tagged.keys()].toSorted();
  }

  /** Its tags behind this one, in their order. */
  tags(after: string | undefined): readonly Tag[] {
    return after === undefined ? this.#tags : this.#tags.filter((tag) => tag > after);
  }

  /** What a tag stands for. */
  tagged(tag: Tag): Root | undefined {
    return this.#tagged.get(tag);
  }

  /** A manifest; see `ReadManifest`. */
  async manifest(reference: Reference): Promise<ManifestContent | undefined> {
    if (!isDigestReference(reference)) {
      const root = this.#tagged.get(reference);
      return root && this.#readNoting(root.place, root.image.descriptor);
    }
    for await (const { descriptor, place } of this.places(reference, "isManifest")) {
      const manifest = await this.#readNoting(place, descriptor);
      if (manifest !== undefined) return manifest;
    }
    return undefined;
  }

  /**
   * Where a digest may lie that the repository has as this: first by what was read last, then by all that it contains.
   *
   * @throws at its end, what could not be read and may lead to it.
   */
  async *places(
    digest: Digest,
    as: "isManifest" | "isBlob",
  ): AsyncGenerator<{ readonly descriptor: Descriptor; readonly place: Place }> {
    const tried = new Set<Place>();
    const untried = function* (reached: Reached | undefined) {
      if (reached?.[as] !== true) return;
      for (const place of reached.places) {
        if (tried.has(place)) continue;
        tried.add(place);
        yield { descriptor: reached.descriptor, place };
      }
    };
    yield* untried(this.#near.get(digest));
    yield* untried(this.#rootOf(digest));
    const { reached, failures } = await this.#whole();
    yield* untried(reached.get(digest));
    if (failures.length > 0) throw failures[0];
  }

  /** What refers to a manifest, in the order of their digests. @throws what could not be read. */
  async referrers(subject: Digest): Promise<readonly Referrer[]> {
    const { referrers, failures } = await this.#whole();
    if (failures.length > 0) throw failures[0];
    return referrers.get(subject) ?? [];
  }

  #rootOf(digest: Digest): Reached | undefined {
    const places = this.roots.filter(({ image }) => image.descriptor.digest === digest);
    const [first] = places;
    return (
      first &&
      asReached(
        first.image.descriptor,
        places.map(({ place }) => place),
      )
    );
  }

  /** Clients ask for what a manifest lists as soon as they have it. */
  async #readNoting(place: Place, descriptor: Descriptor): Promise<ManifestContent | undefined> {
    const manifest = await this.#read(place, descriptor);
    const isIndex = manifest?.parsed.kind === "index";
    for (const child of manifest?.parsed.children ?? []) {
      this.#near.set(child.digest, isIndex ? asReached(child, [place]) : asBlob(child, [place]));
    }
    return manifest;
  }

  #whole(): Promise<Reach> {
    const reach = (this.#reach ??= this.#walk());
    const forget = (): void => void (this.#reach = undefined);
    // What could not be read is tried again by the next who asks.
    reach.then(({ failures }) => failures.length > 0 && this.#reach === reach && forget(), forget);
    return reach;
  }

  async #walk(): Promise<Reach> {
    const reached = new Map<Digest, Reached>();
    const referrers = new Map<Digest, Map<Digest, Referrer>>();
    const failures: unknown[] = [];
    const seen = new Set<string>();
    const add = (more: Reached): void => {
      const { digest } = more.descriptor;
      const known = reached.get(digest);
      reached.set(digest, known === undefined ? more : both(known, more));
    };
    let level: { place: Place; descriptor: Descriptor }[] = [];
    const enter = (place: Place, descriptor: Descriptor): void => {
      const id = `${place.path} ${descriptor.digest}`;
      if (seen.has(id)) return;
      seen.add(id);
      level.push({ place, descriptor });
    };
    for (const { place, image } of this.roots) {
      const { descriptor } = image;
      add(asReached(descriptor, [place]));
      if (isManifestMediaType(descriptor.mediaType)) enter(place, descriptor);
    }
    for (let depth = 0; level.length > 0 && depth < maxDepth; depth++) {
      const current = level;
      level = [];
      await forEachOf(current, atOnce, async ({ place, descriptor }) => {
        let manifest: ManifestContent | undefined;
        try {
          manifest = await this.#read(place, descriptor);
        } catch (error) {
          failures.push(error);
        }
        if (manifest === undefined) return;
        const { parsed } = manifest;
        for (const child of parsed.children) {
          if (parsed.kind !== "index") add(asBlob(child, [place]));
          else {
            add(asReached(child, [place]));
            if (isManifestMediaType(child.mediaType)) enter(place, child);
          }
        }
        if (parsed.subject === undefined) return;
        const listed = referrers.get(parsed.subject.digest) ?? new Map<Digest, Referrer>();
        referrers.set(parsed.subject.digest, listed.set(descriptor.digest, referrerOf(manifest)));
      });
    }
    return { reached, referrers: mapValues(referrers, inOrder), failures };
  }
}

/** An entry of an index: a manifest by its type, or any other content. */
function asReached({ mediaType, digest, size }: Descriptor, places: readonly Place[]): Reached {
  const isManifest = isManifestMediaType(mediaType);
  return { descriptor: { mediaType, digest, size }, isManifest, isBlob: !isManifest, places };
}

function asBlob(descriptor: Descriptor, places: readonly Place[]): Reached {
  return { descriptor, isManifest: false, isBlob: true, places };
}

function both(one: Reached, other: Reached): Reached {
  return {
    // The type of a manifest is what it is served with.
    descriptor: one.isManifest ? one.descriptor : other.isManifest ? other.descriptor : one.descriptor,
    isManifest: one.isManifest || other.isManifest,
    isBlob: one.isBlob || other.isBlob,
    places: [...new Set([...one.places, ...other.places])],
  };
}

function referrerOf({ descriptor, parsed }: ManifestContent): Referrer {
  const artifactType = parsed.artifactType ?? parsed.config?.mediaType;
  const { annotations } = parsed;
  return {
    ...descriptor,
    ...(artifactType !== undefined && { artifactType }),
    ...(annotations !== undefined && { annotations }),
  };
}

function inOrder(listed: ReadonlyMap<Digest, Referrer>): readonly Referrer[] {
  return [...listed.values()].toSorted((one, other) => (one.digest < other.digest ? -1 : 1));
}

function mapValues<K, V, W>(map: ReadonlyMap<K, V>, change: (value: V) => W): ReadonlyMap<K, W> {
  return new Map([...map].map(([key, value]) => [key, change(value)]));
}
