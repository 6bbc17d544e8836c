import assert from "node:assert/strict";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { mediaTypes } from "./image.ts";
import type { Mirror } from "./mirror.ts";
import type { ScriptedUpstream } from "./upstream.ts";

/** An image of one platform in an upstream, whose layers are any bytes. */
export interface PlainImage {
  readonly tag: string;
  readonly digest: Digest;
  /** The config, then the layers. */
  readonly blobs: readonly { readonly digest: Digest; readonly bytes: Buffer }[];
}

/** Adds an image with these layers to `library/test`. */
export function addPlainImage(upstream: ScriptedUpstream, tag: string, ...layers: readonly Buffer[]): PlainImage {
  const blobs = [Buffer.from(`{"tag":"${tag}"}`), ...layers].map((bytes) => ({
    digest: upstream.addBlob(bytes, { repository: "library/test" }),
    bytes,
  }));
  const [config, ...others] = blobs.map(({ digest, bytes: { length: size } }) => ({ digest, size }));
  const digest = upstream.addManifest("library/test", tag, {
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    config: { mediaType: mediaTypes.config, ...config },
    layers: others.map((layer) => ({ mediaType: mediaTypes.layer, ...layer })),
  });
  return { tag, digest, blobs };
}

/**
 * Pulls a whole image as a client does; answers must be right, or this fails.
 *
 * @returns the answers' `Cache-Status`.
 */
export async function pullPlainImage(mirror: Mirror, { tag, digest: root, blobs }: PlainImage): Promise<string[]> {
  const manifest = await mirror.get(`/v2/library/test/manifests/${tag}`);
  assert.equal(manifest.status, 200);
  assert.equal(digestOf(manifest.body), root);
  const from = [String(manifest.headers["cache-status"])];
  for (const { digest, bytes } of blobs) {
    const { status, body, headers } = await mirror.get(`/v2/library/test/blobs/${digest}`);
    assert.equal(status, 200);
    assert.ok(body.equals(bytes));
    from.push(String(headers["cache-status"]));
  }
  return from;
}
