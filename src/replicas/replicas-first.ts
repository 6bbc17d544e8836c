import { algorithmOf, type Digest, digestOf, parseDigest } from "../oci/digest.ts";
import { isObject } from "../oci/document.ts";
import { OciError } from "../oci/errors.ts";
import { isDigestReference, type Namespace, type Reference, type Repository } from "../oci/reference.ts";
import { readManifest } from "../registry/manifest-bytes.ts";
import type { RepositoryId } from "../store/layout.ts";
import type { Checked, Resolved, Upstream, UpstreamManifest } from "../upstream/upstream.ts";
import type { Told } from "./answers.ts";
import type { Sharing } from "./sharing.ts";

type Manifest = UpstreamManifest & Checked;

/** What replicas in front of an upstream work with. */
export interface ReplicasFirstOptions {
  readonly sharing: Sharing;
  readonly namespace: Namespace;
  /** Whether this replica knows by itself that a repository contains a digest. */
  readonly isLinked: (id: RepositoryId, digest: Digest) => Promise<boolean>;
  /** A blob that may have come to the bucket meanwhile. */
  readonly stored: Upstream["blob"];
  /** How old an answer of another replica may be, in milliseconds. */
  readonly freshMs: number;
  /** As of `Clock`. */
  readonly now: () => number;
}

/**
 * The same upstream, which one replica asks for all: the others have its answers, and the bytes of its blobs, from that
 * one. A replica's word gives no right to a blob: what this one does not know to be the repository's, it asks the
 * upstream about.
 */
export function askReplicasFirst(upstream: Upstream, options: ReplicasFirstOptions): Upstream {
  const { sharing, namespace, isLinked, stored, freshMs, now } = options;
  /** What has a digest is the same for ever. */
  const freshOf = (reference: Reference): number => (isDigestReference(reference) ? Infinity : freshMs);
  return {
    async resolve(repository, reference, by) {
      const ask = (): Promise<Resolved | undefined> => upstream.resolve(repository, reference, by);
      return sharing.answer(
        nameOf("head", namespace, repository, reference),
        ask,
        { write: (answer) => write(answer, now()), read: (told) => readResolved(told, now(), freshOf(reference)) },
        by.signal,
      );
    },
    async manifest(repository, reference, by) {
      const ask = (): Promise<Manifest | undefined> => upstream.manifest(repository, reference, by);
      return sharing.answer(
        nameOf("manifest", namespace, repository, reference),
        ask,
        { write: (answer) => write(answer, now()), read: (told) => readGiven(told, now(), freshOf(reference)) },
        by.signal,
      );
    },
    async blob(repository, digest, from, by) {
      const id = { namespace, repository };
      const mayAsk = (await isLinked(id, digest)) || (await upstream.statBlob(repository, digest, by)) !== undefined;
      if (!mayAsk) return undefined;
      return sharing.blob(
        { id, digest, offset: from.offset },
        () => upstream.blob(repository, digest, from, by),
        () => stored(repository, digest, from, by),
        by.signal,
      );
    },
    statBlob: (repository, digest, by) => upstream.statBlob(repository, digest, by),
    tags: (repository, query, by) => upstream.tags(repository, query, by),
    referrers: (repository, subject, query, by) => upstream.referrers(repository, subject, query, by),
    close: () => upstream.close(),
  };
}

function nameOf(kind: string, namespace: Namespace, repository: Repository, reference: Reference): string {
  return `${kind} ${namespace}/${repository} ${reference}`;
}

/** An answer as others are told it. */
function write(answer: Resolved | Manifest | undefined, now: number): Told {
  if (answer === undefined) return { checkedAt: now, absent: true };
  const { checkedAt = now } = answer;
  if ("bytes" in answer) return { checkedAt, ...answer.descriptor, bytes: answer.bytes.toString("base64") };
  const { digest } = answer;
  return "size" in answer
    ? { checkedAt, digest, mediaType: answer.mediaType, size: answer.size }
    : { checkedAt, digest };
}

interface Given {
  readonly checkedAt: number;
  readonly digest: Digest;
  readonly mediaType?: string;
  readonly size?: number;
  readonly bytes?: Buffer;
}

/** What was told, or that it is absent; `undefined` for what is of no use, or too old. */
function readTold(told: unknown, now: number, freshMs: number): Given | "absent" | undefined {
  if (!isObject(told)) return undefined;
  const { ageMs, absent, digest, mediaType, size, bytes } = told;
  if (typeof ageMs !== "number" || !(ageMs >= 0 && ageMs < freshMs)) return undefined;
  if (absent === true) return "absent";
  if (typeof digest !== "string") return undefined;
  try {
    return {
      checkedAt: now - ageMs,
      digest: parseDigest(digest),
      ...(typeof mediaType === "string" && { mediaType }),
      ...(typeof size === "number" && { size }),
      ...(typeof bytes === "string" && { bytes: Buffer.from(bytes, "base64") }),
    };
  } catch (error) {
    if (error instanceof OciError) return undefined;
    throw error;
  }
}

async function readResolved(
  value: unknown,
  now: number,
  freshMs: number,
): Promise<{ readonly found: Resolved | undefined } | undefined> {
  const told = readTold(value, now, freshMs);
  if (told === undefined) return undefined;
  if (told === "absent") return { found: undefined };
  const { checkedAt, digest, mediaType, size, bytes } = told;
  if (bytes !== undefined) return readGiven(value, now, freshMs);
  const descriptor = mediaType === undefined || size === undefined ? { digest } : { digest, mediaType, size };
  return { found: { ...descriptor, checkedAt } };
}

/** A manifest that another replica has sent: its bytes have to be its digest's. */
async function readGiven(
  value: unknown,
  now: number,
  freshMs: number,
): Promise<{ readonly found: Manifest | undefined } | undefined> {
  const told = readTold(value, now, freshMs);
  if (told === undefined) return undefined;
  if (told === "absent") return { found: undefined };
  const { checkedAt, digest, mediaType, bytes } = told;
  if (bytes === undefined || digestOf(bytes, algorithmOf(digest)) !== digest) return undefined;
  const parsed = readManifest(bytes, mediaType ?? "");
  if (parsed === undefined) return undefined;
  return {
    found: { descriptor: { mediaType: parsed.mediaType, digest, size: bytes.length }, bytes, parsed, checkedAt },
  };
}
