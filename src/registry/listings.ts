import { algorithmOf, type Digest, digestOf, hexOf } from "../oci/digest.ts";
import { isObject } from "../oci/document.ts";
import { OciError } from "../oci/errors.ts";
import { indexMediaType, type ManifestEntry } from "../oci/manifest.ts";
import { parseTag, type Repository, type Tag } from "../oci/reference.ts";
import { splitQuery } from "../oci/route.ts";
import type { Asker, Interest } from "../concurrency/interest.ts";
import type { UpstreamPage } from "../upstream/upstream.ts";
import { UpstreamError } from "../upstream/upstream.ts";
import type { PageKind, RepositoryId } from "../store/layout.ts";
import { withLookup } from "./lookup.ts";
import type { MirrorTools } from "./mirror-tools.ts";
import type { Answer, CacheStatus, ManifestContent } from "./registry.ts";
import type { Page } from "../store/content-records.ts";
import { SingleFlight } from "../concurrency/single-flight.ts";
import { staleStatus, standsIn } from "./stale.ts";
import type { Tags } from "./tags.ts";

/** An empty list in the place of a referrers API and a fallback tag that are not there. */
const nothingThere: CacheStatus = { hit: false, forward: "bypass", forwardStatus: 404 };
const maxNextQueryLength = 2_048;

/**
 * A mirror's listings: tags and referrers. They are live whenever the upstream answers, and what it answered last
 * stands in for it when it does not.
 */
export class Listings {
  readonly #tools: MirrorTools;
  readonly #fallback: Tags;
  readonly #flights = new SingleFlight<Page | undefined>();

  constructor(tools: MirrorTools, tags: Tags) {
    this.#tools = tools;
    this.#fallback = tags;
  }

