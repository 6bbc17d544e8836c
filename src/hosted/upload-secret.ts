import { randomBytes } from "node:crypto";
import { isObject } from "../oci/document.ts";
import { hostedStateKey } from "../store/hosted-layout.ts";
import type { DatedStore } from "../store/object-store.ts";
import { Catalog } from "./catalog.ts";

const secretBytes = 32;

/** What upload sessions are signed with: made once for all instances on a store, and read once by each. */
export function rememberSecret(store: DatedStore): () => Promise<Buffer> {
  const records = new Catalog({ store, isRecord: isSecret, maxInMemory: 1, maxAgeMs: Infinity, monotonic: () => 0 });
  let reading: Promise<Buffer> | undefined;
  const read = async (): Promise<Buffer> => {
    const entry = await records.change(hostedStateKey("upload-secret"), (found) => {
      return found === undefined ? { set: { secret: randomBytes(secretBytes).toString("hex") } } : "keep";
    });
    return Buffer.from(entry?.record.secret ?? "", "hex");
  };
  return async () => {
    reading ??= read();
    try {
      return await reading;
    } catch (error) {
      // The next one tries again.
      reading = undefined;
      throw error;
    }
  };
}

function isSecret(value: unknown): value is { readonly secret: string } {
  return isObject(value) && typeof value["secret"] === "string" && /^[0-9a-f]{64}$/.test(value["secret"]);
}
