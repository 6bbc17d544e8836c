import leven from "leven";
import * as z from "zod";
import type { KeyPath } from "./yaml-file.ts";

/** A JSON Schema, as zod makes it. */
export type JsonSchema = z.core.JSONSchema.BaseSchema;

/** Something to put right: where it stands in the data, and what is wrong. */
export interface Problem {
  readonly path: KeyPath;
  readonly message: string;
}

/** Hands a problem on to zod. */
export function addProblem(context: z.core.$RefinementCtx, { path, message }: Problem): void {
  context.addIssue({ code: "custom", path: [...path], message });
}

/** Reads `value` by `schema`: what it stands for, or everything that is wrong with it. */
export function check<T>(schema: z.ZodType<T>, value: unknown): { value: T } | { problems: Problem[] } {
  // Of a schema that is used once, the code that zod writes for it costs more than it saves.
  const result = schema.safeParse(value, { error: describe, jitless: true });
  return result.success
    ? { value: result.data }
    : { problems: result.error.issues.flatMap((issue) => problemsOf(issue, value, () => keysOf(schema, issue.path))) };
}

/** Writes a path as it is read aloud: `upstreams[1].tls`. */
export function formatPath(path: KeyPath): string {
  let out = "";
  for (const part of path) {
    if (typeof part === "number") {
      out += `[${part}]`;
    } else if (/^[\w$-]+$/.test(part)) {
      out += out === "" ? part : `.${part}`;
    } else {
      out += `[${JSON.stringify(part)}]`;
    }
  }
  return out;
}

/** The candidate that `word` is most likely meant to be, where one is near. Case and separators do not count. */
export function suggest(word: string, candidates: readonly string[]): string | undefined {
  const plain = (text: string): string => text.toLowerCase().replaceAll(/[-_\s]/g, "");
  const ranked = candidates
    .map((candidate) => ({ candidate, distance: leven(plain(word), plain(candidate)) }))
    .sort((a, b) => a.distance - b.distance);
  const best = ranked[0];
  return best !== undefined && best.distance <= Math.ceil(best.candidate.length / 3) ? best.candidate : undefined;
}

/** What was written instead, in short. Text is shown only where `quote` allows it. */
function show(value: unknown, quote: boolean): string {
  if (value === undefined || value === null) {
    return "nothing";
  }
  if (Array.isArray(value)) {
    return "a list";
  }
  if (typeof value === "object") {
    return "a mapping";
  }
  if (!quote) {
    return typeof value === "string" ? "text" : `a ${typeof value}`;
  }
  return typeof value === "string"
    ? JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value)
    : JSON.stringify(value);
}

const expectations: Readonly<Record<string, string>> = {
  array: "a list",
  boolean: "true or false",
  int: "a whole number",
  number: "a whole number",
  object: "a mapping",
  record: "a mapping",
  string: "text",
};

/** The message of one issue; it repeats no secret. */
function describe(issue: z.core.$ZodRawIssue): string {
  if (issue.code === "invalid_type") {
    return describeType(issue.expected, issue.input);
  }
  if (issue.code === "invalid_value") {
    const values = issue.values.map(String);
    const near = typeof issue.input === "string" ? suggest(issue.input, values) : undefined;
    const hint = near === undefined ? "" : `; did you mean "${near}"?`;
    return `expected one of ${values.join(", ")}, got ${show(issue.input, true)}${hint}`;
  }
  if (issue.code === "too_small") {
    return `must be at least ${issue.minimum}, got ${show(issue.input, true)}`;
  }
  if (issue.code === "too_big") {
    return `must be at most ${issue.maximum}, got ${show(issue.input, true)}`;
  }
  return issue.message ?? "is not valid";
}

function describeType(type: string, input: unknown): string {
  if (input === undefined) {
    return "is required";
  }
  const expected = expectations[type] ?? type;
  // A text where a list or mapping belongs may be anything, credentials too.
  return `expected ${expected}, got ${show(input, expected !== "a list" && expected !== "a mapping")}`;
}

function problemsOf(issue: z.core.$ZodIssue, root: unknown, known: () => readonly string[]): Problem[] {
  const path = issue.path as KeyPath;
  if (issue.code === "unrecognized_keys") {
    return issue.keys.map((key) => {
      const near = suggest(key, known());
      return { path: [...path, key], message: `unknown key${near === undefined ? "" : `; did you mean "${near}"?`}` };
    });
  }
  if (issue.code === "invalid_union") {
    const value = valueAt(root, path);
    const meant = issue.errors.find((branch) => !branch.some((inner) => isOtherType(inner, value)));
    return meant === undefined
      ? [{ path, message: `${issue.message}, got ${show(value, true)}` }]
      : meant.flatMap((inner) => problemsOf({ ...inner, path: [...path, ...inner.path] }, root, known));
  }
  return [{ path, message: issue.message }];
}

/** Whether an issue says that a branch of a union is for values of another type. */
function isOtherType(issue: z.core.$ZodIssue, value: unknown): boolean {
  const isWord = issue.code === "invalid_value" && typeof value === "object";
  return issue.path.length === 0 && (issue.code === "invalid_type" || isWord);
}

function valueAt(root: unknown, path: KeyPath): unknown {
  let value = root;
  for (const part of path) {
    value = typeof value === "object" && value !== null ? (value as Record<string | number, unknown>)[part] : undefined;
  }
  return value;
}

/** The keys that the schema has at a path. */
function keysOf(schema: z.ZodType, path: readonly PropertyKey[]): readonly string[] {
  let node = z.toJSONSchema(schema, { io: "input" }) as JsonSchema;
  for (const part of path) {
    const next = typeof part === "number" ? node.items : (node.properties?.[String(part)] ?? node.additionalProperties);
    if (typeof next !== "object" || Array.isArray(next)) {
      return [];
    }
    node = structureOf(next);
  }
  return Object.keys(node.properties ?? {});
}

/** Of a schema with alternatives, the one that has keys or items. */
export function structureOf(schema: JsonSchema): JsonSchema {
  for (const branch of schema.anyOf ?? []) {
    const inner = typeof branch === "object" ? structureOf(branch) : {};
    if (inner.properties !== undefined || inner.items !== undefined) {
      return inner;
    }
  }
  return schema;
}
