import type { NewManifest, Repositories } from "../../src/hosted/repositories.ts";
import type { Descriptor } from "../../src/oci/descriptor.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import type { Tag } from "../../src/oci/reference.ts";
import type { ManifestContent } from "../../src/registry/registry.ts";
import type { HostedBytes } from "../../src/hosted/bytes.ts";
import type { RepositoryId } from "../../src/store/layout.ts";
import { manifestContent, mediaTypes } from "./image.ts";

/** A repository of the namespace `apps`. */
export function repositoryId(repository: string): RepositoryId {
  return { namespace: "apps", repository } as RepositoryId;
}

/** A small blob. */
export interface Blob {
  readonly digest: Digest;
  readonly bytes: Buffer;
}

export function blobOf(text: string): Blob {
  const bytes = Buffer.from(text);
  return { digest: digestOf(bytes), bytes };
}

/** An image of these blobs, of which the first is its configuration. */
export function imageOf([config, ...layers]: readonly [Blob, ...Blob[]], more: object = {}): ManifestContent {
  return manifest(mediaTypes.manifest, {
    config: describe(mediaTypes.config, config),
    layers: layers.map((layer) => describe(mediaTypes.layer, layer)),
    ...more,
  });
}

/** What refers to a subject: an image of one blob. */
export function referrerOf({ descriptor: subject }: ManifestContent, blob: Blob, more: object = {}): ManifestContent {
  return imageOf([blob], { subject, ...more });
}

/** An index of these manifests. */
export function indexOf(manifests: readonly ManifestContent[], more: object = {}): ManifestContent {
  return manifest(mediaTypes.index, { manifests: manifests.map(({ descriptor }) => descriptor), ...more });
}

/** A manifest as it is pushed, with these tags, whatever they stand for. */
export function pushOf(content: ManifestContent, ...tags: readonly string[]): NewManifest {
  return { ...content, tags: tags as readonly Tag[], admitTag: () => undefined, isSparse: false };
}

/** Pushes blobs as a client does that has the bytes of each. */
export async function pushBlobs(
  { repositories, bytes }: { readonly repositories: Repositories; readonly bytes: HostedBytes },
  id: RepositoryId,
  blobs: readonly Blob[],
): Promise<void> {
  for (const blob of blobs) {
    await bytes.put(blob.digest, blob.bytes);
    if (!(await repositories.addBlob(id, blob.digest, blob.bytes.length))) throw new Error(`${blob.digest} is gone`);
  }
}

function manifest(mediaType: string, fields: object): ManifestContent {
  return manifestContent(Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, ...fields })), mediaType);
}

function describe(mediaType: string, { digest, bytes }: Blob): Descriptor {
  return { mediaType, digest, size: bytes.length };
}
