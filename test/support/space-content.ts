import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { pseudoRandomBytes } from "./content.ts";
import { mediaTypes } from "./image.ts";
import { createUpstream, type ScriptedUpstream } from "./upstream.ts";

/** A repository with the registry that has it: `docker.io/library/a`. */
export interface SpaceRepository {
  readonly namespace: string;
  readonly name: string;
  readonly full: string;
}

/** An image by its tag, with all that it refers to. */
export interface SpaceImage {
  readonly repository: SpaceRepository;
  readonly tag: string;
  readonly digest: Digest;
  readonly blobs: readonly Digest[];
}

/** Two registries that have some blobs in common. */
export interface SpaceContent extends AsyncDisposable {
  readonly upstreams: ReadonlyMap<string, ScriptedUpstream>;
  readonly images: readonly SpaceImage[];
  /** What each manifest refers to. */
  readonly children: ReadonlyMap<Digest, readonly Digest[]>;
}

/** A manifest with everything below it. */
export function reachOf(children: SpaceContent["children"], digest: Digest): Digest[] {
  const reached = new Set([digest]);
  for (const each of reached) for (const child of children.get(each) ?? []) reached.add(child);
  return [...reached];
}

const kilobyte = 1024;
const layerBytes = [2, 20, 60, 110].map((size) => size * kilobyte);
const repositories = ["docker.io/library/a", "docker.io/library/b", "quay.io/team/app"].map((full): SpaceRepository => {
  const slash = full.indexOf("/");
  return { namespace: full.slice(0, slash), name: full.slice(slash + 1), full };
});

/** Starts the registries, with images of one to three layers and indexes of two images. */
export async function createSpaceContent(): Promise<SpaceContent> {
  const upstreams = new Map<string, ScriptedUpstream>();
  for (const namespace of ["docker.io", "quay.io"]) upstreams.set(namespace, await createUpstream());
  const children = new Map<Digest, readonly Digest[]>();
  const images: SpaceImage[] = [];
  const shared = [40, 90].map((size) => pseudoRandomBytes(size * kilobyte, `shared ${size}`));
  for (const repository of repositories) {
    const upstream = upstreams.get(repository.namespace);
    if (upstream === undefined) throw new Error("a repository of no registry");
    const addImage = (tag: string | undefined, seed: string, layers: readonly Buffer[]): Digest => {
      const config = Buffer.from(JSON.stringify({ architecture: "amd64", os: "linux", config: { Labels: { seed } } }));
      const add = (bytes: Buffer, mediaType: string): object => ({
        mediaType,
        digest: upstream.addBlob(bytes, { repository: repository.name }),
        size: bytes.length,
      });
      const digest = upstream.addManifest(repository.name, tag, {
        schemaVersion: 2,
        mediaType: mediaTypes.manifest,
        config: add(config, mediaTypes.config),
        layers: layers.map((bytes) => add(bytes, mediaTypes.layer)),
      });
      children.set(
        digest,
        [config, ...layers].map((bytes) => digestOf(bytes)),
      );
      return digest;
    };
    const layersOf = (name: string, count: number): Buffer[] =>
      Array.from({ length: count }, (_, index) => {
        const common = shared[index];
        if (common !== undefined && index === count - 1) return common;
        return pseudoRandomBytes(layerBytes[(index + name.length) % layerBytes.length] ?? 0, `${name} ${index}`);
      });
    const push = (tag: string, digest: Digest): void => {
      const blobs = reachOf(children, digest).filter((each) => !children.has(each));
      images.push({ repository, tag, digest, blobs });
    };
    for (const count of [1, 2, 3]) {
      const tag = `t${count}`;
      push(tag, addImage(tag, `${repository.full} ${tag}`, layersOf(`${repository.full} ${tag}`, count)));
    }
    const platforms = [1, 2].map((count) =>
      addImage(undefined, `${repository.full} platform ${count}`, layersOf(`${repository.full} p ${count}`, 2)),
    );
    const index = upstream.addManifest(repository.name, "multi", {
      schemaVersion: 2,
      mediaType: mediaTypes.index,
      manifests: platforms.map((digest) => ({ mediaType: mediaTypes.manifest, digest, size: 1 })),
    });
    children.set(index, platforms);
    push("multi", index);
  }
  return {
    upstreams,
    images,
    children,
    async [Symbol.asyncDispose]() {
      for (const upstream of upstreams.values()) await upstream[Symbol.asyncDispose]();
    },
  };
}
