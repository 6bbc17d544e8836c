import { S3Store } from "../../src/store/s3.ts";
import type { S3Options } from "../../src/store/s3-options.ts";
import type { Key, ObjectReader } from "../../src/store/object-store.ts";
import { readWhole } from "../../src/store/read-whole.ts";
import { FakeS3 } from "./fake-s3.ts";
import type { S3Profile } from "./fake-s3-bucket.ts";

/** A store, and the server that it speaks to. */
export interface S3Subject extends AsyncDisposable {
  readonly server: FakeS3;
  readonly store: S3Store;
}

/** Starts a fake server, and opens a store on it. */
export async function s3Subject(
  profile: Partial<S3Profile> = {},
  options: Partial<S3Options> = {},
): Promise<S3Subject> {
  const server = await FakeS3.start(profile);
  const store = await S3Store.open(server.options(options));
  return {
    server,
    store,
    async [Symbol.asyncDispose]() {
      await store.close();
      await server[Symbol.asyncDispose]();
    },
  };
}

/** An object's bytes; `undefined` where there is none. */
export async function readAll(store: Pick<ObjectReader, "get">, key: Key): Promise<Buffer | undefined> {
  const object = await store.get(key);
  return object && (await readWhole(object, Infinity));
}

/** All that comes. */
export async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

/** A stream of these chunks, each in memory that is used again; at its end it throws where an error is given. */
export async function* streamOf(chunks: Iterable<Uint8Array>, failure?: Error): AsyncGenerator<Uint8Array> {
  for (const chunk of chunks) {
    const lent = Uint8Array.from(chunk);
    yield lent;
    lent.fill(0xee);
  }
  if (failure !== undefined) throw failure;
}

/** The bytes in chunks of so many. */
export function chunksOf(bytes: Buffer, chunkBytes: number): Buffer[] {
  return Array.from({ length: Math.ceil(bytes.length / chunkBytes) }, (_, index) =>
    bytes.subarray(index * chunkBytes, (index + 1) * chunkBytes),
  );
}
