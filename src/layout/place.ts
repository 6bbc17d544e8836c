import type { Descriptor } from "../oci/descriptor.ts";
import { hexOf, algorithmOf, type Digest, digestOf, isDigest } from "../oci/digest.ts";
import { OciError } from "../oci/errors.ts";
import { isManifestMediaType, type ManifestEntry, maxManifestBytes, parseManifest } from "../oci/manifest.ts";
import { parseTag, type Repository, type Tag } from "../oci/reference.ts";
import type { ManifestContent } from "../registry/registry.ts";
import type { Key, OpenObject } from "../store/object-store.ts";
import { readWhole } from "../store/read-whole.ts";
import { type LayoutFiles, within } from "./files.ts";
import { assertVersion, layoutBlobKey, readLayout } from "./image-layout.ts";
import { LayoutError, type Naming, repositoryAt, repositoryOf } from "./index-document.ts";

/** How images lie in a place: as an OCI image layout, as skopeo's `dir:` has them, or as a layout in an archive. */
export type PlaceKind = "layout" | "dir" | "archive";

/** An image, or whatever else an entry refers to, as it was found. */
export interface FoundImage {
  readonly repository: Repository;
  /** `undefined`: it is reached by its digest alone. */
  readonly tag: Tag | undefined;
  readonly descriptor: ManifestEntry;
}

/** A folder or an archive that has images in it. What it says is as it was read; content is read when it is asked for. */
export interface Place {
  /** Its name below the source. */
  readonly path: string;
  readonly kind: PlaceKind;
  readonly images: readonly FoundImage[];
  /** What is wrong with it, for people. */
  readonly problems: readonly string[];
  /**
   * Opens what should be the content of a digest, unchecked; `undefined` where there is none. Who opens it closes it.
   *
   * @throws {StoreError}
   */
  open(digest: Digest): Promise<OpenObject | undefined>;
  /** Where that lies among the source's files, where it is a file of its own. */
  keyOf(digest: Digest): Key | undefined;
}

/** The file that says what a `dir:` tree of skopeo contains. */
export const dirManifestName = "manifest.json";

/**
 * Reads the OCI image layout in a folder of `files`.
 *
 * @param path What it is called below the source, and its images where no name says so.
 * @throws {LayoutError} nothing of it can be used.
 * @throws {StoreError}
 */
export async function readLayoutPlace(
  files: LayoutFiles,
  folder: string,
  path: string,
  naming: Naming,
): Promise<Omit<Place, "kind"> | undefined> {
  const document = await readLayout(files, folder);
  if (document === undefined) return undefined;
  await assertVersion(files, folder);
  const problems = [...document.problems];
  const images: FoundImage[] = [];
  for (const { descriptor, name } of document.entries) {
    try {
      images.push({ repository: repositoryOf(name, path, naming), tag: name?.tag, descriptor });
    } catch (error) {
      if (!(error instanceof LayoutError)) throw error;
      problems.push(`${descriptor.digest}: ${error.message}`);
      // What its name does not say its place does.
      const repository = repositoryAt(path, naming);
      if (repository !== undefined) images.push({ repository, tag: undefined, descriptor });
    }
  }
  return {
    path,
    images,
    problems,
    open: (digest) => files.get(layoutBlobKey(folder, digest)),
    keyOf: (digest) => layoutBlobKey(folder, digest),
  };
}

/**
 * Reads a folder that skopeo wrote as `dir:`, `<name>/<tag>`, `<name>:<tag>` or `<name>@<digest>`.
 *
 * @throws {LayoutError} it cannot be used.
 * @throws {StoreError}
 */
export async function readDirPlace(files: LayoutFiles, folder: string, naming: Naming): Promise<Place | undefined> {
  const object = await files.get(within(folder, dirManifestName));
  if (object === undefined) return undefined;
  const bytes = await readWhole(object, maxManifestBytes);
  if (bytes === undefined) throw new LayoutError(`its ${dirManifestName} has more than ${maxManifestBytes} bytes`);
  if (isDockerArchive(bytes)) throw new LayoutError(dockerArchiveAdvice);
  const { path, reference } = readDirName(folder);
  const digest = digestOf(bytes, reference !== undefined && isDigest(reference) ? algorithmOf(reference) : "sha256");
  if (reference !== undefined && isDigest(reference) && reference !== digest) {
    throw new LayoutError(`its ${dirManifestName} has the digest ${digest}`);
  }
  const tag = reference === undefined || isDigest(reference) ? undefined : asTag(reference);
  const repository = repositoryOf(undefined, path, naming);
  const descriptor: ManifestEntry = { mediaType: mediaTypeOf(bytes), digest, size: bytes.length };
  const manifestKey = within(folder, dirManifestName);
  return {
    path: folder,
    kind: "dir",
    images: [{ repository, tag, descriptor }],
    problems: [],
    async open(wanted) {
      if (wanted === digest) return files.get(manifestKey);
      // skopeo keeps the manifests that an index lists under names of their own.
      return (await files.get(dirBlobKey(folder, wanted))) ?? files.get(dirBlobKey(folder, wanted, ".manifest.json"));
    },
    keyOf: (wanted) => (wanted === digest ? manifestKey : dirBlobKey(folder, wanted)),
  };
}

