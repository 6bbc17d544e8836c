import type { OpenObject } from "./object-store.ts";

/** The bytes of a small object, which is closed; `undefined` where it has more than `limitBytes`. */
export async function readWhole(object: OpenObject, limitBytes: number): Promise<Buffer | undefined> {
  try {
    if (object.sizeBytes > limitBytes) return undefined;
    // Not from Node's pool: a small one that is kept in a cache would keep all of its 64 KiB.
    const whole = Buffer.allocUnsafeSlow(object.sizeBytes);
    let length = 0;
    for await (const chunk of object.read({ start: 0, end: object.sizeBytes })) {
      whole.set(chunk, length);
      length += chunk.length;
    }
    return whole;
  } finally {
    await object.close();
  }
}
