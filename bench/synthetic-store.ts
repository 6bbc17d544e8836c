import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import type { Digest } from "../src/oci/digest.ts";
import { digestOf } from "../src/oci/digest.ts";
import type { Namespace, Repository, Tag } from "../src/oci/reference.ts";
import type { RepositoryId } from "../src/store/layout.ts";
import { format } from "../src/store/root.ts";
import { manifestMediaType } from "./content.ts";
import type { Ask } from "./open-loop.ts";

/** The registries that the repositories are of, in turn. */
export const namespaces: readonly string[] = ["docker.io", "ghcr.io", "quay.io"];
const indexMediaType = "application/vnd.oci.image.index.v1+json";
export const tag: Tag = "latest" as Tag;

const configMediaType = "application/vnd.oci.image.config.v1+json";
const layerMediaType = "application/vnd.oci.image.layer.v1.tar+gzip";
const platforms = ["amd64", "arm64"];
/** The layers of an image that are in no other one. */
const ownLayers = 10;
/** An index, and for each platform a manifest, a config and layers. */
const blobsPerRepository = 1 + platforms.length * (2 + ownLayers);
/** Layers that many images share. */
const baseLayers = 64;
const writers = 2;

/** Something of a repository: content with what links to it say. */
export interface Item {
  readonly digest: Digest;
  readonly mediaType: string;
  readonly bytes: Uint8Array;
}

/** A repository of the store: its blobs are its own but for two. */
export interface SyntheticRepository {
  readonly id: RepositoryId;
  /** The index that the tag stands for, then the image manifests. */
  readonly manifests: readonly [Item, ...Item[]];
  readonly blobs: readonly Item[];
  /** Base layers that it links to. */
  readonly shared: readonly Item[];
}

/** What a writer of the store is started with. */
export interface WriterData {
  readonly root: string;
  readonly from: number;
  readonly to: number;
  readonly repositories: number;
}

/** How many repositories a store of that many blobs has. */
export function repositoriesOf(blobs: number): number {
  return Math.max(1, Math.floor(blobs / blobsPerRepository));
}

/** When what a repository holds was used last, in seconds since 1970: the first is the oldest, the last a day old. */
export function usedAt(index: number, repositories: number): number {
  const daySeconds = 86_400;
  const spread = (8 * daySeconds * (repositories - index)) / repositories;
  return Date.now() / 1000 - daySeconds - spread;
}

/** A repository by its number: the same one in every process, so that nobody has to keep a list. */
export function describeRepository(index: number): SyntheticRepository {
  const name = `team-${index % 100}/image-${index}`;
  const shared = platforms.map((_, platform) => baseLayer((index * 7 + platform) % baseLayers));
  const blobs: Item[] = [];
  const images = platforms.map((architecture, platform) => {
    const config = item(configMediaType, Buffer.from(JSON.stringify({ architecture, os: "linux", image: name })));
    const layers = Array.from({ length: ownLayers }, (_, layer) => layerOf(`${index} ${platform} ${layer}`));
    blobs.push(config, ...layers);
    const all = [...shared.slice(platform, platform + 1), ...layers];
    const manifest = {
      schemaVersion: 2,
      mediaType: manifestMediaType,
      config: describe(config),
      layers: all.map(describe),
    };
    return item(manifestMediaType, Buffer.from(JSON.stringify(manifest)));
  });
  const list = images.map((image, platform) => ({
    ...describe(image),
    platform: { architecture: platforms[platform], os: "linux" },
  }));
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: indexMediaType, manifests: list }));
  const namespace = (namespaces[index % namespaces.length] ?? "") as Namespace;
  return {
    id: { namespace, repository: name as Repository },
    manifests: [item(indexMediaType, bytes), ...images],
    blobs,
    shared,
  };
}

/** A base layer by its number. */
function baseLayer(index: number): Item {
  return layerOf(`base ${index}`);
}

/** All base layers. */
export function allBaseLayers(): Item[] {
  return Array.from({ length: baseLayers }, (_, index) => baseLayer(index));
}

/** A hit of the younger half, which eviction does not come to: a tag's manifest, one by its digest, or a blob. */
export function pickHit(repositories: number): Ask {
  const half = Math.floor(repositories / 2);
  const { id, manifests, blobs } = describeRepository(half + Math.floor(Math.random() * (repositories - half)));
  const path = `/v2/${id.repository}`;
  const namespace = `?ns=${id.namespace}`;
  const accept = manifests.map(({ mediaType }) => mediaType).join(", ");
  switch (Math.floor(Math.random() * 3)) {
    case 0:
      return { path: `${path}/manifests/${tag}${namespace}`, accept };
    case 1: {
      const manifest = manifests[Math.floor(Math.random() * manifests.length)] ?? manifests[0];
      return { path: `${path}/manifests/${manifest.digest}${namespace}`, accept };
    }
    default:
      return { path: `${path}/blobs/${blobs[Math.floor(Math.random() * blobs.length)]?.digest}${namespace}` };
  }
}

/**
 * Writes a store of about `blobs` blobs into the folder `root`, as the program would have left it, but for the ledger.
 * Its blobs have 64 to 511 bytes, and their digests.
 */
export async function writeSyntheticStore(root: string, blobs: number): Promise<void> {
  const repositories = repositoriesOf(blobs);
  for (let prefix = 0; prefix < 256; prefix++) {
    mkdirSync(join(root, "blobs/sha256", prefix.toString(16).padStart(2, "0")), { recursive: true });
  }
  writeFileSync(join(root, "format"), format);
  const bounds = Array.from({ length: writers + 1 }, (_, part) => Math.round((repositories * part) / writers));
  await Promise.all(
    bounds.slice(1).map(async (to, part) => {
      const workerData: WriterData = { root, from: bounds[part] ?? 0, to, repositories };
      const worker = new Worker(new URL("synthetic-store-writer.ts", import.meta.url), { workerData });
      const [code] = (await once(worker, "exit")) as [number];
      if (code !== 0) throw new Error("the store could not be written");
    }),
  );
}

function layerOf(name: string): Item {
  const hash = Buffer.from(digestOf(Buffer.from(name)).slice("sha256:".length), "hex");
  const size = 64 + (hash.readUInt16LE(0) % 448);
  const bytes = Buffer.alloc(size, hash);
  return item(layerMediaType, bytes);
}

function item(mediaType: string, bytes: Uint8Array): Item {
  return { digest: digestOf(bytes), mediaType, bytes };
}

function describe({ digest, mediaType, bytes }: Item): object {
  return { mediaType, digest, size: bytes.length };
}
