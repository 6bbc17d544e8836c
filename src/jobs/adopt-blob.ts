import type { Bucket } from "../bucket/bucket.ts";
import { algorithmOf, createHasher, type Digest, formatDigest } from "../oci/digest.ts";
import { chargedBytes } from "../ledger/ledger.ts";
import { FillHash } from "../registry/fill-hash.ts";
import type { Reservation } from "../registry/space.ts";
import type { RepositoryId } from "../store/layout.ts";
import type { DatedObject, OpenObject } from "../store/object-store.ts";
import { Spool } from "../store/spool.ts";
import type { Adopted, Adoption, Skipped } from "./adoption.ts";
import { parseBlobKey } from "./adopt-layout.ts";

/** How many of the repositories that have a blob are asked how large it is. */
const mostAsked = 16;

/**
 * Adopts a blob for a repository that a manifest has been found to list it in; other repositories have their links
 * already. It is copied to a staging file, and stored when that has its digest; or into the bucket behind the storage
 * alone, where the folder does not take it.
 *
 * @param onRead Told of bytes as they are read.
 * @throws {StoreError} it could not be stored, though there is room for it.
 */
export async function adoptBlob(
  adoption: Adoption,
  object: DatedObject,
  signal: AbortSignal,
  onRead: (bytes: number) => void,
): Promise<Adopted> {
  const { content, maxObjectBytes, space, bucket } = adoption.tools;
  const { key, sizeBytes } = object;
  const digest = parseBlobKey(key);
  if (digest === undefined) return "misnamed";
  if ((await content.statBlob(digest))?.sizeBytes === sizeBytes) return "already there";
  const holder = await holderOf(adoption, digest, sizeBytes);
  const namespace = typeof holder === "string" ? adoption.listedIn(digest) : holder.namespace;
  if (namespace === undefined || holder === "torn" || holder === "wrong size") return holder as Skipped;
  const isTooLarge = sizeBytes > maxObjectBytes;
  const isRefused = isTooLarge || !adoption.hasRoom(namespace, sizeBytes, 1);
  if (isRefused && bucket === undefined) return isTooLarge ? "too large" : "no room";
  if (isRefused && (await bucket?.has(digest, sizeBytes)) === true) return "already there";
  if (adoption.dryRun || typeof holder === "string") return "adopted";
  const room = isRefused ? undefined : space.reserve(holder.namespace, chargedBytes(sizeBytes));
  try {
    if (room === undefined && bucket === undefined) return "no room";
    return await adoption.withSource(key, async (source) => {
      // It may have grown, or have been written anew, since it was listed.
      if (source.sizeBytes !== sizeBytes) return "torn";
      if (room !== undefined) return copyBlob(adoption, source, { holder, digest, room }, signal, onRead);
      return bucket === undefined ? "no room" : copyToBucket(bucket, source, digest, signal, onRead);
    });
  } finally {
    room?.release();
  }
}

/** Copies a blob into the bucket; nothing is left there of one that has another digest. */
async function copyToBucket(
  bucket: Pick<Bucket, "putContent">,
  source: OpenObject,
  digest: Digest,
  signal: AbortSignal,
  onRead: (bytes: number) => void,
): Promise<Adopted> {
  const { sizeBytes } = source;
  const algorithm = algorithmOf(digest);
  const hasher = createHasher(algorithm);
  const wrong = new Error("the blob has another digest");
  async function* checked(): AsyncGenerator<Uint8Array> {
    for await (const chunk of source.read({ start: 0, end: sizeBytes })) {
      hasher.update(chunk);
      onRead(chunk.length);
      yield chunk;
    }
    if (formatDigest(algorithm, hasher.digest("hex")) !== digest) throw wrong;
  }
  try {
    await bucket.putContent(digest, checked(), { sizeBytes, signal });
    return "adopted";
  } catch (error) {
    if (error === wrong) return "wrong digest";
    throw error;
  }
}

/** A repository that contains a blob of this size; or why none is known to. */
async function holderOf(
  { tools: { content, ledger } }: Adoption,
  digest: Digest,
  sizeBytes: number,
): Promise<RepositoryId | "of no manifest" | "torn" | "wrong size"> {
  const holders = await ledger.holders(digest);
  let problem: "of no manifest" | "torn" | "wrong size" = "of no manifest";
  for (const id of holders.slice(0, mostAsked)) {
    const link = await content.link(id, digest);
    if (link?.sizeBytes === sizeBytes) return id;
    if (link !== undefined) problem = sizeBytes < link.sizeBytes ? "torn" : "wrong size";
  }
  return problem;
}

async function copyBlob(
  { tools }: Adoption,
  source: OpenObject,
  { holder, digest, room }: { readonly holder: RepositoryId; readonly digest: Digest; readonly room: Reservation },
  signal: AbortSignal,
  onRead: (bytes: number) => void,
): Promise<Adopted> {
  const { content, hashes, pool, spoolFolder } = tools;
  const spool = new Spool(spoolFolder, { windowBytes: 0, laggardMs: 0, pool });
  const hash = new FillHash(hashes, algorithmOf(digest), spool);
  const { sizeBytes } = source;
  try {
    // A blob of no bytes has a file, too.
    await spool.write(0, new Uint8Array(0), signal);
    let end = 0;
    for await (const chunk of source.read({ start: 0, end: sizeBytes })) {
      const bytes = Buffer.from(chunk);
      await spool.write(end, bytes, signal);
      if (spool.detached !== undefined) throw spool.detached;
      signal.throwIfAborted();
      end += bytes.length;
      room.noteWritten(bytes.length);
      await hash.take(bytes, end);
      onRead(bytes.length);
    }
    spool.end();
    hash.catchUp();
    const staged = spool.staged(sizeBytes);
    const again = await staged.open();
    try {
      if ((await hash.digest(again.read({ start: 0, end: sizeBytes }))) !== digest) return "wrong digest";
    } finally {
      await again.close();
    }
    await content.commitBlob(holder, digest, staged, room);
    return "adopted";
  } finally {
    hash.drop();
    await spool.discard();
  }
}
