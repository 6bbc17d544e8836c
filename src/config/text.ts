import { isUtf8 } from "node:buffer";

/** A file that is no text in UTF-8. The message begins with "it", and quotes nothing, as the file may hold secrets. */
export class TextError extends Error {
  override readonly name = "TextError";
}

/**
 * Decodes a file's bytes; a byte order mark before them is left out.
 *
 * @throws {TextError}
 */
export function decodeText(bytes: Uint8Array): string {
  const [first, second] = bytes;
  const isWide = second !== undefined && (first === 0) !== (second === 0);
  if (isWide || (first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff)) {
    throw new TextError("it is UTF-16, and must be UTF-8");
  }
  if (!isUtf8(bytes)) {
    const at = findFault(bytes);
    const line = bytes.subarray(0, at).reduce((count, byte) => (byte === newline ? count + 1 : count), 1);
    throw new TextError(`it is not UTF-8: byte ${at + 1}, in line ${line}`);
  }
  return new TextDecoder().decode(bytes);
}

const newline = 0x0a;

/** Where the first byte stands that cannot be decoded. */
function findFault(bytes: Uint8Array): number {
  const again = new TextEncoder().encode(new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes));
  return again.findIndex((byte, index) => byte !== bytes[index]);
}
