import { gzipSync } from "node:zlib";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { parseManifest } from "../../src/oci/manifest.ts";
import type { ManifestContent } from "../../src/registry/registry.ts";
import { pseudoRandomBytes } from "./content.ts";

/** The media types that the tests use. */
export const mediaTypes = {
  manifest: "application/vnd.oci.image.manifest.v1+json",
  index: "application/vnd.oci.image.index.v1+json",
  config: "application/vnd.oci.image.config.v1+json",
  layer: "application/vnd.oci.image.layer.v1.tar+gzip",
  empty: "application/vnd.oci.empty.v1+json",
} as const;

/** A manifest of a built image, with the exact bytes. */
export interface BuiltManifest {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly bytes: Buffer;
}

/** One platform's image: its manifest and what the manifest lists, by digest. */
export interface BuiltPlatform {
  readonly architecture: string;
  readonly manifest: BuiltManifest;
  readonly config: Digest;
  readonly layers: readonly Digest[];
}

/** An image that real clients can pull: real `tar+gzip` layers, one manifest a platform, an index for several. */
export interface BuiltImage {
  /** What the tag stands for: the index, or the only manifest. */
  readonly root: BuiltManifest;
  readonly platforms: readonly BuiltPlatform[];
  /** Configurations and layers of all platforms. */
  readonly blobs: ReadonlyMap<Digest, Buffer>;
}

/** What an image should be like. */
export interface ImageOptions {
  /** Layers of each platform; 2. */
  readonly layers?: number;
  /** About how large a layer is; 2048. */
  readonly layerBytes?: number;
  /** How many platforms, in the order amd64, arm64, s390x, ppc64le; with 1 there is no index. */
  readonly platforms?: number;
  /** Another seed gives other bytes everywhere. */
  readonly seed?: string;
}

/** A manifest as a mirror has it: with its descriptor, and parsed. */
export function manifestContent(bytes: Buffer, mediaType: string): ManifestContent {
  const descriptor = { mediaType, digest: digestOf(bytes), size: bytes.length };
  return { descriptor, bytes, parsed: parseManifest(bytes, mediaType) };
}

const architectures = ["amd64", "arm64", "s390x", "ppc64le"];

/** Builds an image; the same options give the same bytes. */
export function buildImage(options: ImageOptions = {}): BuiltImage {
  const { layers = 2, layerBytes = 2048, platforms = 1, seed = "image" } = options;
  const blobs = new Map<Digest, Buffer>();
  const built = architectures
    .slice(0, platforms)
    .map((architecture) => buildPlatform(architecture, layers, layerBytes, seed, blobs));
  const [first] = built;
  if (first === undefined || built.length !== platforms) {
    throw new RangeError(`an image has 1 to ${architectures.length} platforms`);
  }
  if (platforms === 1) {
    return { root: first.manifest, platforms: built, blobs };
  }
  const index = {
    schemaVersion: 2,
    mediaType: mediaTypes.index,
    manifests: built.map(({ architecture, manifest }) => ({
      mediaType: manifest.mediaType,
      digest: manifest.digest,
      size: manifest.bytes.length,
      platform: { architecture, os: "linux" },
    })),
  };
  return { root: manifestOf(index, mediaTypes.index), platforms: built, blobs };
}

function buildPlatform(
  architecture: string,
  layers: number,
  layerBytes: number,
  seed: string,
  blobs: Map<Digest, Buffer>,
): BuiltPlatform {
  const archives = Array.from({ length: layers }, (_, index) => {
    const name = `layer-${index}`;
    return tarOf(name, pseudoRandomBytes(layerBytes, `${seed} ${architecture} ${index}`));
  });
  const compressed = archives.map((archive) => gzipSync(archive, { level: 1 }));
  const config = Buffer.from(
    JSON.stringify({
      architecture,
      os: "linux",
      config: { Cmd: ["/layer-0"], Labels: { seed } },
      rootfs: { type: "layers", diff_ids: archives.map((archive) => digestOf(archive)) },
      history: archives.map((_, index) => ({ created_by: `layer ${index}` })),
    }),
  );
  for (const bytes of [config, ...compressed]) {
    blobs.set(digestOf(bytes), bytes);
  }
  const manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    config: { mediaType: mediaTypes.config, digest: digestOf(config), size: config.length },
    layers: compressed.map((bytes) => ({ mediaType: mediaTypes.layer, digest: digestOf(bytes), size: bytes.length })),
  };
  return {
    architecture,
    manifest: manifestOf(manifest, mediaTypes.manifest),
    config: digestOf(config),
    layers: compressed.map((bytes) => digestOf(bytes)),
  };
}

/** Builds an artifact that refers to a manifest (image-spec, "Guidelines for Artifact Usage"): without a platform, with one layer. */
export function buildReferrer(subject: BuiltManifest, artifactType: string, seed = "referrer"): BuiltImage {
  const [config, layer] = [Buffer.from("{}"), Buffer.from(seed)];
  const descriptorOf = (mediaType: string, bytes: Buffer): object => ({
    mediaType,
    digest: digestOf(bytes),
    size: bytes.length,
  });
  const manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    artifactType,
    config: descriptorOf(mediaTypes.empty, config),
    layers: [descriptorOf("text/plain", layer)],
    subject: descriptorOf(subject.mediaType, subject.bytes),
  };
  const blobs = new Map([config, layer].map((bytes) => [digestOf(bytes), bytes]));
  return { root: manifestOf(manifest, mediaTypes.manifest), platforms: [], blobs };
}

function manifestOf(document: object, mediaType: string): BuiltManifest {
  const bytes = Buffer.from(JSON.stringify(document));
  return { digest: digestOf(bytes), mediaType, bytes };
}

/** An archive (POSIX ustar) of one file that anybody may read. */
function tarOf(name: string, bytes: Buffer): Buffer {
  const header = Buffer.alloc(512);
  header.write(name, 0);
  header.write("0000644\0", 100);
  header.write("0000000\0", 108);
  header.write("0000000\0", 116);
  header.write(`${bytes.length.toString(8).padStart(11, "0")}\0`, 124);
  header.write("00000000000\0", 136);
  header.write("        ", 148);
  header.write("0", 156);
  header.write("ustar\u000000", 257);
  const checksum = header.reduce((sum, byte) => sum + byte, 0);
  header.write(`${checksum.toString(8).padStart(6, "0")}\0 `, 148);
  const padding = Buffer.alloc((512 - (bytes.length % 512)) % 512);
  return Buffer.concat([header, bytes, padding, Buffer.alloc(1024)]);
}
