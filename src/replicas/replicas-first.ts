import { turnToRead } from "../concurrency/turn.ts";
import { algorithmOf, type Digest, digestOf, parseDigest } from "../oci/digest.ts";
import { isObject } from "../oci/document.ts";
import { OciError } from "../oci/errors.ts";
import { isDigestReference, type Namespace, type Reference, type Repository } from "../oci/reference.ts";
import { readManifest } from "../registry/manifest-bytes.ts";
import type { Link } from "../store/content-records.ts";
import type { RepositoryId } from "../store/layout.ts";
import type { Checked, Resolved, Upstream, UpstreamManifest } from "../upstream/upstream.ts";
import type { Told } from "./answers.ts";
import type { AnswerForm, Sharing } from "./sharing.ts";

type Manifest = UpstreamManifest & Checked;

/** What replicas in front of an upstream work with. */
export interface ReplicasFirstOptions {
  readonly sharing: Sharing;
  readonly namespace: Namespace;
  /** What this replica knows by itself of a digest that a repository contains. */
  readonly link: (id: RepositoryId, digest: Digest) => Promise<Pick<Link, "sizeBytes"> | undefined>;
  /** A blob that may have come to the bucket meanwhile. */
  readonly stored: Upstream["blob"];
  /** How old another replica's answer about a tag may be, and that something is absent, in milliseconds. */
  readonly freshMs: number;
  readonly absentMs: number;
  /** As of `Clock`. */
  readonly now: () => number;
  /** Whether others may wait for this replica: not while the upstream fails for it. */
  readonly mayHold: () => boolean;
}

/**
 * The same upstream, which one replica asks for all: the others have its answers, and the bytes of its blobs, from that
 * one. A replica's word gives no right to a blob: what this one does not know to be the repository's, it asks the
 * upstream about.
 */
export function askReplicasFirst(upstream: Upstream, options: ReplicasFirstOptions): Upstream {
  const { sharing, namespace, link, stored, freshMs, absentMs, now, mayHold } = options;
  /** How others are told the answers to a question, and what of theirs is of use. */
  function form<T extends Resolved | Manifest>(
    reference: Reference,
    read: (told: Given) => Promise<T | undefined>,
  ): AnswerForm<T | undefined> {
    const freshOf = (isAbsent: boolean): number => {
      if (isAbsent) return absentMs;
      // What has a digest is the same for ever.
      return isDigestReference(reference) ? Infinity : freshMs;
    };
    return {
      write: (answer) => write(answer, now()),
      freshMs: (answer) => freshOf(answer === undefined),
      async read(told, waitedMs) {
        const given = readTold(told, now());
        if (given === undefined) return undefined;
        const isOfUse = given.ageMs <= waitedMs || given.ageMs < freshOf(given.digest === undefined);
        if (!isOfUse) return undefined;
        if (given.digest === undefined) return { found: undefined };
        const found = await read(given);
        return found && { found };
      },
    };
  }
  return {
    async resolve(repository, reference, by) {
      const ask = (): Promise<Resolved | undefined> => upstream.resolve(repository, reference, by);
      const name = nameOf("head", namespace, repository, reference);
      return sharing.answer(name, ask, form<Resolved>(reference, readResolved), by.signal, mayHold);
    },
    async manifest(repository, reference, by) {
      const ask = (): Promise<Manifest | undefined> => upstream.manifest(repository, reference, by);
      const name = nameOf("manifest", namespace, repository, reference);
      return sharing.answer(name, ask, form<Manifest>(reference, readManifestTold), by.signal, mayHold);
    },
    async blob(repository, digest, from, by) {
      const id = { namespace, repository };
      const known = await link(id, digest);
      const mayAsk = known !== undefined || (await upstream.statBlob(repository, digest, by)) !== undefined;
      if (!mayAsk) return undefined;
      return sharing.blob(
        { id, digest, offset: from.offset, sizeBytes: from.sizeBytes ?? known?.sizeBytes },
        () => upstream.blob(repository, digest, from, by),
        () => stored(repository, digest, from, by),
        by.signal,
        mayHold,
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

/** What another replica has told; of what is absent there is no digest. */
interface Given {
  readonly ageMs: number;
  readonly checkedAt: number;
  readonly digest?: Digest;
  readonly mediaType?: string;
  readonly size?: number;
  readonly bytes?: Buffer;
}

/** What was told; `undefined` for what cannot be read. */
function readTold(told: unknown, now: number): Given | undefined {
  if (!isObject(told)) return undefined;
  const { ageMs, absent, digest, mediaType, size, bytes } = told;
  if (typeof ageMs !== "number" || !(ageMs >= 0)) return undefined;
  const checkedAt = now - ageMs;
  if (absent === true) return { ageMs, checkedAt };
  if (typeof digest !== "string") return undefined;
  try {
    return {
      ageMs,
      checkedAt,
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

async function readResolved(told: Given): Promise<Resolved | undefined> {
  const { checkedAt, digest, mediaType, size, bytes } = told;
  if (digest === undefined) return undefined;
  if (bytes !== undefined) return readManifestTold(told);
  return mediaType === undefined || size === undefined
    ? { digest, checkedAt, origin: "replica" }
    : { digest, mediaType, size, checkedAt, origin: "replica" };
}

/** A manifest that another replica has sent: its bytes have to be its digest's. */
async function readManifestTold({ checkedAt, digest, mediaType, bytes }: Given): Promise<Manifest | undefined> {
  if (digest === undefined || bytes === undefined) return undefined;
  await turnToRead(bytes);
  if (digestOf(bytes, algorithmOf(digest)) !== digest) return undefined;
  const parsed = readManifest(bytes, mediaType ?? "");
  if (parsed === undefined) return undefined;
  const descriptor = { mediaType: parsed.mediaType, digest, size: bytes.length };
  return { descriptor, bytes, parsed, checkedAt, origin: "replica" };
}
