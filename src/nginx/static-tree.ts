import type { LayoutFiles } from "../layout/files.ts";
import { LayoutError, type Naming } from "../layout/index-document.ts";
import { type Place, readManifest, wrongDigest, wrongSize } from "../layout/place.ts";
import { maxDepth } from "../layout/repository.ts";
import { Scanner } from "../layout/scan.ts";
import type { Descriptor } from "../oci/descriptor.ts";
import { algorithmOf, createHasher, type Digest, formatDigest } from "../oci/digest.ts";
import { OciError } from "../oci/errors.ts";
import type { Manifest } from "../oci/manifest.ts";
import type { Repository, Tag } from "../oci/reference.ts";
import { type Key, type OpenObject, StoreError } from "../store/object-store.ts";
import type { ManifestContent } from "../registry/registry.ts";
import type { StaticManifest, StaticRepository } from "./configuration.ts";

const absent = "is not there";

/** How a tree is read. */
export interface TreeOptions {
  readonly naming: Naming;
  /** Whether blobs are hashed too; manifests always are. */
  readonly verify: boolean;
  /** Ends it. */
  readonly signal: AbortSignal;
  /** Told of what is left out, and why. */
  readonly onLeftOut: (what: string) => void;
  /** Told of bytes of blobs that were hashed. */
  readonly onHashed: (bytes: number) => void;
}

/**
 * Finds what nginx can serve of a folder: the images whose manifests have their digests and whose blobs are files of the
 * right size. An index is served without those of its images that are not there.
 *
 * @throws {StoreError} the folder cannot be listed.
 */
export async function readTree(files: LayoutFiles, options: TreeOptions): Promise<readonly StaticRepository[]> {
  const { places, problems } = await new Scanner(files, options.naming).scan(options.signal);
  for (const problem of problems) options.onLeftOut(problem);
  const reader = new TreeReader(options);
  for (const place of places) await reader.add(place);
  return [...reader.repositories.values()].map(({ tags, ...repository }) => ({
    ...repository,
    tags: new Map([...tags].map(([tag, { digest }]) => [tag, digest])),
  }));
}

interface OpenRepository {
  readonly name: Repository;
  readonly tags: Map<Tag, { readonly digest: Digest; readonly place: Place }>;
  readonly manifests: Map<Digest, StaticManifest>;
  readonly blobs: Map<Digest, Key>;
}

/** An image, or a part of it, that cannot be served; the message says why. */
class Unserved extends Error {}

class TreeReader {
  readonly repositories = new Map<Repository, OpenRepository>();
  readonly #options: TreeOptions;
  /** The files that were hashed, and what came out. */
  readonly #hashed = new Map<string, Digest>();

  constructor(options: TreeOptions) {
    this.#options = options;
  }

  async add(place: Place): Promise<void> {
    const { onLeftOut } = this.#options;
    for (const problem of place.problems) onLeftOut(`${place.path}: ${problem}`);
    if (place.images.length === 0) return;
    if (place.kind === "archive") return onLeftOut(`${place.path}: nginx cannot serve what lies in an archive`);
    if (place.path.includes("$")) return onLeftOut(`${place.path}: nginx takes what is behind a $ for a variable`);
    for (const { repository: name, tag, descriptor } of place.images) {
      const { digest } = descriptor;
      const repository = this.repositories.get(name) ?? {
        name,
        tags: new Map<Tag, { readonly digest: Digest; readonly place: Place }>(),
        manifests: new Map<Digest, StaticManifest>(),
        blobs: new Map<Digest, Key>(),
      };
      try {
        await this.#addManifest(place, repository, descriptor, 0);
      } catch (error) {
        onLeftOut(`${place.path}: ${name}${tag === undefined ? "" : `:${tag}`}: ${reasonOf(error)}`);
        continue;
      }
      this.repositories.set(name, repository);
      if (tag === undefined) continue;
      // As where they are served without nginx: the first place counts, and in one place the last entry.
      const other = repository.tags.get(tag);
      if (other === undefined || other.place === place) repository.tags.set(tag, { digest, place });
      else if (other.digest !== digest) onLeftOut(`${place.path}: ${name}:${tag} is ${other.digest} already`);
    }
  }

