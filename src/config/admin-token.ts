import { ValueError } from "./config-error.ts";

/**
 * Reads the token of the administration API: at least 16 printable ASCII characters, as a header can carry them.
 *
 * @throws {ValueError} The message does not repeat the token.
 */
export function parseAdminToken(text: string): string {
  if (!/^[\x21-\x7e]{16,}$/.test(text)) {
    throw new ValueError("must be at least 16 printable ASCII characters, without spaces");
  }
  return text;
}
