import type { Digest } from "../../../src/oci/digest.ts";
import { parseNamespace, parseRepository } from "../../../src/oci/reference.ts";
import type { WarmPlace } from "../../../src/jobs/warm-image.ts";
import { createFakeUpstream, type FakeUpstream } from "../../support/fake-upstream.ts";
import type { Barrier } from "../../support/barrier.ts";
import { buildImage, type BuiltImage, type ImageOptions } from "../../support/image.ts";

const unheard = new AbortController().signal;

/** A repository whose cache the test can look into: what was asked, what is stored, and how blobs fail. */
export interface FakePlace extends WarmPlace {
  readonly upstream: FakeUpstream;
  readonly stored: Set<Digest>;
  /** Blobs that cannot be had. */
  readonly broken: Map<Digest, Error>;
  /** Blobs wait here before their last byte. */
  hold: Barrier | undefined;
  /** How many blobs were on their way at the same time, at most. */
  readonly mostAtOnce: number;
  /** Adds an image under a tag. */
  addImage(tag: string, options?: ImageOptions): BuiltImage;
}

/** Makes a repository of `docker.io` with an empty cache; blobs come in two pieces. */
export function createFakePlace(name = "library/test"): FakePlace {
  const repository = parseRepository(name);
  const upstream = createFakeUpstream();
  const stored = new Set<Digest>();
  const broken = new Map<Digest, Error>();
  let running = 0;
  let mostAtOnce = 0;

  async function fetch(digest: Digest, received: (bytes: number) => void): Promise<number | undefined> {
    const blob = await upstream.blob(repository, digest, { offset: 0 }, { signal: unheard });
    if (blob === undefined) return undefined;
    const size = blob.sizeBytes ?? 0;
    received(Math.floor(size / 2));
    await place.hold?.wait();
    const failure = broken.get(digest);
    if (failure !== undefined) throw failure;
    received(size - Math.floor(size / 2));
    stored.add(digest);
    return size;
  }

  const place: FakePlace = {
    namespace: parseNamespace("docker.io"),
    repository,
    upstream,
    stored,
    broken,
    hold: undefined,
    get mostAtOnce() {
      return mostAtOnce;
    },
    addImage(tag, options = {}) {
      const image = buildImage({ seed: `${name}:${tag}`, ...options });
      for (const bytes of image.blobs.values()) upstream.addBlob(name, bytes);
      for (const { manifest } of image.platforms)
        upstream.addManifest(name, undefined, manifest.bytes, manifest.mediaType);
      upstream.addManifest(name, tag, image.root.bytes, image.root.mediaType);
      return image;
    },
    registry: {
      async manifest(_repository, reference) {
        const value = await upstream.manifest(repository, reference, { signal: unheard });
        return value && { value, cache: { hit: false, forward: "uri-miss" } };
      },
      async storeBlob(_repository, digest, received = () => undefined) {
        if (stored.has(digest)) return { value: 0, cache: { hit: true } };
        running += 1;
        mostAtOnce = Math.max(mostAtOnce, running);
        try {
          const value = await fetch(digest, received);
          return value === undefined ? undefined : { value, cache: { hit: false, forward: "uri-miss" } };
        } finally {
          running -= 1;
        }
      },
    },
  };
  return place;
}
