import { forEachOf } from "../concurrency/for-each-of.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { algorithmOf, createHasher, type Digest, formatDigest } from "../oci/digest.ts";
import { isManifestMediaType } from "../oci/manifest.ts";
import { formatPlatform, readPlatform } from "../oci/platform.ts";
import type { Repository, Tag } from "../oci/reference.ts";
import type { ManifestContent } from "../registry/registry.ts";
import { type OpenObject, StoreError } from "../store/object-store.ts";
import type { LayoutFiles } from "./files.ts";
import { LayoutError, type Naming } from "./index-document.ts";
import { type FoundImage, type Place, type PlaceKind, readManifest, wrongDigest, wrongSize } from "./place.ts";
import { maxDepth } from "./repository.ts";
import { Scanner } from "./scan.ts";

/** How many pieces of content are looked at together. */
const atOnce = 4;

/** An image that was found. */
export interface CheckedImage {
  readonly repository: Repository;
  /** Null: it is reached by its digest alone. */
  readonly tag: Tag | null;
  readonly digest: Digest;
  readonly kind: PlaceKind;
  /** Its place below the source. */
  readonly path: string;
  /** What an index has images for. */
  readonly platforms: readonly string[];
}

/** Something that is wrong with a place. */
export interface LayoutProblem {
  readonly path: string;
  readonly problem: string;
}

/** What a look at a source has found. */
export interface LayoutCheck {
  readonly images: readonly CheckedImage[];
  readonly problems: readonly LayoutProblem[];
}

/** How a source is looked at. */
export interface CheckOptions {
  /** Whether blobs are read and hashed; without, that they are there in their size. */
  readonly isDeep: boolean;
  readonly signal: AbortSignal;
  /** Told of each piece of content that was looked at. */
  readonly onLooked: (bytes: number) => void;
}

/**
 * Finds all images of a source, and what is wrong: what cannot be used, is missing, or is not what it is called by.
 *
 * @throws {StoreError} the source cannot be listed.
 * @throws the signal's reason.
 */
export async function checkLayouts(files: LayoutFiles, naming: Naming, options: CheckOptions): Promise<LayoutCheck> {
  const { places, problems: ofSource } = await new Scanner(files, naming).scan(options.signal);
  const problems = ofSource.map((problem): LayoutProblem => ({ path: ".", problem }));
  const images: CheckedImage[] = [];
  for (const place of places) {
    const { path, kind } = place;
    problems.push(...place.problems.map((problem) => ({ path, problem })));
    const tell = (digest: Digest, problem: string): void =>
      void problems.push({ path, problem: `${digest}: ${problem}` });
    const contents = new PlaceCheck(place, options, tell);
    for (const image of place.images) {
      const { repository, tag = null, descriptor } = image;
      const manifest = await contents.look(image);
      images.push({ repository, tag, digest: descriptor.digest, kind, path, platforms: platformsOf(manifest) });
    }
  }
  return { images, problems };
}

/** Looks at all that a place's images lead to, once. */
class PlaceCheck {
  readonly #place: Place;
  readonly #options: CheckOptions;
  readonly #tell: (digest: Digest, problem: string) => void;
  readonly #seen = new Map<Digest, Promise<ManifestContent | undefined>>();

  constructor(place: Place, options: CheckOptions, tell: (digest: Digest, problem: string) => void) {
    this.#place = place;
    this.#options = options;
    this.#tell = tell;
  }

  /** The manifest of an image, where it is one that can be used. */
  look({ descriptor }: FoundImage): Promise<ManifestContent | undefined> {
    return this.#look(descriptor, isManifestMediaType(descriptor.mediaType), 0);
  }

  #look(descriptor: Descriptor, isManifest: boolean, depth: number): Promise<ManifestContent | undefined> {
    const { digest } = descriptor;
    let seen = this.#seen.get(digest);
    if (seen === undefined) {
      seen = this.#lookAt(descriptor, isManifest, depth).catch((error: unknown) => {
        if (!(error instanceof LayoutError || error instanceof StoreError)) throw error;
        this.#tell(digest, error.message);
        return undefined;
      });
      this.#seen.set(digest, seen);
    }
    return seen;
  }

  async #lookAt(descriptor: Descriptor, isManifest: boolean, depth: number): Promise<ManifestContent | undefined> {
    this.#options.signal.throwIfAborted();
    if (!isManifest) {
      await this.#blob(descriptor);
      return undefined;
    }
    if (depth >= maxDepth) throw new LayoutError("indexes lie too deep within each other");
    const manifest = await readManifest(this.#place, descriptor);
    if (manifest === undefined) throw new LayoutError("it is missing");
    this.#options.onLooked(manifest.bytes.length);
    const { kind, children } = manifest.parsed;
    await forEachOf(children, depth === 0 ? atOnce : 1, async (child) => {
      await this.#look(child, kind === "index" && isManifestMediaType(child.mediaType), depth + 1);
    });
    return manifest;
  }

  async #blob({ digest, size }: Descriptor): Promise<void> {
    const object = await this.#place.open(digest);
    if (object === undefined) throw new LayoutError("it is missing");
    try {
      if (object.sizeBytes !== size) throw wrongSize(object, size);
      if (this.#options.isDeep && (await this.#hash(object, digest)) !== digest) throw new LayoutError(wrongDigest);
      if (!this.#options.isDeep) this.#options.onLooked(0);
    } finally {
      await object.close();
    }
  }

  async #hash(object: OpenObject, digest: Digest): Promise<Digest> {
    const hasher = createHasher(algorithmOf(digest));
    for await (const chunk of object.read({ start: 0, end: object.sizeBytes })) {
      this.#options.signal.throwIfAborted();
      hasher.update(chunk);
      this.#options.onLooked(chunk.length);
    }
    return formatDigest(algorithmOf(digest), hasher.digest("hex"));
  }
}

function platformsOf(manifest: ManifestContent | undefined): readonly string[] {
  return (manifest?.parsed.manifests ?? []).flatMap((entry) => {
    const platform = readPlatform(entry.platform);
    return platform === undefined || platform.os === "unknown" ? [] : [formatPlatform(platform)];
  });
}
