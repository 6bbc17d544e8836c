import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { type Answer, errorAnswer, jsonAnswer } from "./answer.ts";
import type { Content } from "./content.ts";
import { contentOf } from "./content.ts";
import { mediaTypes } from "./image.ts";

/** What a scripted upstream holds, and what a well-behaved registry answers with it. */
export interface RegistryContent {
  addBlob(content: Content, repository: string | undefined): void;
  /** Adds a manifest, under `digest`; without one under that of SHA-256. */
  addManifest(repository: string, tag: string | undefined, bytes: Buffer, mediaType: string, digest?: Digest): Digest;
  setTag(repository: string, tag: string, digest: Digest): void;
  removeTag(repository: string, tag: string): void;
  /** Answers a path below `/v2/`. */
  answer(path: string, query: URLSearchParams): Answer;
}

interface Manifest {
  readonly mediaType: string;
  readonly bytes: Buffer;
}

interface RepositoryContent {
  readonly blobs: Map<string, Content>;
  readonly manifests: Map<string, Manifest>;
  readonly tags: Map<string, Digest>;
}

/**
 * Makes the content of an empty registry.
 *
 * @param hasReferrers whether the referrers API is there (distribution-spec, "Listing Referrers").
 */
export function createRegistryContent(hasReferrers: boolean): RegistryContent {
  const repositories = new Map<string, RepositoryContent>();
  const everywhere = new Map<string, Content>();

  function contentAt(repository: string): RepositoryContent {
    let content = repositories.get(repository);
    if (content === undefined) {
      content = { blobs: new Map(), manifests: new Map(), tags: new Map() };
      repositories.set(repository, content);
    }
    return content;
  }

  return {
    addBlob(content, repository) {
      (repository === undefined ? everywhere : contentAt(repository).blobs).set(content.digest, content);
    },
    addManifest(repository, tag, bytes, mediaType, digest = digestOf(bytes)) {
      const { manifests, tags } = contentAt(repository);
      manifests.set(digest, { mediaType, bytes });
      if (tag !== undefined) {
        tags.set(tag, digest);
      }
      return digest;
    },
    setTag(repository, tag, digest) {
      contentAt(repository).tags.set(tag, digest);
    },
    removeTag(repository, tag) {
      contentAt(repository).tags.delete(tag);
    },
    answer(path, query) {
      const [, repository = "", kind = "", reference = ""] =
        /^\/v2\/(.+)\/(blobs|manifests|tags|referrers)\/([^/]+)$/.exec(path) ?? [];
      const held = repositories.get(repository);
      switch (kind) {
        case "blobs": {
          const content = held?.blobs.get(reference) ?? everywhere.get(reference);
          return content === undefined ? errorAnswer(404, "BLOB_UNKNOWN") : answerBlob(content);
        }
        case "manifests": {
          const digest = held?.tags.get(reference) ?? reference;
          const manifest = held?.manifests.get(digest);
          return manifest === undefined ? errorAnswer(404, "MANIFEST_UNKNOWN") : answerManifest(digest, manifest);
        }
        case "tags":
          return held === undefined ? errorAnswer(404, "NAME_UNKNOWN") : answerTags(repository, held, query);
        case "referrers":
          return hasReferrers ? answerReferrers(held, reference, query) : errorAnswer(404, "NOT_FOUND");
        default:
          return errorAnswer(404, "NOT_FOUND");
      }
    },
  };
}

function answerBlob(content: Content): Answer {
  const headers = {
    "content-type": "application/octet-stream",
    "docker-content-digest": content.digest,
    "accept-ranges": "bytes",
  };
  return { status: 200, headers, content, ranged: true };
}

function answerManifest(digest: string, { mediaType, bytes }: Manifest): Answer {
  const headers = { "content-type": mediaType, "docker-content-digest": digest };
  return { status: 200, headers, content: contentOf(bytes) };
}

/** Tags in order, from after `last`, at most `n` (distribution-spec, "Listing Tags"). */
function answerTags(repository: string, held: RepositoryContent, query: URLSearchParams): Answer {
  const last = query.get("last") ?? "";
  const all = [...held.tags.keys()].toSorted().filter((tag) => tag > last);
  const page = all.slice(0, query.has("n") ? Number(query.get("n")) : all.length);
  const next = `</v2/${repository}/tags/list?n=${query.get("n")}&last=${page.at(-1)}>; rel="next"`;
  return jsonAnswer(200, { name: repository, tags: page }, page.length < all.length ? { link: next } : {});
}

/** The manifests whose `subject` is the digest (distribution-spec, "Listing Referrers"). */
function answerReferrers(held: RepositoryContent | undefined, subject: string, query: URLSearchParams): Answer {
  const wanted = query.get("artifactType");
  const descriptors = [...(held?.manifests ?? [])].flatMap(([digest, { mediaType, bytes }]) => {
    const document = readDocument(bytes);
    const artifactType = document.artifactType ?? document.config?.mediaType;
    return document.subject?.digest === subject && (wanted === null || wanted === artifactType)
      ? [{ mediaType, digest, size: bytes.length, artifactType, annotations: document.annotations }]
      : [];
  });
  return jsonAnswer(
    200,
    { schemaVersion: 2, mediaType: mediaTypes.index, manifests: descriptors },
    { "content-type": mediaTypes.index, ...(wanted === null ? {} : { "oci-filters-applied": "artifactType" }) },
  );
}

interface ReferrerDocument {
  readonly subject?: { readonly digest?: string };
  readonly artifactType?: string;
  readonly config?: { readonly mediaType?: string };
  readonly annotations?: Readonly<Record<string, string>>;
}

function readDocument(bytes: Buffer): ReferrerDocument {
  try {
    return (JSON.parse(bytes.toString()) ?? {}) as ReferrerDocument;
  } catch {
    return {}; // Tests also add manifests that are no JSON; those refer to nothing.
  }
}
