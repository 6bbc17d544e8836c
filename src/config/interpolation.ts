import { ValueError } from "./config-error.ts";
import type { Problem } from "./problems.ts";
import type { KeyPath } from "./yaml-file.ts";

/** The environment's variables, as `process.env` has them. */
export type Environment = Readonly<Record<string, string | undefined>>;

const reference = /(\$+)\{(?:([^{}$]*)\})?/g;
const variable = /^[A-Za-z_][A-Za-z0-9_]*$/;

/**
 * Puts variables of the environment into a text: `${NAME}` becomes the variable's value, and `$${` the text `${`. Only a
 * dollar sign right before a brace means anything; every other text stays as it is, as passwords may hold any. In a row
 * of dollar signs before a brace, two stand for one. Values are not looked through again.
 *
 * @throws {ValueError} A variable that is not set or empty, or a `${` that is not closed or holds no name. The message
 *   says which variable, and nothing else of the text.
 */
export function interpolate(text: string, env: Environment): string {
  return text.replaceAll(reference, (match: string, dollars: string, name: string | undefined) => {
    const literal = "$".repeat(Math.floor(dollars.length / 2));
    if (dollars.length % 2 === 0) {
      return `${literal}${match.slice(dollars.length)}`;
    }
    if (name === undefined || !variable.test(name)) {
      throw new ValueError("expected a variable's name as in ${NAME}; write $${ for the text ${");
    }
    const value = Object.hasOwn(env, name) ? env[name] : undefined;
    if (value === undefined || value === "") {
      throw new ValueError(`the environment variable ${name} is not set`);
    }
    return `${literal}${value}`;
  });
}

/** Writes a text so that `interpolate` gives it back. */
export function escapeReferences(text: string): string {
  return text.replaceAll(/\$+(?=\{)/g, (dollars) => `${dollars}${dollars}`);
}

/**
 * Puts variables into the texts of a file that may hold them.
 *
 * @param raw The file's value. It is not changed.
 * @param keys Those whose texts may hold variables; besides these, all of `headers`.
 * @returns The new value, and what is wrong with texts, which are as they were then.
 */
export function interpolateKeys(
  raw: unknown,
  keys: ReadonlySet<string>,
  env: Environment,
): { value: unknown; problems: readonly Problem[] } {
  const problems: Problem[] = [];
  const open = new Set<object>();
  const walk = (value: unknown, path: KeyPath): unknown => {
    if (typeof value === "string") {
      if (!keys.has(String(path.at(-1))) && path.at(-2) !== "headers") {
        return value;
      }
      try {
        return interpolate(value, env);
      } catch (error) {
        if (!(error instanceof ValueError)) {
          throw error;
        }
        problems.push({ path, message: error.message });
        return value;
      }
    }
    // By YAML's aliases, something may contain itself; the schema refuses that.
    if (typeof value !== "object" || value === null || open.has(value)) {
      return value;
    }
    open.add(value);
    const filled: unknown = Array.isArray(value)
      ? value.map((item, index) => walk(item, [...path, index]))
      : Object.fromEntries(Object.entries(value).map(([key, item]) => [key, walk(item, [...path, key])]));
    open.delete(value);
    return filled;
  };
  return { value: walk(raw, []), problems };
}