  /** A page of tags; see `PullRegistry.tags`. */
  async tags(repository: Repository, query: string, asker?: Asker): Promise<Answer<Page> | undefined> {
    const { upstream, signal } = this.#tools;
    return this.#live(repository, "tags", query, asker, async (interest) => {
      const page = await upstream.tags(repository, query, { signal, interest });
      return page && this.#readTags(page);
    });
  }

  /**
   * A page of referrers. An upstream without the API may keep them under the subject's fallback tag; where it surely has
   * neither, the list is empty. Where that cannot be told, nothing is said: a client would stop looking, and signatures
   * would be gone for it (distribution-spec, "Listing Referrers").
   */
  async referrers(
    repository: Repository,
    subject: Digest,
    query: string,
    asker?: Asker,
  ): Promise<Answer<Page> | undefined> {
    const { upstream, signal, namespace } = this.#tools;
    const answer = await unlessDenied(
      this.#live(repository, "referrers", `${subject}?${query}`, asker, async (interest) => {
        const page = await upstream.referrers(repository, subject, query, { signal, interest });
        return page && this.#readIndex(page);
      }),
    );
    if (answer !== undefined && answer !== "denied") return answer;
    const fallback = await this.#fallback.manifest({ namespace, repository }, referrersTag(subject), asker);
    if (fallback !== undefined && isReferrersList(fallback.value, subject)) {
      return { value: filterReferrers(fallback.value.parsed.manifests, query), cache: fallback.cache };
    }
    return answer === "denied" ? undefined : { value: filterReferrers([], query), cache: nothingThere };
  }

  async #live(
    repository: Repository,
    kind: PageKind,
    request: string,
    asker: Asker | undefined,
    ask: (interest: Interest) => Promise<Page | undefined>,
  ): Promise<Answer<Page> | undefined> {
    const { content, breaker, background, namespace } = this.#tools;
    const id: RepositoryId = { namespace, repository };
    return withLookup(content, async (lookup) => {
      const failing = breaker.failing(repository);
      if (failing !== undefined && breaker.state === "closed") {
        const stored = await lookup.page(id, kind, request);
        if (stored !== undefined) return { value: stored, cache: staleStatus(failing) };
      }
      const { answer, joined } = this.#flights.run(
        `${kind} ${repository} ${request}`,
        async (interest) => {
          const page = await ask(interest);
          if (page !== undefined) background.run(() => content.pages.set(id, kind, request, page));
          return page;
        },
        asker,
      );
      try {
        const value = await answer;
        return value && { value, cache: { hit: false, forward: "bypass", forwardStatus: 200, collapsed: joined } };
      } catch (error) {
        if (!standsIn(error)) throw error;
        const stored = await lookup.page(id, kind, request);
        if (stored === undefined) throw error;
        return { value: stored, cache: staleStatus(error) };
      }
    });
  }

  #readTags(page: UpstreamPage): Page {
    // Go writes an empty list as null.
    const tags: unknown = page.document["tags"] ?? [];
    if (!Array.isArray(tags) || !tags.every((tag) => typeof tag === "string")) {
      throw this.#invalid("its list of tags is not a list of strings");
    }
    return { document: { tags }, nextQuery: this.#nextQuery(page), filtersApplied: undefined };
  }

  /** An entry that names no content is left out: nobody could ask for it, and the others are not to be lost for it. */
  #readIndex(page: UpstreamPage): Page {
    const entries: unknown = page.document["manifests"] ?? [];
    if (!Array.isArray(entries)) throw this.#invalid("its list of referrers is not an index");
    const manifests = entries.filter((entry) => isObject(entry) && typeof entry["digest"] === "string");
    return {
      document: { schemaVersion: 2, mediaType: indexMediaType, ...page.document, manifests },
      nextQuery: this.#nextQuery(page),
      filtersApplied: page.filtersApplied,
    };
  }

  /**
   * The next page's query, which becomes part of a link of ours and of a request to us: it must be sound, and which
   * registry that request means is not for the upstream to say.
   */
  #nextQuery({ nextQuery }: UpstreamPage): string | undefined {
    if (nextQuery === undefined) return undefined;
    try {
      const { query } = splitQuery(nextQuery);
      if (query.length <= maxNextQueryLength) return query === "" ? undefined : query;
    } catch (error) {
      if (!(error instanceof OciError)) throw error;
    }
    throw this.#invalid("its link to the next page is unusable");
  }

  #invalid(message: string): UpstreamError {
    return new UpstreamError(this.#tools.namespace, "invalid", message);
  }
}

/** Some registries refuse what they do not know: that is neither an answer nor a failure. */
async function unlessDenied<T>(answer: Promise<T>): Promise<T | "denied"> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof UpstreamError && error.failure === "denied") return "denied";
    throw error;
  }
}

/**
 * Whether what stands under a subject's fallback tag is its list of referrers: GitLab takes the tag for the digest, and
 * answers with the subject (oras-go#1396).
 */
function isReferrersList({ bytes, descriptor }: ManifestContent, subject: Digest): boolean {
  if (descriptor.mediaType !== indexMediaType) return false;
  const algorithm = algorithmOf(subject);
  const digest = algorithmOf(descriptor.digest) === algorithm ? descriptor.digest : digestOf(bytes, algorithm);
  return digest !== subject;
}

/**
 * The tag under which clients keep referrers where the API is missing (distribution-spec, "Referrers Tag Schema"): of
 * a long digest the first 64 characters.
 */
function referrersTag(subject: Digest): Tag {
  return parseTag(`${algorithmOf(subject)}-${hexOf(subject).slice(0, 64)}`);
}

function filterReferrers(manifests: readonly ManifestEntry[], query: string): Page {
  const wanted = new URLSearchParams(query).get("artifactType");
  const kept = wanted === null ? manifests : manifests.filter((entry) => entry.artifactType === wanted);
  return {
    document: { schemaVersion: 2, mediaType: indexMediaType, manifests: kept },
    nextQuery: undefined,
    filtersApplied: wanted === null ? undefined : "artifactType",
  };
}
