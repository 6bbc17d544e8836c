import {
  type Document,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  parseDocument,
  visit,
  type YAMLError,
} from "yaml";
import { ConfigError } from "./config-error.ts";

/** A path into a document: `["upstreams", 1, "tls"]`. */
export type KeyPath = readonly (string | number)[];

/** A YAML (or JSON) file as plain values, which remembers where they stand. */
export interface YamlFile {
  readonly name: string;
  /** `undefined` for a file without content. */
  readonly value: unknown;
  /** The line, from 1, of a key or an item; of the nearest thing around it where it is not in the file itself. */
  lineOf(path: KeyPath): number;
}

/**
 * Reads YAML 1.2, with `<<` merge keys.
 *
 * @param name How the file is called in messages.
 * @throws {ConfigError} One line for each error of syntax; none repeats what the file says, as that may be a secret.
 */
export function parseYamlFile(name: string, content: string): YamlFile {
  const lines = new LineCounter();
  const document = parseDocument(content, { lineCounter: lines, prettyErrors: false, merge: true, stringKeys: true });
  const faults = [...document.errors, ...document.warnings].map((fault) => [fault.pos[0], explain(fault)] as const);
  if (faults.length === 0) {
    faults.push(...findLooseAliases(document).map((offset) => [offset, looseAlias] as const));
  }
  if (faults.length > 0) {
    throw new ConfigError(faults.map(([offset, message]) => `${name}:${lineAt(lines, offset)}: ${message}`));
  }
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 100 });
  } catch {
    throw new ConfigError([`${name}: not valid here: aliases that contain themselves, or make the file too large`]);
  }
  return {
    name,
    value: value ?? undefined,
    lineOf: (path) => lineAt(lines, offsetOf(document, path)),
  };
}

const looseAlias = "not valid YAML: an alias (*name) without an anchor (&name) before it";

/** What is said instead of the parser's own words, where these quote the file or do not help. */
const explanations: Readonly<Partial<Record<YAMLError["code"], string>>> = {
  BAD_ALIAS: looseAlias,
  BAD_DIRECTIVE: "not valid YAML: an unknown directive (a line that begins with %)",
  BAD_DQ_ESCAPE: "not valid YAML: an unknown escape sequence in a double-quoted text",
  DUPLICATE_KEY: "the key is there twice",
  NON_STRING_KEY: "not valid here: a key that is not text",
  MULTIPLE_DOCS: "expected one YAML document, found several",
  TAB_AS_INDENT: "not valid YAML: a tab in the indentation; use spaces",
  TAG_RESOLVE_FAILED: "unknown YAML tag; put the text in quotes if it is meant to begin with !",
  UNEXPECTED_TOKEN: "not valid YAML: unexpected text",
};

function explain(fault: YAMLError): string {
  return explanations[fault.code] ?? `not valid YAML: ${fault.message.replaceAll(/\s+/g, " ")}`;
}

/** Where aliases stand that mean nothing. */
function findLooseAliases(document: Document): number[] {
  const offsets: number[] = [];
  visit(document, {
    Alias(_, alias) {
      if (alias.resolve(document) === undefined) {
        offsets.push(alias.range?.[0] ?? 0);
      }
    },
  });
  return offsets;
}

function lineAt(lines: LineCounter, offset: number): number {
  return Math.max(1, lines.linePos(offset).line);
}

function offsetOf(document: Document, path: KeyPath): number {
  let node: unknown = document.contents;
  let offset = startOf(node) ?? 0;
  for (const part of path) {
    if (isAlias(node)) {
      node = node.resolve(document);
    }
    if (isSeq(node) && typeof part === "number") {
      node = node.items[part];
      offset = startOf(node) ?? offset;
      continue;
    }
    const pair = isMap(node) ? node.items.find(({ key }) => isScalar(key) && String(key.value) === part) : undefined;
    if (pair === undefined) {
      break;
    }
    offset = startOf(pair.key) ?? offset;
    node = pair.value;
  }
  return offset;
}

function startOf(node: unknown): number | undefined {
  return isNode(node) ? node.range?.[0] : undefined;
}
