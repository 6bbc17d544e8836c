import type { BucketStore } from "../store/bucket-store.ts";
import { hostedDataKey } from "../store/hosted-layout.ts";
import { type OpenObject, type Span, StoreError, type Version } from "../store/object-store.ts";
import type { Piece, StoredParts } from "./bucket-records.ts";

/** How many objects are looked up at once. */
const lookUpsAtOnce = 16;

/**
 * Opens bytes, and the first of their pieces with them: the others are opened when they are read. `undefined` where that
 * is missing.
 *
 * @throws {StoreError}
 */
export async function openParts(
  store: BucketStore,
  parts: StoredParts,
  version: Version,
): Promise<OpenObject | undefined> {
  const { pieces } = parts;
  const tail = Buffer.from(parts.tail, "base64");
  const [first] = pieces;
  const opened = first && (await openPiece(store, first));
  if (first !== undefined && opened === undefined) return undefined;
  async function* readPiece(piece: Piece, span: Span): AsyncGenerator<Uint8Array> {
    const object = piece === first ? opened : await openPiece(store, piece);
    if (object === undefined) throw new StoreError(`a piece is missing: ${piece.name}`, undefined);
    try {
      yield* object.read(span);
    } finally {
      if (object !== opened) await object.close();
    }
  }
  return {
    version,
    sizeBytes: pieces.reduce((sum, { sizeBytes }) => sum + sizeBytes, tail.length),
    async *read({ start, end }) {
      let offset = 0;
      for (const piece of pieces) {
        const span = { start: Math.max(0, start - offset), end: Math.min(piece.sizeBytes, end - offset) };
        if (span.end > span.start) yield* readPiece(piece, span);
        offset += piece.sizeBytes;
      }
      const rest = tail.subarray(Math.max(0, start - offset), Math.max(0, end - offset));
      if (rest.length > 0) yield rest;
    },
    async close() {
      await opened?.close();
    },
  };
}

/**
 * Whether all pieces are there.
 *
 * @throws {StoreError}
 */
export async function arePartsWhole(store: BucketStore, { pieces }: StoredParts): Promise<boolean> {
  for (let next = 0; next < pieces.length; next += lookUpsAtOnce) {
    const isThere = async ({ name, sizeBytes }: Piece): Promise<boolean> =>
      (await store.head(hostedDataKey(name)))?.sizeBytes === sizeBytes;
    const found = await Promise.all(pieces.slice(next, next + lookUpsAtOnce).map(isThere));
    if (found.includes(false)) return false;
  }
  return true;
}

/** A piece; `undefined` also where it is of another size than it was. */
async function openPiece(store: BucketStore, { name, sizeBytes }: Piece): Promise<OpenObject | undefined> {
  const object = await store.get(hostedDataKey(name));
  if (object === undefined || object.sizeBytes === sizeBytes) return object;
  await object.close();
  return undefined;
}
