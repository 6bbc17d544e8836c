import { type ContentName, foldName, isAmbiguous } from "./ambiguity.ts";
import type { Descriptor } from "./descriptor.ts";
import { isDigest } from "./digest.ts";
import { DocumentError, isObject, type Json, type JsonDocument, maxManifestNames, parseDocument } from "./document.ts";
import { OciError } from "./errors.ts";

/** Largest manifest that is read, in bytes: what clients and other registries agree on. */
export const maxManifestBytes: number = 4 * 1024 * 1024;

/** The media type of an OCI image index (image-spec, media-types.md). */
export const indexMediaType = "application/vnd.oci.image.index.v1+json";

const imageMediaType = "application/vnd.oci.image.manifest.v1+json";
const artifactMediaType = "application/vnd.oci.artifact.manifest.v1+json";
const dockerListMediaType = "application/vnd.docker.distribution.manifest.list.v2+json";
const dockerImageMediaType = "application/vnd.docker.distribution.manifest.v2+json";

/**
 * The `Accept` header for manifests. It names every type that is served: Quay converts what is not listed literally.
 * It has no wildcard, which would invite schema 1.
 */
export const acceptManifests: string = [indexMediaType, imageMediaType, dockerListMediaType, dockerImageMediaType].join(
  ", ",
);

/** A descriptor of an index as it stands in the document, with all its fields, also unknown ones. */
export interface ManifestEntry extends Descriptor {
  readonly artifactType?: string | null;
  readonly annotations?: Readonly<Record<string, string>> | null;
  readonly platform?: unknown;
  readonly [field: string]: unknown;
}

/** What a manifest says about other content. */
export interface Manifest {
  /** The media type to serve it with; it belongs to the digest from now on. */
  readonly mediaType: string;
  readonly kind: "image" | "index";
  /** What it refers to, once per digest: config, layers, blobs; or an index's manifests. Not the subject. */
  readonly children: readonly Descriptor[];
  /**
   * Of `children`, what a registry checks that it holds when it takes the manifest: an image's configuration and layers,
   * without those that are kept elsewhere (`urls`, non-distributable types). An index may list what is not there, and an
   * ambiguous manifest may have been read as another one.
   */
  readonly required: readonly Descriptor[];
  /** Whether others may read something else in it. Its bytes can be served; what it says proves nothing. */
  readonly isAmbiguous: boolean;
  readonly subject: Descriptor | undefined;
  /** An image's configuration. */
  readonly config: Descriptor | undefined;
  readonly artifactType: string | undefined;
  readonly annotations: Readonly<Record<string, string>> | undefined;
  /** An index's entries in order, repeated digests included; empty for an image. */
  readonly manifests: readonly ManifestEntry[];
  /** How many names its document has: what it takes in memory goes by that. */
  readonly names: number;
}

interface KnownType {
  readonly kind: Manifest["kind"];
  /** The fields that list content. */
  readonly content: readonly ContentName[];
}

