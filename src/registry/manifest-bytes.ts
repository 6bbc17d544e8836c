import { OciError } from "../oci/errors.ts";
import { type Manifest, mayBeManifest, parseManifest } from "../oci/manifest.ts";
import { turnToRead } from "../concurrency/turn.ts";

/** The manifest that a link speaks of; `undefined` where the content cannot be read as that (CVE-2021-41190). */
export function readManifest(bytes: Buffer, linked: string): Manifest | undefined {
  try {
    return parseManifest(bytes, linked);
  } catch (error) {
    if (error instanceof OciError) return undefined;
    throw error;
  }
}

/** Whether bytes of which nothing else is known read as a manifest. */
export async function areManifest(bytes: Buffer): Promise<boolean> {
  if (!mayBeManifest(bytes)) return false;
  await turnToRead(bytes);
  return readManifest(bytes, "") !== undefined;
}
