/** A JSON object, parsed. */
export type Json = Readonly<Record<string, unknown>>;

/** A JSON document that somebody else wrote. */
export interface JsonDocument {
  readonly fields: Json;
  /** How many names (the part of a field before the colon) its text has, at all levels, repeated ones included. */
  readonly names: number;
}

/** A document that is not taken. The message says why, and quotes nothing of it. */
export class DocumentError extends Error {
  override readonly name = "DocumentError";
}

/**
 * How many names a manifest may have: 10,000 descriptors of a type, a digest, a size and a title. What costs most to
 * build are objects whose names differ, a thousand of them a millisecond or two.
 */
export const maxManifestNames = 50_000;

/** How many names a listing may have: Artifact Registry sends seven for each manifest along with its tags. */
export const maxListingNames = 100_000;

/** How many lists, objects, names and commas there may be, as many as 250,000 tags have. */
const maxParts = 250_000;
/** What is in use has five levels. */
const maxDepth = 64;

// A byte order mark is kept, and refused with the JSON: clients refuse it too.
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Reads a JSON object of at most `maxNames` names. Four megabytes can hold millions of objects, which take a hundred
 * times the room of their text: it is counted first, in one pass over the bytes, and what has too much is never built.
 *
 * @throws {DocumentError}
 */
export function parseDocument(bytes: Uint8Array, maxNames: number): JsonDocument {
  const names = countNames(bytes, maxNames);
  let fields: unknown;
  try {
    fields = JSON.parse(utf8.decode(bytes));
  } catch {
    // The parser's message would quote the document.
    throw new DocumentError("it is not JSON in UTF-8");
  }
  if (!isObject(fields)) throw new DocumentError("it is not a JSON object");
  return { fields, names };
}

/** Whether it is a JSON object: no list, and not null. */
export function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * Whether some object in the document has a name twice. One parser takes the first value then, another the last
 * (RFC 8259 §4); JSON.parse does not say so, and keeps fewer names than the text has.
 */
export function repeatsNames({ fields, names }: JsonDocument): boolean {
  return keptNames(fields) < names;
}

function keptNames(value: unknown): number {
  if (typeof value !== "object" || value === null) return 0;
  const parts: readonly unknown[] = Array.isArray(value) ? value : Object.values(value);
  let count = Array.isArray(value) ? 0 : parts.length;
  for (const part of parts) count += keptNames(part);
  return count;
}

/** Counts the names of a text, right if it is JSON. */
function countNames(bytes: Uint8Array, maxNames: number): number {
  let names = 0;
  let parts = 0;
  let depth = 0;
  let isText = false;
  for (let position = 0; position < bytes.length; position++) {
    const byte = bytes[position];
    if (isText) {
      if (byte === 0x5c /* \ */) position++;
      else if (byte === 0x22 /* " */) isText = false;
      continue;
    }
    switch (byte) {
      case 0x22 /* " */:
        isText = true;
        continue;
      case 0x3a /* : */:
        names++;
        break;
      case 0x2c /* , */:
        break;
      case 0x5b /* [ */:
      case 0x7b /* { */:
        depth++;
        break;
      case 0x5d /* ] */:
      case 0x7d /* } */:
        depth--;
        continue;
      case undefined:
      default:
        continue;
    }
    parts++;
    if (names > maxNames) throw new DocumentError(`it has more than ${maxNames} names`);
    if (parts > maxParts) throw new DocumentError(`it has more than ${maxParts} parts`);
    if (depth > maxDepth) throw new DocumentError(`it is nested more than ${maxDepth} levels deep`);
  }
  return names;
}
