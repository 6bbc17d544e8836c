import { algorithmOf, type Digest } from "../oci/digest.ts";
import { chargedBytes } from "../ledger/ledger.ts";
import { FillHash } from "../registry/fill-hash.ts";
import type { Reservation } from "../registry/space.ts";
import type { ForeignObject } from "../store/foreign-folder.ts";
import type { RepositoryId } from "../store/layout.ts";
import type { OpenObject } from "../store/object-store.ts";
import { Spool } from "../store/spool.ts";
import type { Adopted, Adoption, Skipped } from "./adoption.ts";
import { parseBlobKey } from "./adopt-layout.ts";

/** How many of the repositories that have a blob are asked how large it is. */
const mostAsked = 16;

/**
 * Adopts a blob for a repository that a manifest has been found to list it in; other repositories have their links
 * already. It is copied to a staging file, and stored when that has its digest.
 *
 * @param onRead Told of bytes as they are read.
 * @throws {StoreError} it could not be stored, though there is room for it.
 */
export async function adoptBlob(
  adoption: Adoption,
  object: ForeignObject,
  signal: AbortSignal,
  onRead: (bytes: number) => void,
): Promise<Adopted> {
  const { content, maxObjectBytes, space } = adoption.tools;
  const { key, sizeBytes } = object;
  const digest = parseBlobKey(key);
  if (digest === undefined) return "misnamed";
  if ((await content.statBlob(digest))?.sizeBytes === sizeBytes) return "already there";
  const holder = await holderOf(adoption, digest, sizeBytes);
  const namespace = typeof holder === "string" ? adoption.listedIn(digest) : holder.namespace;
  if (namespace === undefined || holder === "torn" || holder === "wrong size") return holder as Skipped;
  if (sizeBytes > maxObjectBytes) return "too large";
  if (!adoption.hasRoom(namespace, sizeBytes, 1)) return "no room";
  if (adoption.dryRun || typeof holder === "string") return "adopted";
  const room = space.reserve(holder.namespace, chargedBytes(sizeBytes));
  if (room === undefined) return "no room";
  try {
    return await adoption.withSource(key, (source) =>
      // It may have grown, or have been written anew, since it was listed.
      source.sizeBytes === sizeBytes
        ? copyBlob(adoption, source, { holder, digest, room }, signal, onRead)
        : Promise.resolve("torn"),
    );
  } finally {
    room.release();
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
