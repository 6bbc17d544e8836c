import { type Digest, digestOf } from "../../src/oci/digest.ts";
import type { Reference } from "../../src/oci/reference.ts";
import type {
  DoubtfulLabel,
  Upstream,
  UpstreamBlobInfo,
  UpstreamManifest,
  UpstreamPage,
} from "../../src/upstream/upstream.ts";
import type { Barrier } from "./barrier.ts";
import { manifestContent, mediaTypes } from "./image.ts";

/** How a fake upstream sends a blob. All that is not named is as it should be. */
export interface BlobScript {
  /** What is announced as the size; `undefined` for an upstream that does not say. */
  readonly sizeBytes?: number | undefined;
  /** What it is sent as. */
  readonly label?: DoubtfulLabel;
  /** 64 KiB. */
  readonly chunkBytes?: number;
  /** Where to stop and wait, by offset. */
  readonly pauses?: readonly { readonly at: number; readonly barrier: Barrier }[];
  /** Where the connection breaks, each time once, by offset, in order. */
  readonly breaks?: { readonly at: number; readonly error: Error }[];
}

/** An `Upstream` without a network: what it has, what it was asked, and how it misbehaves are the test's to say. */
export interface FakeUpstream extends Upstream {
  /** What was asked, in order: `blob library/a sha256:… 0`, `resolve library/a latest`. */
  readonly asked: string[];
  /** Every question waits here, after it was noted. */
  hold: Barrier | undefined;
  /** Every question fails with this. */
  failure: Error | undefined;
  /** How manifests are resolved: a HEAD tells all, or the digest alone; or the HEAD fails, and a GET decides. */
  resolving: "all" | "digest" | "get";
  /** Bodies that were begun and neither ended nor left. */
  readonly openBodies: number;
  addBlob(repository: string, bytes: Buffer, script?: BlobScript & { readonly digest?: Digest }): Digest;
  /** Adds a manifest, under its digest and the tag. */
  addManifest(repository: string, tag: string | undefined, document: object, mediaType?: string): UpstreamManifest;
  removeTag(repository: string, tag: string): void;
  /** Sets the page of a listing: `tags library/a n=5` or `referrers library/a sha256:… artifactType=x`. */
  setPage(request: string, document: UpstreamPage["document"], page?: Partial<UpstreamPage>): void;
}

/** Makes an upstream that has nothing. */
export function createFakeUpstream(): FakeUpstream {
  const asked: string[] = [];
  const blobs = new Map<string, { readonly bytes: Buffer; readonly script: BlobScript }>();
  const manifests = new Map<string, UpstreamManifest>();
  const pages = new Map<string, UpstreamPage>();
  let openBodies = 0;

  async function ask(question: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    asked.push(question);
    if (fake.hold !== undefined) await unlessAborted(fake.hold.wait(), signal);
    if (fake.failure !== undefined) throw fake.failure;
  }

  async function* send(
    bytes: Buffer,
    offset: number,
    { chunkBytes = 64 * 1024, pauses = [], breaks = [] }: BlobScript,
    signal: AbortSignal,
  ): AsyncGenerator<Buffer> {
    openBodies++;
    try {
      const stops = [...pauses.map(({ at }) => at), ...breaks.map(({ at }) => at)];
      for (let position = offset; ;) {
        for (const { at, barrier } of pauses) {
          if (at === position) await unlessAborted(barrier.wait(), signal);
        }
        if (breaks[0]?.at === position) throw breaks.shift()?.error ?? new Error("unreachable");
        signal.throwIfAborted();
        if (position >= bytes.length) return;
        const end = Math.min(position + chunkBytes, bytes.length, ...stops.filter((at) => at > position));
        yield Buffer.from(bytes.subarray(position, end));
        position = end;
      }
    } finally {
      openBodies--;
    }
  }

  const fake: FakeUpstream = {
    asked,
    hold: undefined,
    failure: undefined,
    resolving: "all",
    get openBodies() {
      return openBodies;
    },
    addBlob(repository, bytes, { digest = digestOf(bytes), ...script } = {}) {
      blobs.set(`${repository} ${digest}`, { bytes, script });
      return digest;
    },
    addManifest(repository, tag, document, mediaType = mediaTypes.manifest) {
      const bytes = Buffer.isBuffer(document) ? document : Buffer.from(JSON.stringify(document));
      const manifest = manifestContent(bytes, mediaType);
      manifests.set(`${repository} ${manifest.descriptor.digest}`, manifest);
      if (tag !== undefined) manifests.set(`${repository} ${tag}`, manifest);
      return manifest;
    },
    removeTag(repository, tag) {
      manifests.delete(`${repository} ${tag}`);
    },
    setPage(request, document, page = {}) {
      pages.set(request, { document, nextQuery: undefined, filtersApplied: undefined, ...page });
    },
    async resolve(repository, reference, { signal }) {
      await ask(`resolve ${repository} ${reference}`, signal);
      const manifest = manifests.get(`${repository} ${reference}`);
      if (manifest === undefined || fake.resolving === "get") return manifest;
      return fake.resolving === "all" ? manifest.descriptor : { digest: manifest.descriptor.digest };
    },
    async manifest(repository, reference: Reference, { signal }) {
      await ask(`manifest ${repository} ${reference}`, signal);
      return manifests.get(`${repository} ${reference}`);
    },
    async blob(repository, digest, { offset }, { signal }) {
      await ask(`blob ${repository} ${digest} ${offset}`, signal);
      const blob = blobs.get(`${repository} ${digest}`);
      if (blob === undefined) return undefined;
      const { bytes, script } = blob;
      return {
        ...announce(bytes, script),
        body: send(bytes, offset, script, signal),
        cancel: () => undefined,
      };
    },
    async statBlob(repository, digest, { signal }) {
      await ask(`stat ${repository} ${digest}`, signal);
      const blob = blobs.get(`${repository} ${digest}`);
      return blob && announce(blob.bytes, blob.script);
    },
    async tags(repository, query, { signal }) {
      await ask(`tags ${repository} ${query}`, signal);
      return pages.get(`tags ${repository} ${query}`);
    },
    async referrers(repository, subject, query, { signal }) {
      await ask(`referrers ${repository} ${subject} ${query}`, signal);
      return pages.get(`referrers ${repository} ${subject} ${query}`);
    },
    close: async () => undefined,
  };
  return fake;
}

function announce(bytes: Buffer, script: BlobScript): UpstreamBlobInfo {
  const sizeBytes = "sizeBytes" in script ? script.sizeBytes : bytes.length;
  return script.label === undefined ? { sizeBytes } : { sizeBytes, label: script.label };
}

async function unlessAborted(promise: Promise<void>, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const abort = (): void => aborted.reject(signal.reason as Error);
  signal.addEventListener("abort", abort, { once: true });
  try {
    await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener("abort", abort);
  }
}
