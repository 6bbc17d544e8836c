import { isObject } from "../oci/document.ts";
import { indexMediaType, type ManifestEntry } from "../oci/manifest.ts";
import type { Tag } from "../oci/reference.ts";
import { LayoutError, maxIndexBytes, nameOf, readFields, refNameAnnotation } from "./index-document.ts";

/**
 * Adds an entry to a layout's `index.json`. Whatever else stands there stays as it is, but for the entry that had this tag;
 * another tag of the same digest keeps its own, and an entry without a tag is added once.
 *
 * @param before The document as it is; `undefined` for a layout that is new.
 * @throws {LayoutError} what is there cannot be read, or would get too large: nothing of it may be lost.
 */
export function mergeIndex(before: Uint8Array | undefined, descriptor: ManifestEntry, tag: Tag | undefined): Buffer {
  const fields = before === undefined ? {} : readFields(before);
  const list: unknown = fields["manifests"] ?? [];
  if (!Array.isArray(list)) throw new LayoutError("its manifests are not a list");
  const { annotations, ...plain } = descriptor;
  const { [refNameAnnotation]: _name, ...kept } = annotations ?? {};
  const named = tag === undefined ? kept : { ...kept, [refNameAnnotation]: tag };
  const entry = { ...plain, ...(Object.keys(named).length > 0 && { annotations: named }) };
  const isReplaced = (each: unknown): boolean => {
    if (!isObject(each)) return false;
    const name = nameOf(each);
    if (tag === undefined) return each["digest"] === descriptor.digest && name === undefined;
    return name?.repository === undefined && name?.tag === tag;
  };
  const manifests = [...list.filter((each: unknown) => !isReplaced(each)), entry];
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: indexMediaType, ...fields, manifests }));
  if (bytes.length > maxIndexBytes) throw new LayoutError(`it would have more than ${maxIndexBytes} bytes`);
  return bytes;
}
