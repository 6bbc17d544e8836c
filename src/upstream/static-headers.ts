/** What a request says by itself, what HTTP says of the connection (RFC 9110 §7.6.1), and what is no business of ours. */
const reservedNames: ReadonlySet<string> = new Set([
  "accept",
  "accept-encoding",
  "authorization",
  "connection",
  "content-encoding",
  "content-length",
  "content-type",
  "expect",
  "host",
  "keep-alive",
  "proxy-authorization",
  "proxy-connection",
  "range",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "user-agent",
]);

/**
 * Reads headers that are configured for an upstream, with their names in lower case.
 *
 * @throws {RangeError} A name that is none, that is reserved or there twice, or a value that cannot be sent as it
 *   stands. The message does not repeat the value, which may be a secret.
 */
export function parseStaticHeaders(headers: Readonly<Record<string, string>>): Record<string, string> {
  const parsed: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    const key = name.toLowerCase();
    if (!/^[!#$%&'*+.^_`|~0-9a-z-]{1,128}$/.test(key)) {
      throw new RangeError("a header's name must be made of letters, digits and dashes");
    }
    if (reservedNames.has(key)) {
      throw new RangeError(`the header ${key} cannot be set`);
    }
    if (Object.hasOwn(parsed, key)) throw new RangeError(`the header ${key} is there twice`);
    if (!/^[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?$/.test(value)) {
      throw new RangeError(`the value of the header ${key} must be printable ASCII text without spaces around it`);
    }
    parsed[key] = value;
  }
  return parsed;
}
