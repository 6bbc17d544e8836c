import { algorithmOf, type Digest, hexOf } from "../oci/digest.ts";
import { indexMediaType, type ManifestEntry, parseManifest } from "../oci/manifest.ts";
import { parseTag, type Repository, type Tag } from "../oci/reference.ts";
import type { UpstreamPage } from "../upstream/upstream.ts";
import { UpstreamError } from "../upstream/upstream.ts";
import type { PageKind, RepositoryId } from "./layout.ts";
import { lookUp } from "./lookup.ts";
import type { MirrorTools } from "./mirror-tools.ts";
import type { Answer, Page } from "./registry.ts";
import { SingleFlight } from "./single-flight.ts";
import { staleStatus, standsIn } from "./stale.ts";
import type { Tags } from "./tags.ts";

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
  async tags(repository: Repository, query: string): Promise<Answer<Page> | undefined> {
    const { upstream, signal } = this.#tools;
    return this.#live(repository, "tags", query, async () => {
      const page = await upstream.tags(repository, query, signal);
      return page && this.#readTags(page);
    });
  }

  /**
   * A page of referrers. An upstream without the API may keep them under the subject's fallback tag; an upstream with
   * neither is not said to have none, since a client would stop looking (distribution-spec, "Listing Referrers").
   */
  async referrers(repository: Repository, subject: Digest, query: string): Promise<Answer<Page> | undefined> {
    const { upstream, signal, namespace } = this.#tools;
    const answer = await this.#live(repository, "referrers", `${subject}?${query}`, async () => {
      // Some registries refuse what they do not know.
      const page = await unlessDenied(upstream.referrers(repository, subject, query, signal));
      return page && this.#readIndex(page);
    });
    if (answer !== undefined) return answer;
    const fallback = await this.#fallback.manifest({ namespace, repository }, referrersTag(subject));
    if (fallback === undefined) return undefined;
    const { manifests, kind } = parseManifest(fallback.value.bytes, fallback.value.descriptor.mediaType);
    return kind === "index" ? { value: filterReferrers(manifests, query), cache: fallback.cache } : undefined;
  }

  async #live(
    repository: Repository,
    kind: PageKind,
    request: string,
    ask: () => Promise<Page | undefined>,
  ): Promise<Answer<Page> | undefined> {
    const { content, breaker, background, namespace } = this.#tools;
    const id: RepositoryId = { namespace, repository };
    return lookUp(content, async (lookup) => {
      const failing = breaker.failing(repository);
      if (failing !== undefined && breaker.state === "closed") {
        const stored = await lookup.page(id, kind, request);
        if (stored !== undefined) return { value: stored, cache: staleStatus(failing) };
      }
      const { answer, joined } = this.#flights.run(`${kind} ${repository} ${request}`, async () => {
        const page = await ask();
        if (page !== undefined) background.run(() => content.setPage(id, kind, request, page));
        return page;
      });
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
    const document = this.#readObject(page);
    const tags: unknown = document["tags"] ?? [];
    if (!Array.isArray(tags) || !tags.every((tag) => typeof tag === "string")) {
      throw this.#invalid("its list of tags is not a list of strings");
    }
    return { document: { tags }, nextQuery: page.nextQuery, filtersApplied: undefined };
  }

  #readIndex(page: UpstreamPage): Page {
    const document = this.#readObject(page);
    if (!Array.isArray(document["manifests"])) throw this.#invalid("its list of referrers is not an index");
    return { document, nextQuery: page.nextQuery, filtersApplied: page.filtersApplied };
  }

  #readObject(page: UpstreamPage): Record<string, unknown> {
    let document: unknown;
    try {
      document = JSON.parse(page.bytes.toString("utf8"));
    } catch (error) {
      throw this.#invalid("its listing is not JSON", error);
    }
    if (typeof document !== "object" || document === null) throw this.#invalid("its listing is not an object");
    // It becomes part of a header field of ours.
    if (!/^[\x21-\x7e]{0,2048}$/.test(page.nextQuery ?? ""))
      throw this.#invalid("its link to the next page is unusable");
    return document as Record<string, unknown>;
  }

  #invalid(message: string, cause?: unknown): UpstreamError {
    return new UpstreamError(this.#tools.namespace, "invalid", message, { cause });
  }
}

async function unlessDenied<T>(answer: Promise<T | undefined>): Promise<T | undefined> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof UpstreamError && error.failure === "denied") return undefined;
    throw error;
  }
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
