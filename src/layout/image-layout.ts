import { algorithmOf, type Digest, hexOf } from "../oci/digest.ts";
import { DocumentError, parseDocument } from "../oci/document.ts";
import type { Key } from "../store/object-store.ts";
import { readWhole } from "../store/read-whole.ts";
import { type LayoutFiles, within } from "./files.ts";
import { LayoutError, type LayoutIndex, maxIndexBytes, readIndexDocument } from "./index-document.ts";

/** What an OCI image layout is known by (image-spec, image-layout.md). */
export const indexName = "index.json";
/** The file that says that a folder is a layout. */
export const layoutName = "oci-layout";
/** The folder that holds the content. */
export const blobsName = "blobs";

/** Where a layout in this folder has its content of this digest. */
export function layoutBlobKey(folder: string, digest: Digest): Key {
  return within(folder, `${blobsName}/${algorithmOf(digest)}/${hexOf(digest)}`);
}

/**
 * Reads the `index.json` of the layout in a folder; `undefined` where there is none.
 *
 * @throws {LayoutError} it cannot be used.
 * @throws {StoreError} it cannot be read.
 */
export async function readLayout(files: LayoutFiles, folder: string): Promise<LayoutIndex | undefined> {
  const object = await files.get(within(folder, indexName));
  if (object === undefined) return undefined;
  const bytes = await readWhole(object, maxIndexBytes);
  if (bytes === undefined) throw new LayoutError(`its ${indexName} has more than ${maxIndexBytes} bytes`);
  return readIndexDocument(bytes);
}

/**
 * Sees that what lies in a folder is a layout of the version that is known.
 *
 * @throws {LayoutError} it is of another version, or `oci-layout` cannot be used.
 * @throws {StoreError}
 */
export async function assertVersion(files: LayoutFiles, folder: string): Promise<void> {
  const object = await files.get(within(folder, layoutName));
  // Some programs write none, and what they mean is clear.
  if (object === undefined) return;
  const bytes = await readWhole(object, maxVersionBytes);
  const version = bytes && versionOf(bytes);
  if (version === "1.0.0") return;
  throw new LayoutError(
    version === undefined
      ? `its ${layoutName} is not JSON with an imageLayoutVersion`
      : `it is a layout of version ${JSON.stringify(version.slice(0, 32))}, and 1.0.0 is known here`,
  );
}

const maxVersionBytes = 4_096;

function versionOf(bytes: Uint8Array): string | undefined {
  try {
    const { imageLayoutVersion } = parseDocument(bytes, 100).fields;
    return typeof imageLayoutVersion === "string" ? imageLayoutVersion : undefined;
  } catch (error) {
    if (error instanceof DocumentError) return undefined;
    throw error;
  }
}
