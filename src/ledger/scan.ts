import type { Digest } from "../oci/digest.ts";
import { OciError } from "../oci/errors.ts";
import { isManifestMediaType, maxManifestBytes, parseManifest } from "../oci/manifest.ts";
import type { FileReader, StoredFile } from "../store/local-upkeep.ts";
import { type Key, StoreError } from "../store/object-store.ts";
import { isLink, isTagRecord } from "../store/content-records.ts";
import { blobKey, blobsPrefix, parseKey, repositoriesPrefix } from "../store/layout.ts";
import { readWhole } from "../store/read-whole.ts";
import type { LedgerChange } from "./ledger.ts";

const changesAtOnce = 128;
const maxRecordBytes = 64 * 1024;

/**
 * Reads what a store holds, as changes to a ledger, a few at a time, content first: when links and tags come, the
 * caller has taken in the content. Manifests are read for what they refer to where `wantsChildren` says so. What cannot
 * be read as what it should be is left out, and told to `onUnreadable` where the system does not let it be read.
 *
 * @throws {StoreError} the store could not be listed
 */
export async function* scanStore(
  reader: FileReader,
  wantsChildren: (digest: Digest) => boolean,
  onUnreadable: () => void,
): AsyncGenerator<LedgerChange[]> {
  const files = { reader, onUnreadable };
  let changes: LedgerChange[] = [];
  for (const prefix of [blobsPrefix, repositoriesPrefix]) {
    for await (const info of reader.list(prefix, { onUnreadable })) {
      const manifest = await readObject(files, info, wantsChildren, changes);
      const children = manifest && (await readChildren(files, manifest));
      if (manifest !== undefined && children !== undefined) {
        changes.push({ kind: "children", digest: manifest.digest, children });
      }
      // A manifest may have thousands of children: it is not kept waiting, nor asked for again.
      if (changes.length < changesAtOnce && children === undefined) continue;
      yield changes;
      changes = [];
    }
    if (changes.length > 0) yield changes;
    changes = [];
  }
}

interface Files {
  readonly reader: FileReader;
  readonly onUnreadable: () => void;
}

interface Manifest {
  readonly digest: Digest;
  readonly mediaType: string | undefined;
}

/** Adds what an object is to `changes`; returns the manifest that it speaks of, if that is to be read. */
async function readObject(
  files: Files,
  { key, sizeBytes, usedAt: at }: StoredFile,
  wantsChildren: (digest: Digest) => boolean,
  changes: LedgerChange[],
): Promise<Manifest | undefined> {
  const place = parseKey(key);
  switch (place?.kind) {
    case "content":
    case "page":
      changes.push({ ...place, sizeBytes, at });
      return undefined;
    case "link": {
      // The link is kept in memory and hardly ever read: its content's time says more of when it was used.
      const content = await orUnreadable(files, () => files.reader.head(blobKey(place.digest)));
      changes.push({ ...place, at: Math.max(at, content?.usedAt ?? 0) });
      if (!wantsChildren(place.digest)) return undefined;
      const link = await readRecord(files, key);
      if (!isLink(link) || !isManifestMediaType(link.mediaType)) return undefined;
      return { digest: place.digest, mediaType: link.mediaType };
    }
    case "tag": {
      const record = await readRecord(files, key);
      if (!isTagRecord(record)) return undefined;
      changes.push({ ...place, digest: record.digest, at });
      return wantsChildren(record.digest) ? record : undefined;
    }
    case undefined:
      return undefined;
  }
}

/** What a manifest's content refers to; `undefined` where it is none. It is not hashed: who serves it does that. */
async function readChildren(files: Files, { digest, mediaType }: Manifest): Promise<Digest[] | undefined> {
  const bytes = await read(files, blobKey(digest), maxManifestBytes);
  if (bytes === undefined) return undefined;
  try {
    return parseManifest(bytes, mediaType).children.map((child) => child.digest);
  } catch (error) {
    if (error instanceof OciError) return undefined;
    throw error;
  }
}

async function readRecord(files: Files, key: Key): Promise<unknown> {
  const bytes = await read(files, key, maxRecordBytes);
  try {
    return bytes && JSON.parse(bytes.toString("utf8"));
  } catch {
    return undefined;
  }
}

async function read(files: Files, key: Key, limitBytes: number): Promise<Buffer | undefined> {
  return orUnreadable(files, async () => {
    const object = await files.reader.get(key);
    return object && readWhole(object, limitBytes);
  });
}

/** What is asked of the store. One file that cannot be read does not keep the ledger from knowing all others. */
async function orUnreadable<T>({ onUnreadable }: Files, ask: () => Promise<T>): Promise<T | undefined> {
  try {
    return await ask();
  } catch (error) {
    if (!(error instanceof StoreError)) throw error;
    onUnreadable();
    return undefined;
  }
}
