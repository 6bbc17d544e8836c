import type { BufferPool } from "../store/buffers.ts";
import { ForeignFolder } from "../store/foreign-folder.ts";
import { codeOf, type Key } from "../store/object-store.ts";
import { isAbsence } from "../store/root.ts";
import { earlierManifests } from "./adopt-layout.ts";

/** A folder or a bucket cannot be adopted; the message says why. */
export class NotAdoptable extends Error {
  override readonly name = "NotAdoptable";
}

export const distribution = ["docker", "a storage of the distribution registry"] as const;

/** What a folder of the earlier system never has, and other caches of images do. */
const ofOthers: readonly (readonly [name: string, owner: string])[] = [
  ["format", "a storage of entrepot already"],
  ["oci-layout", "an OCI layout"],
  distribution,
];

/**
 * Opens the earlier system's folder to adopt it into the storage at `target`, which need not exist.
 *
 * @throws {NotAdoptable} it is no such folder, or the target is in it, or the other way round. Nothing was written.
 */
export async function openEarlierFolder(path: string, target: string, pool: BufferPool): Promise<ForeignFolder> {
  let folder: ForeignFolder;
  try {
    folder = await ForeignFolder.open(path, pool);
  } catch (error) {
    const reason = isAbsence(error) ? "there is no such folder" : `it cannot be read (${codeOf(error) ?? "unknown"})`;
    throw new NotAdoptable(`${path} cannot be adopted: ${reason}`, { cause: error });
  }
  if (await folder.meets(target)) {
    throw new NotAdoptable(
      `${path} cannot be adopted into ${target}: one is in the other; what is adopted is copied, so use another folder`,
    );
  }
  for (const [name, owner] of ofOthers) {
    if (await folder.has(name as Key)) throw new NotAdoptable(`${path} cannot be adopted: it is ${owner} (${name})`);
  }
  if (!(await folder.hasFolder(earlierManifests))) {
    throw new NotAdoptable(
      `${path} cannot be adopted: a folder of mcronce/oci-registry has a folder ${earlierManifests}/ in it, this has none`,
    );
  }
  return folder;
}
