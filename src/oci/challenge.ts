/** One challenge of a `WWW-Authenticate` header (RFC 9110 §11.6.1). */
export interface Challenge {
  /** The authentication scheme, in lower case: `bearer`, `basic`. */
  readonly scheme: string;
  /** The parameters by name in lower case, with quotes and escapes taken off. Of repeated names the first counts. */
  readonly parameters: ReadonlyMap<string, string>;
}

const token = /[!#$%&'*+.^_`|~0-9A-Za-z-]+/y;
const token68 = /[A-Za-z0-9._~+/-]+=*(?=[ \t]*(?:,|$))/y;
const quoted = /"[^"\\]*(?:\\[^][^"\\]*)*"/y;
// Wider than a token: some registries leave quotes off a URL.
const bare = /[^\s,"]+/y;
const space = /[ \t]*/y;
const emptyElements = /[ \t,]*/y;
const separator = /[ \t]*(?:,[ \t,]*|$)/y;

/**
 * Reads a `WWW-Authenticate` header: any number of challenges in one line, each a scheme with a token68 (which is
 * dropped) or with parameters. Header lines that were sent apart are joined with `, ` first.
 *
 * It never throws: from the first place that cannot be read on, the rest is dropped, and what was read before it stands.
 */
export function parseChallenges(header: string): Challenge[] {
  const reader = new Reader(header);
  const challenges: Challenge[] = [];
  reader.take(emptyElements);
  while (!reader.atEnd) {
    const scheme = reader.take(token);
    if (scheme === undefined || reader.peek("=")) {
      break;
    }
    const parameters = new Map<string, string>();
    challenges.push({ scheme: scheme.toLowerCase(), parameters });
    if (!readParameters(reader, parameters)) {
      break;
    }
  }
  return challenges;
}

/** Reads what belongs to a scheme, with the comma after it. False: the rest of the header is unreadable. */
function readParameters(reader: Reader, parameters: Map<string, string>): boolean {
  // No space after the scheme: only a comma or the end may follow.
  if (reader.take(space) === "" || reader.peek(",") || reader.atEnd) {
    return reader.take(separator) !== undefined;
  }
  if (reader.take(token68) !== undefined) {
    return reader.take(separator) !== undefined;
  }
  while (!reader.atEnd) {
    const start = reader.position;
    const name = reader.take(token);
    reader.take(space);
    if (name === undefined || !reader.peek("=")) {
      // After a comma this is the next challenge's scheme; directly after the scheme it is nothing that is known.
      reader.position = start;
      return parameters.size > 0;
    }
    reader.position += 1;
    reader.take(space);
    const value =
      reader
        .take(quoted)
        ?.slice(1, -1)
        .replaceAll(/\\([^])/g, "$1") ??
      reader.take(bare) ??
      "";
    if (reader.take(separator) === undefined) {
      return false;
    }
    const key = name.toLowerCase();
    if (!parameters.has(key)) {
      parameters.set(key, value);
    }
  }
  return true;
}

class Reader {
  position = 0;
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  get atEnd(): boolean {
    return this.position >= this.#text.length;
  }

  peek(character: string): boolean {
    return this.#text[this.position] === character;
  }

  /** Takes what a sticky pattern matches here and steps over it; `undefined`, without a step, where it does not. */
  take(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.position;
    const matched = pattern.exec(this.#text)?.[0];
    this.position += matched?.length ?? 0;
    return matched;
  }
}
