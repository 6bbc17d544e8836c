/** Global names, also as modules of Node, that only the program itself may use. */
export const globalsOfProgram: ReadonlySet<string> = new Set(["process", "console"]);

/** What is looked at in one file: its imports, and the global names that only the program itself may use. */
export interface Reading {
  /** Static, type-only and dynamic imports and re-exports, as they are written. */
  readonly imports: readonly string[];
  /** Modules that are named by `new URL("./x.ts", …)`, as a worker's is. They run on their own, so they make no cycle. */
  readonly workers: readonly string[];
  readonly globals: readonly string[];
}

interface Token {
  readonly kind: "word" | "string" | "other";
  /** A string's contents; otherwise the token itself. */
  readonly text: string;
}

const blank = /(?:\s|\/\/[^\n]*|\/\*[^]*?\*\/)+/y;
const word = /[\p{ID_Start}\p{Nd}$_#][\p{ID_Continue}$]*/uy;
const quoted = /"((?:[^"\\\n]|\\[^])*)"|'((?:[^'\\\n]|\\[^])*)'/y;
const templatePart = /(?:[^`\\$]|\\[^]|\$(?!\{))*/y;
const regularExpression = /\/(?:[^/\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[a-z]*/y;
// After these words a slash begins a regular expression; after others, and after a closing bracket, it divides.
const beforeExpression = /^(?:return|typeof|case|in|of|await|yield|void|delete|else|do|instanceof|throw)$/;

/** Splits a source into words, strings and single characters, without comments and what templates say. */
function tokenize(source: string): Token[] {
  const tokens: Token[] = [];
  // For every open brace, whether it is a template's `${`.
  const braces: boolean[] = [];
  let position = 0;
  const take = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = position;
    const match = pattern.exec(source);
    position += match?.[0].length ?? 0;
    return match;
  };
  const takeTemplate = (): void => {
    take(templatePart);
    if (source.startsWith("${", position)) {
      position += 2;
      braces.push(true);
      tokens.push({ kind: "other", text: "{" });
    } else {
      position += 1;
      tokens.push({ kind: "string", text: "" });
    }
  };
  for (;;) {
    take(blank);
    if (position >= source.length) {
      return tokens;
    }
    const text = take(word)?.[0];
    if (text !== undefined) {
      tokens.push({ kind: "word", text });
      continue;
    }
    const string = take(quoted);
    if (string !== null) {
      tokens.push({ kind: "string", text: string[1] ?? string[2] ?? "" });
      continue;
    }
    const character = source.charAt(position);
    if (character === "/" && !endsOperand(tokens.at(-1)) && take(regularExpression) !== null) {
      tokens.push({ kind: "string", text: "" });
      continue;
    }
    position += 1;
    if (character === "`" || (character === "}" && braces.pop() === true)) {
      takeTemplate();
      continue;
    }
    if (character === "{") {
      braces.push(false);
    }
    tokens.push({ kind: "other", text: character });
  }
}

function endsOperand(token: Token | undefined): boolean {
  if (token?.kind === "word") {
    return !beforeExpression.test(token.text);
  }
  return token !== undefined && (token.kind === "string" || ")]}".includes(token.text));
}

/** Reads a TypeScript source far enough to see what it depends on; comments and what strings say do not count. */
export function readSource(source: string): Reading {
  const tokens = tokenize(source);
  const imports: string[] = [];
  const workers: string[] = [];
  const globals: string[] = [];
  const isText = (index: number, ...texts: string[]): boolean =>
    texts.every((text, offset) => tokens[index + offset]?.kind !== "string" && tokens[index + offset]?.text === text);
  // A member of something else; not `...process`, and not `globalThis.process` or `globalThis?.process`.
  const isMember = (index: number): boolean =>
    isText(index - 1, ".") &&
    !isText(index - 2, ".") &&
    !isText(index - 2, "globalThis") &&
    !isText(index - 3, "globalThis", "?");
  tokens.forEach(({ kind, text }, index) => {
    if (kind === "string") {
      if (isText(index - 1, "from") || isText(index - 1, "import") || isText(index - 2, "import", "(")) {
        imports.push(text);
      } else if (/\.[jt]s$/.test(text) && isText(index - 3, "new", "URL", "(")) {
        workers.push(text);
      }
    } else if (globalsOfProgram.has(text) && !isMember(index)) {
      globals.push(text);
    }
  });
  return { imports, workers, globals };
}
