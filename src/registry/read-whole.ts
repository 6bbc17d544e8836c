import type { OpenObject } from "../store/object-store.ts";

/** The bytes of a small object, which is closed; `undefined` where it has more than `limitBytes`. */
export async function readWhole(object: OpenObject, limitBytes: number): Promise<Buffer | undefined> {
  try {
    if (object.sizeBytes > limitBytes) return undefined;
    const chunks: Buffer[] = [];
    for await (const chunk of object.read({ start: 0, end: object.sizeBytes })) chunks.push(Buffer.from(chunk));
    return Buffer.concat(chunks);
  } finally {
    await object.close();
  }
}
