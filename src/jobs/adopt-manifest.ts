import type { DatedObject } from "../store/object-store.ts";
import { algorithmOf, digestOf, isDigest } from "../oci/digest.ts";
import { OciError } from "../oci/errors.ts";
import { isDigestReference, type Tag } from "../oci/reference.ts";
import { readManifest } from "../registry/manifest-bytes.ts";
import type { ManifestContent } from "../registry/registry.ts";
import type { RepositoryId } from "../store/layout.ts";
import { readWhole } from "../store/read-whole.ts";
import type { Adopted, Adoption, Placed, Skipped } from "./adoption.ts";
import { type EarlierManifest, maxEnvelopeBytes, readEnvelope } from "./adopt-layout.ts";

/**
 * Adopts a manifest, and the tag that stood for it, where it lay as one. A tag keeps the time at which the earlier system
 * had it from its registry, so that it is as fresh or stale here as it was there.
 */
export async function adoptManifest(
  adoption: Adoption,
  object: DatedObject,
  earlier: EarlierManifest,
): Promise<Adopted> {
  const id = placeOf(adoption, earlier);
  if (id === undefined) return "not mirrored";
  // What nobody may have would only take room.
  if (!id.isPermitted) return "denied";
  const { reference } = earlier;
  const tag = isDigestReference(reference) ? undefined : reference;
  const checkedAt = checkedAtOf(object, adoption.tools.now());
  const known = isDigestReference(reference)
    ? await adoption.tools.content.manifest(id, reference)
    : await taggedSince(adoption, id, reference, checkedAt);
  // A run that was stopped may have left it without the links to what it lists.
  if (known !== undefined) return keep(adoption, id, known, true);
  const manifest = await adoption.withSource(object.key, async (source) => {
    const text = await readWhole(source, maxEnvelopeBytes);
    return text === undefined ? "too large" : readEarlier(text, earlier);
  });
  if (typeof manifest === "string") return manifest;
  return keepTagged(adoption, id, manifest, tag, checkedAt);
}

/** Where it belongs here; `undefined` where it is of a registry that is not mirrored, or its name is none. */
function placeOf({ tools }: Adoption, earlier: EarlierManifest): Placed | undefined {
  try {
    return tools.place(earlier);
  } catch (error) {
    if (error instanceof OciError) return undefined;
    throw error;
  }
}

/** A time that is to come was told by a clock that was wrong: such a tag counts as not checked. */
function checkedAtOf({ writtenAt }: DatedObject, now: number): number {
  return writtenAt > now ? 0 : writtenAt;
}

/** The manifest that a tag stands for here, where it was checked no earlier than there. */
async function taggedSince(
  { tools: { content } }: Adoption,
  id: RepositoryId,
  tag: Tag,
  checkedAt: number,
): Promise<ManifestContent | undefined> {
  const record = await content.tag(id, tag);
  if (record === undefined || record.checkedAt < checkedAt) return undefined;
  return content.manifest(id, record.digest);
}

/** The manifest in an envelope, as its registry sent it; or why there is none. */
function readEarlier(text: Buffer, { reference }: EarlierManifest): ManifestContent | Skipped {
  const envelope = readEnvelope(text);
  if (typeof envelope === "string") return envelope;
  const { bytes, mediaType, digest: told } = envelope;
  if (told !== undefined && !isDigest(told)) return "wrong digest";
  const digests = [isDigestReference(reference) ? reference : undefined, told].filter((each) => each !== undefined);
  if (digests.some((each) => digestOf(bytes, algorithmOf(each)) !== each)) return "wrong digest";
  const [digest = digestOf(bytes)] = digests;
  const parsed = readManifest(bytes, mediaType);
  if (parsed === undefined) return "not a manifest";
  return { descriptor: { mediaType: parsed.mediaType, digest, size: bytes.length }, bytes, parsed };
}

async function keepTagged(
  adoption: Adoption,
  id: Placed,
  manifest: ManifestContent,
  tag: Tag | undefined,
  checkedAt: number,
): Promise<Adopted> {
  const { content } = adoption.tools;
  const { digest } = manifest.descriptor;
  // Its media type belongs to its digest from the first time on.
  const stored = await content.manifest(id, digest);
  const kept = await keep(adoption, id, stored ?? manifest, stored !== undefined);
  if (tag === undefined || (kept !== "adopted" && kept !== "already there")) return kept;
  if (!adoption.hasRoom(id.namespace, 0, 0)) return "no room";
  if (!adoption.dryRun) await content.setTag(id, tag, { ...(stored ?? manifest).descriptor, checkedAt });
  return "adopted";
}

/** Stores a manifest and links to what it lists, as far as they are missing. */
async function keep(adoption: Adoption, id: Placed, manifest: ManifestContent, isStored: boolean): Promise<Adopted> {
  const { content } = adoption.tools;
  const { descriptor, parsed } = manifest;
  // Who is not configured could name somebody's private digest.
  const contained = id.trusted ? parsed.required : [];
  adoption.list(
    id.namespace,
    contained.map(({ digest }) => digest),
  );
  if (isStored && (await isLinked(adoption, id, contained))) return "already there";
  if (!adoption.hasRoom(id.namespace, descriptor.size, contained.length + 1)) return "no room";
  if (!adoption.dryRun) await content.storeManifest(id, manifest, contained);
  return "adopted";
}

async function isLinked(
  { tools: { content } }: Adoption,
  id: RepositoryId,
  contained: ManifestContent["parsed"]["required"],
): Promise<boolean> {
  for (const { digest } of contained) if ((await content.link(id, digest)) === undefined) return false;
  return true;
}
