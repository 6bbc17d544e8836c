import { createHash, randomBytes } from "node:crypto";
import { closeSync, mkdirSync, openSync, renameSync, truncateSync, writeFileSync, writeSync } from "node:fs";
import { join } from "node:path";

/** The repository that everything is in. */
export const repository = "library/bench";
export const manifestMediaType = "application/vnd.oci.image.manifest.v1+json";

/** A blob that the upstream and nginx serve. */
export interface Blob {
  readonly digest: string;
  readonly sizeBytes: number;
  /** The path of its URL. */
  readonly path: string;
}

/** An image: a manifest with a tag, and its blobs, the config first. */
export interface Image {
  readonly tag: string;
  readonly manifestDigest: string;
  readonly manifestPath: string;
  readonly manifestBytes: number;
  readonly blobs: readonly Blob[];
}

/**
 * The files that are served: a tree whose paths are those of the URLs, so that nginx serves it as it lies there and the
 * upstream needs no list.
 */
export class ContentTree {
  readonly root: string;
  readonly #blobs: string;
  readonly #manifests: string;

  constructor(root: string) {
    this.root = root;
    this.#blobs = join(root, "v2", repository, "blobs");
    this.#manifests = join(root, "v2", repository, "manifests");
    mkdirSync(this.#blobs, { recursive: true });
    mkdirSync(this.#manifests, { recursive: true });
  }

  /** Makes a blob that no other is equal to. */
  addBlob(sizeBytes: number): Blob {
    const hash = createHash("sha256");
    const staged = join(this.root, "staged");
    const file = openSync(staged, "w");
    const block = randomBytes(4 * 1024 * 1024);
    for (let written = 0; written < sizeBytes; written += block.length) {
      block.writeDoubleLE(written, 0);
      const part = block.subarray(0, Math.min(block.length, sizeBytes - written));
      hash.update(part);
      writeSync(file, part);
    }
    closeSync(file);
    return this.#place(staged, hash.digest("hex"), sizeBytes);
  }

  /** Makes a blob of zeros but for its first bytes, which takes no room on most disks. */
  addSparseBlob(sizeBytes: number): Blob {
    const hash = createHash("sha256");
    const staged = join(this.root, "staged");
    const first = randomBytes(64);
    writeFileSync(staged, first);
    truncateSync(staged, sizeBytes);
    hash.update(first);
    const zeros = Buffer.alloc(4 * 1024 * 1024);
    for (let hashed = first.length; hashed < sizeBytes; hashed += zeros.length) {
      hash.update(zeros.subarray(0, sizeBytes - hashed));
    }
    return this.#place(staged, hash.digest("hex"), sizeBytes);
  }

  /** Makes an image with layers of these sizes. */
  addImage(tag: string, layerBytes: readonly number[]): Image {
    const config = this.addBlob(4096);
    const layers = layerBytes.map((size) => this.addBlob(size));
    const describe = (blob: Blob, mediaType: string): object => ({
      mediaType,
      digest: blob.digest,
      size: blob.sizeBytes,
    });
    const manifest = JSON.stringify({
      schemaVersion: 2,
      mediaType: manifestMediaType,
      config: describe(config, "application/vnd.oci.image.config.v1+json"),
      layers: layers.map((layer) => describe(layer, "application/vnd.oci.image.layer.v1.tar+gzip")),
    });
    const manifestDigest = `sha256:${createHash("sha256").update(manifest).digest("hex")}`;
    for (const name of [tag, manifestDigest]) writeFileSync(join(this.#manifests, name), manifest);
    return {
      tag,
      manifestDigest,
      manifestPath: `/v2/${repository}/manifests/${tag}`,
      manifestBytes: manifest.length,
      blobs: [config, ...layers],
    };
  }
  #place(staged: string, hex: string, sizeBytes: number): Blob {
    const digest = `sha256:${hex}`;
    renameSync(staged, join(this.#blobs, digest));
    return { digest, sizeBytes, path: `/v2/${repository}/blobs/${digest}` };
  }
}
