import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { layoutBlobKey } from "../../src/layout/image-layout.ts";
import { refNameAnnotation } from "../../src/layout/index-document.ts";
import type { Digest } from "../../src/oci/digest.ts";
import { mediaTypes } from "./image.ts";

/** Content that is put into a layout. */
export interface LayoutContent {
  readonly digest: Digest;
  readonly bytes: Buffer;
}

/** What stands in a layout's index.json. */
export interface WrittenEntry extends LayoutContent {
  readonly mediaType: string;
  readonly tag?: string | undefined;
  readonly annotations?: Readonly<Record<string, string>>;
}

/** The descriptor of an entry, as it stands in an index. */
export function descriptorOf({ digest, bytes, mediaType, tag, annotations }: WrittenEntry): Record<string, unknown> {
  const named = { ...annotations, ...(tag !== undefined && { [refNameAnnotation]: tag }) };
  return {
    mediaType,
    digest,
    size: bytes.length,
    ...(Object.keys(named).length > 0 && { annotations: named }),
  };
}

/** Adds to the OCI image layout in a folder, which is made where there is none. Its index.json is replaced whole, at the end. */
export async function addToLayout(
  folder: string,
  entries: readonly WrittenEntry[],
  blobs: readonly LayoutContent[] = [],
): Promise<void> {
  for (const { digest, bytes } of [...entries, ...blobs]) await write(join(folder, layoutBlobKey("", digest)), bytes);
  await write(join(folder, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  const before = await readFile(join(folder, "index.json"), "utf8").catch(() => '{"manifests":[]}');
  const { manifests } = JSON.parse(before) as { manifests: unknown[] };
  await writeIndex(folder, [...manifests, ...entries.map((entry) => descriptorOf(entry))]);
}

/** Replaces a layout's index.json. */
export async function writeIndex(folder: string, manifests: unknown): Promise<void> {
  const document = { schemaVersion: 2, mediaType: mediaTypes.index, manifests };
  await write(join(folder, "index.json.new"), JSON.stringify(document));
  await rename(join(folder, "index.json.new"), join(folder, "index.json"));
}

async function write(path: string, bytes: Uint8Array | string): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  await writeFile(path, bytes);
}