/** Why a docker-archive is not served, and what can be done. */
export const dockerArchiveAdvice =
  "it is a docker-archive, which holds neither the images' digests nor their compressed layers: make a layout of it, as with `skopeo copy docker-archive:FILE oci:FOLDER:TAG`";

/** Whether the bytes of a `manifest.json` are those of a docker-archive: a list of images, no manifest. */
export function isDockerArchive(bytes: Uint8Array): boolean {
  return /^\s*\[/.test(Buffer.from(bytes.subarray(0, 64)).toString("latin1"));
}

function dirBlobKey(folder: string, digest: Digest, suffix = ""): Key {
  return within(folder, `${hexOf(digest)}${suffix}`);
}

/** What a folder's name says: `<name>@<digest>`, `<name>:<tag>`, or `<name>/<tag>`. */
function readDirName(folder: string): { readonly path: string; readonly reference: string | undefined } {
  const slash = folder.lastIndexOf("/");
  const last = folder.slice(slash + 1);
  const at = last.indexOf("@");
  const mark = at >= 0 ? at : last.indexOf(":");
  if (mark > 0) return { path: folder.slice(0, slash + 1 + mark), reference: last.slice(mark + 1) };
  if (slash < 0) {
    throw new LayoutError("its name says no tag: call it <name>/<tag>, <name>:<tag> or <name>@<digest>");
  }
  return { path: folder.slice(0, slash), reference: last };
}

function asTag(text: string): Tag {
  try {
    return parseTag(text);
  } catch (error) {
    if (error instanceof OciError) throw new LayoutError(`${JSON.stringify(text.slice(0, 128))}: ${error.message}`);
    throw error;
  }
}

function mediaTypeOf(bytes: Uint8Array): string {
  try {
    return parseManifest(bytes, undefined).mediaType;
  } catch (error) {
    if (error instanceof OciError) throw new LayoutError(error.message);
    throw error;
  }
}

/** What a place is when nothing of it can be used. */
export function brokenPlace(path: string, kind: PlaceKind, problem: string): Place {
  return {
    path,
    kind,
    images: [],
    problems: [problem],
    open: async () => undefined,
    keyOf: () => undefined,
  };
}

/**
 * Reads a manifest in a place; `undefined` where it is not there.
 *
 * @throws {LayoutError} it is not what its descriptor says, or cannot be used.
 * @throws {StoreError} it cannot be read.
 */
export async function readManifest(
  place: Pick<Place, "open">,
  { mediaType, digest, size }: Descriptor,
): Promise<ManifestContent | undefined> {
  const object = await place.open(digest);
  if (object === undefined) return undefined;
  if (object.sizeBytes !== size) {
    await object.close();
    throw wrongSize(object, size);
  }
  const bytes = await readWhole(object, maxManifestBytes);
  if (bytes === undefined) throw new LayoutError(`a manifest has at most ${maxManifestBytes} bytes`);
  if (digestOf(bytes, algorithmOf(digest)) !== digest) throw new LayoutError(wrongDigest);
  try {
    const parsed = parseManifest(bytes, isManifestMediaType(mediaType) ? mediaType : undefined);
    return { descriptor: { mediaType: parsed.mediaType, digest, size }, bytes, parsed };
  } catch (error) {
    if (error instanceof OciError) throw new LayoutError(error.message);
    throw error;
  }
}

/** What is wrong with content that is not what it is called by. */
export const wrongDigest = "it does not have its digest";

/** What is wrong with content of another size than its descriptor's. */
export function wrongSize({ sizeBytes }: OpenObject, size: number): LayoutError {
  return new LayoutError(`it has ${sizeBytes} bytes, not ${size}`);
}