const index: KnownType = { kind: "index", content: ["manifests"] };
const image: KnownType = { kind: "image", content: ["config", "layers"] };
const knownTypes: ReadonlyMap<string, KnownType> = new Map([
  [indexMediaType, index],
  [dockerListMediaType, index],
  [imageMediaType, image],
  [dockerImageMediaType, image],
  [artifactMediaType, { kind: "image", content: ["blobs"] }],
]);
const schema1MediaType = /^application\/vnd\.docker\.distribution\.manifest\.v1\+/;
const manifestMediaType = /^application\/[a-z0-9!#$&^_.+-]*json$/;
const genericMediaTypes: ReadonlySet<string> = new Set([
  "",
  "application/json",
  "application/octet-stream",
  "binary/octet-stream",
  "text/plain",
]);
const digestGrammar = /^([a-z0-9]+(?:[+._-][a-z0-9]+)*):[a-zA-Z0-9=_-]+$/;
const beginning = /^\s*(?:$|\{\s*(?:$|"))/;
const maxChildren = 10_000;

/** Whether it is the media type of a manifest or an index that clients use. */
export function isManifestMediaType(mediaType: string): boolean {
  return knownTypes.has(mediaType);
}

/** Whether content that begins like this may be a manifest: it is a JSON object. */
export function mayBeManifest(bytes: Uint8Array): boolean {
  return beginning.test(Buffer.from(bytes.subarray(0, 64)).toString("latin1"));
}

/**
 * Reads a manifest or an index (image-spec, manifest.md and image-index.md; Docker's schema 2 equals them).
 *
 * A document is read as one thing only (CVE-2021-41190): one with the fields of both kinds is refused, and so is one
 * whose own `mediaType`, or whose shape, contradicts the `Content-Type` it came with. A missing or generic
 * `Content-Type` counts as none. One that only other readers may read in another way is taken, and marked
 * (`isAmbiguous`). A descriptor with a digest of an algorithm that is not supported here is left out:
 * nobody can ask for it.
 *
 * @throws {OciError} MANIFEST_INVALID, with a message that says what is wrong
 */
export function parseManifest(bytes: Uint8Array, contentType: string | undefined): Manifest {
  const whole = readDocument(bytes);
  const document = whole.fields;
  const sent = (contentType ?? "").split(";", 1).join("").trim().toLowerCase();
  const own = optionalString(document, "mediaType");
  if (document.schemaVersion === 1 || schema1MediaType.test(sent) || schema1MediaType.test(own ?? "")) {
    throw invalid(
      "this is a Docker schema 1 manifest, which is not supported; push the image again with a current client",
    );
  }
  const specific = genericMediaTypes.has(sent) ? undefined : sent;
  if (specific !== undefined && own !== undefined && own !== specific) {
    const shown = knownTypes.has(own) ? `${quote(own)} ` : "";
    throw invalid(`its mediaType ${shown}is not its Content-Type ${quote(specific)}`);
  }
  const shape = readShape(document);
  const mediaType = specific ?? own ?? shape.mediaType;
  if (!manifestMediaType.test(mediaType)) {
    throw invalid("its type is not the media type of a manifest");
  }
  const known = knownTypes.get(mediaType);
  if ((known ?? shape).kind !== shape.kind) {
    throw invalid(`it has the fields of an ${shape.kind}, which is not what ${quote(mediaType)} stands for`);
  }
  // Artifact manifests never had a schemaVersion.
  if (
    document.schemaVersion !== 2 &&
    !(document.schemaVersion === undefined && shape.mediaType === artifactMediaType)
  ) {
    throw invalid("its schemaVersion is not 2");
  }
  const entries = readEntries(document, shape.kind);
  const ambiguous = isAmbiguous(whole, known?.content);
  const required = shape.kind === "index" || ambiguous ? [] : entries.filter((entry) => !isElsewhere(entry));
  return {
    mediaType,
    kind: shape.kind,
    children: uniqueDescriptors(entries),
    required: uniqueDescriptors(required),
    isAmbiguous: ambiguous,
    subject: uniqueDescriptors(readField(document, "subject"))[0],
    config: shape.kind === "image" ? uniqueDescriptors(readField(document, "config"))[0] : undefined,
    artifactType: optionalString(document, "artifactType"),
    annotations: optionalAnnotations(document),
    manifests: shape.kind === "index" ? entries : [],
    names: whole.names,
  };
}

function readDocument(bytes: Uint8Array): JsonDocument {
  if (bytes.length > maxManifestBytes) {
    throw invalid(`it has more than ${maxManifestBytes} bytes`);
  }
  try {
    return parseDocument(bytes, maxManifestNames);
  } catch (error) {
    if (!(error instanceof DocumentError)) {
      throw error;
    }
    throw invalid(error.message);
  }
}

/** Which kind a document is by its fields, and the media type that fits it where none is given. */
function readShape(document: Json): { readonly kind: Manifest["kind"]; readonly mediaType: string } {
  // Go's decoder, which most clients use, takes a field's name in any case.
  const fields = new Set(Object.keys(document).map(foldName));
  const isImage = fields.has("config") || fields.has("layers");
  if (fields.has("manifests")) {
    if (isImage) {
      throw invalid("it is both an index (manifests) and an image (config, layers)");
    }
    return { kind: "index", mediaType: indexMediaType };
  }
  if (isImage) {
    return { kind: "image", mediaType: imageMediaType };
  }
  if (fields.has("blobs") || document.mediaType === artifactMediaType) {
    return { kind: "image", mediaType: artifactMediaType };
  }
  throw invalid("it is neither an index (manifests) nor an image (config, layers)");
}

function readEntries(document: Json, kind: Manifest["kind"]): ManifestEntry[] {
  if (kind === "index") {
    return readList(document, "manifests");
  }
  return [...readField(document, "config"), ...readList(document, "layers"), ...readList(document, "blobs")];
}

function readField(document: Json, name: string): ManifestEntry[] {
  const value = document[name] ?? undefined;
  return value === undefined ? [] : [value].filter((entry) => isUsable(entry, name));
}

function readList(document: Json, name: string): ManifestEntry[] {
  // Go writes an empty list as null.
  const list = document[name] ?? [];
  if (!Array.isArray(list)) {
    throw invalid(`its ${name} is not a list`);
  }
  if (list.length > maxChildren) {
    throw invalid(`its ${name} has more than ${maxChildren} entries`);
  }
  return list.filter((entry: unknown, index) => isUsable(entry, `${name}[${index}]`));
}

/**
 * Checks a descriptor (image-spec, descriptor.md). False: sound, but its digest's algorithm is not supported.
 *
 * @throws {OciError} MANIFEST_INVALID
 */
export function isUsable(entry: unknown, place: string): entry is ManifestEntry {
  if (!isObject(entry)) {
    throw invalid(`its ${place} is not a descriptor`);
  }
  const { mediaType, digest, size } = entry;
  if (typeof mediaType !== "string") {
    throw invalid(`its ${place} has no mediaType`);
  }
  if (typeof size !== "number" || !Number.isSafeInteger(size) || size < 0) {
    throw invalid(`its ${place} has a size that is not a number of bytes`);
  }
  optionalString(entry, "artifactType", place);
  optionalAnnotations(entry, place);
  if (typeof digest !== "string" || digest.length > 256) {
    throw invalid(`its ${place} has no valid digest`);
  }
  if (isDigest(digest)) {
    return true;
  }
  const algorithm = digestGrammar.exec(digest)?.[1];
  if (algorithm === undefined || algorithm === "sha256" || algorithm === "sha512") {
    throw invalid(`its ${place} has no valid digest`);
  }
  return false;
}

/** Whether a layer need not be in the registry (image-spec, layer.md, "Non-Distributable Layers"). */
function isElsewhere(entry: ManifestEntry): boolean {
  return (entry["urls"] ?? undefined) !== undefined || /\.(?:foreign|nondistributable)\./.test(entry.mediaType);
}

function uniqueDescriptors(entries: readonly ManifestEntry[]): Descriptor[] {
  const byDigest = new Map<string, Descriptor>();
  for (const { mediaType, digest, size } of entries) {
    if (!byDigest.has(digest)) {
      byDigest.set(digest, { mediaType, digest, size });
    }
  }
  return [...byDigest.values()];
}

function optionalString(object: Json, name: string, place?: string): string | undefined {
  const value = object[name] ?? undefined;
  if (value !== undefined && typeof value !== "string") {
    throw invalid(`its ${place === undefined ? name : `${place}.${name}`} is not a string`);
  }
  return value === "" ? undefined : value;
}

function optionalAnnotations(object: Json, place?: string): Readonly<Record<string, string>> | undefined {
  const value = object.annotations ?? undefined;
  if (value === undefined) {
    return undefined;
  }
  if (!isObject(value) || !Object.values(value).every((text) => typeof text === "string")) {
    throw invalid(`its ${place === undefined ? "annotations" : `${place}.annotations`} are not strings by name`);
  }
  return value as Readonly<Record<string, string>>;
}

function quote(text: string): string {
  return JSON.stringify(text.slice(0, 128));
}

/** @param reason Quotes nothing of the document but what is known: it goes into the log. */
function invalid(reason: string): OciError {
  return new OciError("MANIFEST_INVALID", `the manifest cannot be used: ${reason}`);
}
