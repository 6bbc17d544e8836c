import type { Descriptor } from "../oci/descriptor.ts";
import type { Digest } from "../oci/digest.ts";
import type { Json } from "../oci/document.ts";
import type { Manifest } from "../oci/manifest.ts";
import type { Reference, Repository } from "../oci/reference.ts";
import type { Interest } from "../concurrency/interest.ts";

/** A manifest as the upstream sent it: the exact bytes, checked against the digest (`descriptor.digest`). */
export interface UpstreamManifest {
  readonly descriptor: Descriptor;
  readonly bytes: Buffer;
  /** What they say. */
  readonly parsed: Manifest;
}

/**
 * What a reference stands for now: the descriptor that a HEAD told, or the digest alone where the HEAD did not tell the
 * size; or the manifest itself, where a GET had to decide.
 */
export type Resolved = (Descriptor | Pick<Descriptor, "digest"> | UpstreamManifest) & Checked;

/** When what is told was true: milliseconds since 1970; now, where nothing is said. */
export interface Checked {
  readonly checkedAt?: number;
  /** Who tells it, where that is not the registry itself. */
  readonly origin?: "bucket" | "replica";
}

/**
 * What an answer's headers make of a blob, where that is not plainly the blob: a `page` (HTML), which may be the page of
 * a login, or `encoded`. Registries and stores send such labels with the right bytes too, so that they prove nothing
 * either way: the digest does, or a size that is known.
 */
export type DoubtfulLabel = "page" | "encoded";

/** A blob that the upstream says this repository has. */
export interface UpstreamBlobInfo {
  /** Its size in bytes, where the upstream announced one; of what is `encoded`, perhaps that of the encoded form. */
  readonly sizeBytes: number | undefined;
  readonly label?: DoubtfulLabel;
}

/** A blob's body on its way from the upstream. */
export interface UpstreamBlob {
  /** The whole blob's size in bytes, where the upstream announced one. */
  readonly sizeBytes: number | undefined;
  readonly label?: DoubtfulLabel;
  /** Who sends it, where that is not the registry itself. */
  readonly origin?: "bucket" | "replica";
  /**
   * The blob's bytes from the offset that was asked for: where the upstream knows no `Range`, the bytes before it are
   * read and dropped. Not verified. It throws `UpstreamError` when the connection breaks, stalls or is short. Leaving
   * the loop early closes the connection.
   */
  readonly body: AsyncIterable<Buffer>;
  /** Gives the body up without reading it. */
  cancel(): void;
}

/** A page of a listing, as the upstream sent it. */
export interface UpstreamPage {
  /** The page's document, parsed. */
  readonly document: Json;
  /** The query string (without `?`) of the upstream's `Link: rel="next"`, where there is a next page. */
  readonly nextQuery: string | undefined;
  /** What the upstream said it filtered by (`OCI-Filters-Applied`). */
  readonly filtersApplied: string | undefined;
}

/** On whose behalf a question is asked. */
export interface Ask {
  /** When it aborts, the question ends with its reason, and so does a body that is being read. */
  readonly signal: AbortSignal;
  /** Who wants the answer; left out, somebody who stays. */
  readonly interest?: Interest | undefined;
}

/**
 * One registry that we ask. It knows the registry's HTTP, credentials, redirects and quirks; it has no cache of
 * content and never serves anything stale.
 *
 * Absent (404 and 410) is `undefined`, and nothing else is: only that may be remembered. All else that fails throws
 * `UpstreamError`, "denied" among it; an abort rethrows the signal's reason. Methods retry on their own before the
 * first byte, within the upstream's `retries`. What waits for its turn is given up when nobody wants it any more:
 * `Abandoned`.
 */
export interface Upstream {
  /**
   * What a reference stands for now, by HEAD (which Docker Hub does not count). After a HEAD that failed, or told
   * nothing, a GET decides, what is absent too.
   */
  resolve(repository: Repository, reference: Reference, by: Ask): Promise<Resolved | undefined>;
  /** A whole manifest by GET: at most 4 MiB, digest and media type checked. */
  manifest(repository: Repository, reference: Reference, by: Ask): Promise<(UpstreamManifest & Checked) | undefined>;
  /**
   * A blob by GET, from byte `offset` on (by `Range` where it is not 0, and without where that is refused). Resolves
   * when the response's headers are here. `sizeBytes`, where it is known from a response before, must be the same again.
   */
  blob(
    repository: Repository,
    digest: Digest,
    from: { readonly offset: number; readonly sizeBytes?: number },
    by: Ask,
  ): Promise<UpstreamBlob | undefined>;
  /**
   * Whether this repository has a blob, by the upstream's word: a GET of its first byte, as HEAD is refused by some
   * registries and by signed URLs; or of all of it, given up at its headers, where `Range` is refused.
   */
  statBlob(repository: Repository, digest: Digest, by: Ask): Promise<UpstreamBlobInfo | undefined>;
  /** A page of tags (`tags/list`); `query` is sent on as it stands. */
  tags(repository: Repository, query: string, by: Ask): Promise<UpstreamPage | undefined>;
  /** A page of referrers; `undefined`: the upstream surely has no referrers API, which many statuses say. */
  referrers(repository: Repository, subject: Digest, query: string, by: Ask): Promise<UpstreamPage | undefined>;
  /** Gives back connections; what still runs is cut. */
  close(): Promise<void>;
}

/** Why an upstream could not answer; decides what the client is told and whether a stale answer may stand in. */
export type UpstreamFailure =
  /** No connection, a broken one, or a body that ended early. */
  | "unreachable"
  /** A connect, header or idle timeout. */
  | "timeout"
  /** A 5xx, or another status that makes no sense. */
  | "status"
  /**
   * No right to read, or no such thing: a 401 or 403 after authentication or of the token server, or a 400. Registries
   * use these for "absent", for "private" and for expired rights alike, so this is no absence to be remembered.
   */
  | "denied"
  /** A 429; also without a request, while the time lasts that the registry asked to be left alone for. */
  | "rate-limited"
  /** So many wait for this upstream already that nothing was sent. */
  | "busy"
  /** The token server failed, or its answer was of no use; or there are no credentials to be had. */
  | "token"
  /** An answer that breaks the protocol: wrong digest, wrong type, too large, a redirect loop. */
  | "invalid"
  /** The upstream is configured to be never asked. */
  | "offline"
  /** The address is one that this namespace may not reach (a private network, for example). */
  | "refused";

/** An upstream failed. The message names the host, never a credential or a signed URL. */
export class UpstreamError extends Error {
  override readonly name = "UpstreamError";
  readonly host: string;
  readonly failure: UpstreamFailure;
  /** The HTTP status, where one came. */
  readonly status: number | undefined;
  /** How long the upstream asked us to wait, in seconds (`Retry-After`). */
  readonly retryAfterSeconds: number | undefined;

  constructor(
    host: string,
    failure: UpstreamFailure,
    message: string,
    options: { status?: number | undefined; retryAfterSeconds?: number | undefined; cause?: unknown } = {},
  ) {
    super(`${host}: ${message}`, options.cause === undefined ? undefined : { cause: options.cause });
    this.host = host;
    this.failure = failure;
    this.status = options.status;
    this.retryAfterSeconds = options.retryAfterSeconds;
  }
}
