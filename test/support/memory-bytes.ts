import type { HostedBytes, StoredContent, StoredUpload, UploadBytes } from "../../src/hosted/bytes.ts";
import { untilAborted } from "../../src/concurrency/until-aborted.ts";
import { algorithmOf, type Algorithm, type Digest, digestOf } from "../../src/oci/digest.ts";
import {
  digestOfHostedBlob,
  hostedBlobKey,
  hostedBlobsPrefix,
  hostedUploadKey,
  hostedUploadsPrefix,
} from "../../src/store/hosted-layout.ts";
import { type DatedStore, type OpenObject, PreconditionFailed } from "../../src/store/object-store.ts";
import { readWhole } from "../../src/store/read-whole.ts";

/** Bytes of what is hosted as objects of a store, each as it is: an upload is one, too, and is copied at its end. */
export class MemoryBytes implements HostedBytes {
  readonly #store: DatedStore;

  constructor(store: DatedStore) {
    this.#store = store;
  }

  async stat(digest: Digest): Promise<StoredContent | undefined> {
    const object = await this.#store.head(hostedBlobKey(digest));
    return object && { ...object, digest };
  }

  async open(digest: Digest): Promise<OpenObject | undefined> {
    return this.#store.get(hostedBlobKey(digest));
  }

  async put(digest: Digest, bytes: Uint8Array): Promise<void> {
    await this.#store.put(hostedBlobKey(digest), bytes);
  }

  async renew(digest: Digest, maxAgeMs: number): Promise<boolean> {
    for (;;) {
      const content = await this.stat(digest);
      if (content === undefined || this.now() - content.writtenAt < maxAgeMs) return content !== undefined;
      const bytes = await this.#read(digest);
      if (bytes === undefined) return false;
      try {
        await this.#store.put(hostedBlobKey(digest), bytes, { if: content.version });
        return true;
      } catch (error) {
        if (!(error instanceof PreconditionFailed)) throw error;
      }
    }
  }

  async *list(): AsyncGenerator<StoredContent> {
    for await (const object of this.#store.list(hostedBlobsPrefix)) {
      const digest = digestOfHostedBlob(object.key);
      if (digest !== undefined) yield { ...object, digest };
    }
  }

  async remove({ digest, version }: StoredContent): Promise<boolean> {
    try {
      await this.#store.delete(hostedBlobKey(digest), { if: version });
      return true;
    } catch (error) {
      if (error instanceof PreconditionFailed) return false;
      throw error;
    }
  }

  async received(session: string): Promise<StoredUpload | undefined> {
    const object = await this.#store.head(hostedUploadKey(session));
    return object && { session, receivedBytes: object.sizeBytes, writtenAt: object.writtenAt };
  }

  async append(session: string, _algorithm: Algorithm, chunk: UploadBytes): Promise<number> {
    const chunks = [await this.#received(session)];
    try {
      for await (const each of untilAborted(chunk.bytes, chunk.signal)) chunks.push(Buffer.from(each));
    } finally {
      await this.#store.put(hostedUploadKey(session), Buffer.concat(chunks));
    }
    return Buffer.concat(chunks).length;
  }

  async commit(session: string, digest: Digest): Promise<number | undefined> {
    const bytes = await this.#received(session);
    const isRight = digestOf(bytes, algorithmOf(digest)) === digest;
    if (isRight) await this.#store.put(hostedBlobKey(digest), bytes);
    await this.drop(session);
    return isRight ? bytes.length : undefined;
  }

  async drop(session: string): Promise<void> {
    await this.#store.delete(hostedUploadKey(session));
  }

  async *uploads(): AsyncGenerator<StoredUpload> {
    for await (const { key, sizeBytes, writtenAt } of this.#store.list(hostedUploadsPrefix)) {
      yield { session: key.slice(hostedUploadsPrefix.length + 1), receivedBytes: sizeBytes, writtenAt };
    }
  }

  now(): number {
    return this.#store.now();
  }

  async close(): Promise<void> {}

  async #read(digest: Digest): Promise<Buffer | undefined> {
    const object = await this.open(digest);
    return object && readWhole(object, Infinity);
  }

  async #received(session: string): Promise<Buffer> {
    const object = await this.#store.get(hostedUploadKey(session));
    return (object && (await readWhole(object, Infinity))) ?? Buffer.alloc(0);
  }
}
