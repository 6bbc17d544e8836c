import { canonicalNamespace, dockerHub, isRepository, parseTag, type Repository, type Tag } from "../oci/reference.ts";
import { DocumentError, isObject, maxListingNames, parseDocument } from "../oci/document.ts";
import { OciError } from "../oci/errors.ts";
import { namesRegistry, parseImageReference } from "../oci/image-reference.ts";
import { isUsable, type ManifestEntry, maxManifestBytes } from "../oci/manifest.ts";
import { isDigestReference, type Namespace } from "../oci/reference.ts";

/** The largest `index.json` that is read: that of some 20,000 images. */
export const maxIndexBytes: number = 2 * maxManifestBytes;

/** What an entry of a layout is called. */
export interface EntryName {
  /** The registry, where the name says so. */
  readonly registry: Namespace | undefined;
  /** The repository, where the name says so; otherwise it is the one that the layout's place names. */
  readonly repository: Repository | undefined;
  readonly tag: Tag;
}

/** An entry of a layout's `index.json`. */
export interface LayoutEntry {
  /** As it stands there, with all its fields. */
  readonly descriptor: ManifestEntry;
  /** `undefined`: it is reached by its digest alone. */
  readonly name: EntryName | undefined;
}

/** A layout's `index.json` (image-spec, image-layout.md). */
export interface LayoutIndex {
  /** In the document's order; one digest, or one name, may be there several times. */
  readonly entries: readonly LayoutEntry[];
  /** What is wrong with other entries, which are left out. */
  readonly problems: readonly string[];
}

/** An image layout, or a part of one, that cannot be used. The message says why, for people. */
export class LayoutError extends Error {
  override readonly name = "LayoutError";
}

/** Where a tag's name stands, or a whole one (image-spec, annotations.md). */
export const refNameAnnotation = "org.opencontainers.image.ref.name";
/** Where containerd, and Docker with it, writes a whole name. */
export const imageNameAnnotation = "io.containerd.image.name";
/** What crane writes for a tag, where there was none. */
const noTag = "i-was-a-digest";

/**
 * Reads an `index.json`. An entry that cannot be used does not hide the others.
 *
 * @throws {LayoutError}
 */
export function readIndexDocument(bytes: Uint8Array): LayoutIndex {
  const { manifests } = readFields(bytes);
  const list: unknown = manifests ?? [];
  if (!Array.isArray(list)) throw new LayoutError("its manifests are not a list");
  const entries: LayoutEntry[] = [];
  const problems: string[] = [];
  for (const [place, entry] of list.entries()) {
    try {
      if (isUsable(entry, `manifests[${place}]`)) entries.push({ descriptor: entry, name: nameOf(entry) });
      else problems.push(`manifests[${place}] has a digest of an algorithm that is not supported`);
    } catch (error) {
      if (!(error instanceof OciError)) throw error;
      problems.push(error.message);
    }
  }
  return { entries, problems };
}

/** The fields of an `index.json`, as they stand there. @throws {LayoutError} */
export function readFields(bytes: Uint8Array): Readonly<Record<string, unknown>> {
  try {
    return parseDocument(bytes, maxListingNames).fields;
  } catch (error) {
    if (error instanceof DocumentError) throw new LayoutError(error.message);
    throw error;
  }
}

/**
 * What an entry is called. `io.containerd.image.name` comes first where it is a whole name, with registry and tag; else
 * `org.opencontainers.image.ref.name` counts: a name with a repository in it, or a tag alone.
 */
export function nameOf({ annotations }: { readonly annotations?: unknown }): EntryName | undefined {
  if (!isObject(annotations)) return undefined;
  const whole = readName(annotations[imageNameAnnotation]);
  if (whole?.registry !== undefined) return whole;
  return readName(annotations[refNameAnnotation]);
}

function readName(text: unknown): EntryName | undefined {
  if (typeof text !== "string" || text === noTag) return undefined;
  try {
    if (!/[/:@]/.test(text)) return { registry: undefined, repository: undefined, tag: parseTag(text) };
    const { namespace, repository, reference } = parseImageReference(text);
    if (isDigestReference(reference) || reference === noTag) return undefined;
    return { registry: namesRegistry(text) ? namespace : undefined, repository, tag: reference };
  } catch (error) {
    if (error instanceof OciError) return undefined;
    throw error;
  }
}

/** What the names of a source's images are made with. */
export interface Naming {
  /** The namespace in which they are served. */
  readonly namespace: Namespace;
  /** What stands before each repository's name, with a slash between. */
  readonly prefix: string | undefined;
}

/**
 * The repository that an image is served as.
 *
 * @param name What it is called; without one it belongs to its place.
 * @param path The name of its place below the source, `""` for the source itself.
 * @throws {LayoutError} there is no repository of such a name.
 */
export function repositoryOf(name: EntryName | undefined, path: string, { namespace, prefix }: Naming): Repository {
  const full = prefixed(ownName(name, path, namespace), prefix);
  if (isRepository(full)) return full;
  if (full === "") throw new LayoutError("it lies in the source itself, and no name says which repository it is");
  throw new LayoutError(
    `${JSON.stringify(full.slice(0, 128))} is no repository's name: lower-case letters, digits and separators, in parts joined by /`,
  );
}

/** The repository that a place is by its own name; `undefined` where none can be called so. */
export function repositoryAt(path: string, { prefix }: Naming): Repository | undefined {
  const full = prefixed(path, prefix);
  return isRepository(full) ? full : undefined;
}

function prefixed(name: string, prefix: string | undefined): string {
  return [prefix ?? "", name].filter(Boolean).join("/");
}

function ownName(name: EntryName | undefined, path: string, namespace: Namespace): string {
  if (name?.repository === undefined) return path;
  const { registry, repository } = name;
  // A name of another registry keeps that in front, so that two registries' images of one name stay two.
  if (registry !== undefined && canonicalNamespace(registry) !== canonicalNamespace(namespace)) {
    return `${canonicalNamespace(registry)}/${officially(repository, canonicalNamespace(registry))}`;
  }
  return officially(repository, canonicalNamespace(namespace));
}

/** Docker Hub's names of one part are those of `library/`. */
function officially(repository: Repository, registry: Namespace): string {
  return registry === dockerHub && !repository.includes("/") ? `library/${repository}` : repository;
}
