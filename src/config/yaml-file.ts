import { type Document, isAlias, isMap, isNode, isScalar, isSeq, LineCounter, parseDocument, type YAMLError } from "yaml";
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
  const document = parseDocument(content, { lineCounter: lines, prettyErrors: false, merge: true });
  const faults = [...document.errors, ...document.warnings];
  if (faults.length > 0) {
    throw new ConfigError(faults.map((fault) => `${name}:${lineAt(lines, fault.pos[0])}: ${explain(fault)}`));
  }
  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: 100 });
  } catch {
    throw new ConfigError([`${name}: an alias cannot be resolved, or aliases make the file too large`]);
  }
  return {
    name,
    value: value ?? undefined,
    lineOf: (path) => lineAt(lines, offsetOf(document, path)),
  };
}

/** The parser's own words, except where they quote the file. */
function explain(fault: YAMLError): string {
  switch (fault.code) {
    case "BAD_ALIAS":
      return "not valid YAML: an alias (*name) without an anchor (&name) before it";
    case "DUPLICATE_KEY":
      return "the key is there twice";
    case "MULTIPLE_DOCS":
      return "expected one YAML document, found several";
    case "TAG_RESOLVE_FAILED":
      return "unknown YAML tag; put the text in quotes if it is meant to begin with !";
    case "TAB_AS_INDENT":
      return "not valid YAML: a tab in the indentation; use spaces";
    case "BAD_DQ_ESCAPE":
      return "not valid YAML: an unknown escape sequence in a double-quoted text";
    case "UNEXPECTED_TOKEN":
      return "not valid YAML: unexpected text";
    default:
      return `not valid YAML: ${fault.message.replaceAll(/\s+/g, " ").replaceAll(/"[^"]*"/g, '"…"')}`;
  }
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
