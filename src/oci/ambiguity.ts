import { isObject, type Json, type JsonDocument, repeatsNames } from "./document.ts";

/** What lists content in a manifest of one kind or another, schema 1 and the old artifact manifest included. */
const contentNames = ["config", "layers", "blobs", "manifests", "fsLayers"] as const;

/** A field that lists content. */
export type ContentName = (typeof contentNames)[number];

/** Names that mean something to a reader of manifests. */
const manifestNames = byFold([
  ...contentNames,
  "schemaVersion",
  "mediaType",
  "artifactType",
  "subject",
  "annotations",
  "history",
  "signatures",
]);
/** Names that mean something to a reader of descriptors. */
const descriptorNames = byFold([
  "mediaType",
  "digest",
  "size",
  "urls",
  "data",
  "artifactType",
  "platform",
  "annotations",
]);

/**
 * Whether another reader may take a manifest to say something else than we do: it then proves nothing, least of all
 * what a registry has checked when it took it. Parsers disagree on which of two equal names counts, and Go's, which most
 * registries use, takes names in any case, `ſ` for `s` and the Kelvin sign for `k` included; and which fields count may be
 * decided by the media type, or by what is there.
 *
 * @param own The fields that list content in a manifest of its media type; `undefined` for a type that is not known.
 */
export function isAmbiguous(document: JsonDocument, own: readonly ContentName[] | undefined): boolean {
  const { fields } = document;
  if (own === undefined || repeatsNames(document) || hasVariant(fields, manifestNames)) return true;
  if (contentNames.some((name) => Object.hasOwn(fields, name) && !own.includes(name))) return true;
  const descriptors = [...own, "subject"].flatMap((name) => fields[name] ?? []);
  return descriptors.some((descriptor) => isObject(descriptor) && hasVariant(descriptor, descriptorNames));
}

/** A name as readers compare it that do not care for case: at least the names that any of them takes to be equal are. */
export function foldName(name: string): string {
  return name.toUpperCase().toLowerCase();
}

/** Whether an object has a name that is one of `names`, and written in another way. */
function hasVariant(object: Json, names: ReadonlyMap<string, string>): boolean {
  return Object.keys(object).some((name) => (names.get(foldName(name)) ?? name) !== name);
}

function byFold(names: readonly string[]): ReadonlyMap<string, string> {
  return new Map(names.map((name) => [foldName(name), name]));
}