  /** @throws {Unserved} */
  async #addManifest(place: Place, repository: OpenRepository, descriptor: Descriptor, depth: number): Promise<void> {
    const { digest } = descriptor;
    if (repository.manifests.has(digest)) return;
    if (depth >= maxDepth) throw new Unserved(`its indexes lie more than ${maxDepth} deep in each other`);
    const { object, file } = await this.#open(place, digest);
    await object.close();
    const manifest = await this.#read(place, descriptor);
    const { parsed } = manifest;
    if (parsed.kind === "index") await this.#addChildren(place, repository, parsed, depth);
    else await this.#addBlobs(place, repository, parsed);
    repository.manifests.set(digest, { file, sizeBytes: manifest.bytes.length, parsed });
  }

  /** @throws {Unserved} */
  async #read(place: Place, descriptor: Descriptor): Promise<ManifestContent> {
    try {
      const manifest = await readManifest(place, descriptor);
      if (manifest !== undefined) return manifest;
    } catch (error) {
      if (!(error instanceof LayoutError)) throw error;
      throw new Unserved(`${descriptor.digest}: ${error.message}`);
    }
    throw new Unserved(`${descriptor.digest} ${absent}`);
  }

  async #addChildren(place: Place, repository: OpenRepository, { children }: Manifest, depth: number): Promise<void> {
    for (const child of children) {
      try {
        await this.#addManifest(place, repository, child, depth + 1);
      } catch (error) {
        const why = reasonOf(error);
        // Of several platforms, some may have been copied.
        if (!why.endsWith(absent)) this.#options.onLeftOut(`${place.path}: ${repository.name}: ${why}`);
      }
    }
  }

  async #addBlobs(place: Place, repository: OpenRepository, { children, required }: Manifest): Promise<void> {
    const found = new Map<Digest, Key>();
    for (const child of children) {
      try {
        found.set(child.digest, await this.#checkBlob(place, child));
      } catch (error) {
        // Layers may be kept elsewhere.
        if (!reasonOf(error).endsWith(absent) || required.some(({ digest }) => digest === child.digest)) throw error;
      }
    }
    for (const [digest, key] of found) repository.blobs.set(digest, key);
  }

  async #checkBlob(place: Place, { digest, size }: Descriptor): Promise<Key> {
    const { object, file } = await this.#open(place, digest);
    try {
      if (object.sizeBytes !== size) throw new Unserved(`${digest}: ${wrongSize(object, size).message}`);
      if (this.#options.verify && (await this.#digestOf(object, file, digest)) !== digest) {
        throw new Unserved(`${digest}: ${wrongDigest}`);
      }
      return file;
    } finally {
      await object.close();
    }
  }

  async #digestOf(object: OpenObject, file: Key, wanted: Digest): Promise<Digest> {
    const algorithm = algorithmOf(wanted);
    const known = this.#hashed.get(`${algorithm} ${file}`);
    if (known !== undefined) return known;
    const hasher = createHasher(algorithm);
    for await (const chunk of object.read({ start: 0, end: object.sizeBytes })) {
      this.#options.signal.throwIfAborted();
      hasher.update(chunk);
      this.#options.onHashed(chunk.length);
    }
    const digest = formatDigest(algorithm, hasher.digest("hex"));
    this.#hashed.set(`${algorithm} ${file}`, digest);
    return digest;
  }

  /** @throws {Unserved} there is no such file. */
  async #open(place: Place, digest: Digest): Promise<{ readonly object: OpenObject; readonly file: Key }> {
    const object = await place.open(digest);
    if (object === undefined) throw new Unserved(`${digest} ${absent}`);
    if (object.file !== undefined) return { object, file: object.file };
    await object.close();
    throw new Unserved(`${digest} is no file of its own`);
  }
}

/** @throws what nobody foresaw. */
function reasonOf(error: unknown): string {
  if (error instanceof Unserved || error instanceof OciError || error instanceof StoreError) return error.message;
  throw error;
}
