import { StoreError } from "../store/object-store.ts";

/** nginx reads its configuration in pieces of 4 KiB, and takes no longer word. */
const maxWordBytes = 3_900;

/** What a text becomes within nginx's double quotes: its own escapes are those of `ngx_conf_read_token`. */
const escapes: Readonly<Record<string, string>> = { "\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t" };

/**
 * Writes a text as one word of nginx's configuration, of whatever it consists. Where the directive takes variables, what
 * is behind a `$` still is the name of one: nginx has no escape for that.
 *
 * @throws {StoreError} nginx takes no word of this length.
 */
export function quote(text: string): string {
  const word = `"${text.replaceAll(/[\\"\n\r\t]/g, (character) => escapes[character] ?? character)}"`;
  if (Buffer.byteLength(word) > maxWordBytes) {
    throw new StoreError(`nginx reads no word of ${Buffer.byteLength(word)} bytes`, undefined);
  }
  return word;
}

/**
 * Directives that answer with a JSON document: in pieces, as nginx takes no long word, and without a `$`, which JSON can
 * write in another way.
 *
 * @throws {StoreError} it is longer than about 900 kB.
 */
export function returnDocument(document: unknown): string[] {
  const pieces = piecesOf(JSON.stringify(document).replaceAll("$", String.raw`\u0024`));
  const names = pieces.map((_, index) => `$entrepot_${index}`);
  return [...pieces.map((piece, index) => `set ${names[index]} ${piece};`), `return 200 ${quote(names.join(""))};`];
}

/** A text as words that are short enough; no character is divided. */
function piecesOf(text: string): string[] {
  const pieces: string[] = [];
  let piece = "";
  let sizeBytes = 0;
  for (const character of text) {
    const bytes = Buffer.byteLength(escapes[character] ?? character);
    if (sizeBytes + bytes > maxWordBytes - 2) {
      pieces.push(quote(piece));
      piece = "";
      sizeBytes = 0;
    }
    piece += character;
    sizeBytes += bytes;
  }
  return [...pieces, quote(piece)];
}
