import * as z from "zod";
import type { Environment } from "./interpolation.ts";
import { addProblem, type Problem } from "./problems.ts";

/** How values of one kind are read from a file, and written for people. */
export interface Kind<T> {
  readonly schema: z.ZodType<T>;
  /** Writes a value as `schema` reads it, with secrets hidden; what is `undefined` is left out. */
  show(value: T): unknown;
  /** Whether texts of the kind may hold variables of the environment (`interpolate`). */
  readonly hasVariables?: boolean;
  /** The settings of a mapping, or of the mappings in a list. */
  readonly settings?: Settings;
}

/** Where the content is kept, which is a subcommand, too. */
export type StorageType = "filesystem" | "s3";

/** What else a variable is called, for those who come from another program. */
export interface Alias {
  readonly name: string;
  /** What the variable's value stands for; without it the value itself. */
  readonly read?: (value: string, env: Environment) => string;
}

/** A setting's flag; its variable is named like it. */
export interface Flag {
  /** As help shows it. Without an argument it is a switch. */
  readonly usage: string;
  readonly help: string;
  /** The subcommands that the flag belongs to, the first of which its variable is named by; without any it is for all. */
  readonly commands?: readonly StorageType[];
  /** Other names of its variable, in the order in which they count. */
  readonly aliases?: readonly Alias[];
  /** Whether it does not hold the setting's value, but says where that comes from. */
  readonly isSource?: boolean;
}

/** A default as it would stand in the file; `undefined`: there is none. */
export type Fallback = string | number | boolean | object | null | undefined;

interface Parts {
  readonly key: string;
  readonly kind: Kind<unknown>;
  /** Whether the key may be left out, and whether it may be null, which is the same then. */
  readonly absence: "none" | "omitted" | "null";
  readonly fallback?: Fallback;
  readonly description?: string;
  readonly flags?: readonly Flag[];
}

/**
 * What a key of the file means: the one place where it is named, explained, and given its default and its flags. `T` is
 * what it comes to.
 */
export class Setting<T> {
  readonly key: string;
  readonly fallback: Fallback;
  readonly flags: readonly Flag[];
  readonly kind: Kind<unknown>;
  readonly #parts: Parts;
  #ownSchema: z.ZodType | undefined;

  constructor(parts: Parts) {
    const { key, kind, fallback, flags = [] } = parts;
    this.#parts = parts;
    this.key = key;
    this.kind = kind;
    this.fallback = fallback;
    this.flags = flags;
  }

  /** With what it is there for, in sentences. */
  about(description: string): Setting<T> {
    return new Setting({ ...this.#parts, description });
  }

  /** With a flag, and the variable of the environment that is named like it. */
  flag(usage: string, help: string, more: Omit<Flag, "usage" | "help"> = {}): Setting<T> {
    return new Setting({ ...this.#parts, flags: [...this.flags, { usage, help, ...more }] });
  }

  /** As it is in a place that flags say nothing of. */
  withoutFlags(): Setting<T> {
    return new Setting({ ...this.#parts, flags: [] });
  }

  /** Of the key's value, where there is one. Made when it is asked for, as each word of the setting makes a new one. */
  get ownSchema(): z.ZodType {
    const { kind, absence, description } = this.#parts;
    this.#ownSchema ??= (absence === "null" ? kind.schema.nullable() : kind.schema).meta({ description });
    return this.#ownSchema;
  }

  /** Of the key, with what holds without it. */
  get schema(): z.ZodType {
    if (this.fallback !== undefined) return this.ownSchema.prefault(this.fallback);
    return this.#parts.absence === "none" ? this.ownSchema : this.ownSchema.optional();
  }

  /** Writes a value as it may stand in the file; what is `undefined` is left out. */
  show(value: T): unknown {
    const { absence, kind } = this.#parts;
    if (value === undefined && absence !== "none") return absence === "null" ? null : undefined;
    return kind.show(value);
  }
}

/** A setting that has to be there. */
export function required<T>(key: string, kind: Kind<T>): Setting<T> {
  return new Setting({ key, kind, absence: "none" });
}

/** A setting with a default, as it would stand in the file. */
export function setting<T>(key: string, kind: Kind<T>, fallback: NonNullable<Fallback>): Setting<T> {
  return new Setting({ key, kind, absence: "none", fallback });
}

/** A setting that may be left out, or null, which is the same; `fallback` shows null as its default. */
export function optional<T>(key: string, kind: Kind<T>, fallback?: null): Setting<T | undefined> {
  return new Setting({ key, kind, absence: "null", fallback });
}

/** A setting that may be left out, but not be null. */
export function omissible<T>(key: string, kind: Kind<T>): Setting<T | undefined> {
  return new Setting({ key, kind, absence: "omitted" });
}

/** The settings of a mapping, by the names that the program has for them. */
export type Settings = Readonly<Record<string, Setting<unknown>>>;

/** What settings come to, by the program's names. */
export type Values<S> = { readonly [Name in keyof S]: S[Name] extends Setting<infer T> ? T : never };

/** A mapping as it was read, by the file's keys. */
export type Keys = Readonly<Record<string, unknown>>;

/** The schema of a mapping that has these settings, and may have others. */
function mapping(settings: Settings, others: Settings = {}): z.ZodType<Keys> {
  const own = Object.values(settings).map(({ key, schema }) => [key, schema] as const);
  const more = Object.values(others).map(({ key, ownSchema }) => [key, ownSchema.optional()] as const);
  return z.strictObject(Object.fromEntries([...own, ...more]));
}

/** What a mapping comes to. */
function valuesOf<S extends Settings>(settings: S, keys: Keys): Values<S> {
  const values = Object.entries(settings).map(([name, { key }]) => [name, keys[key] ?? undefined] as const);
  return Object.fromEntries(values) as Values<S>;
}

/** The values that a mapping has of settings that it may leave out; null leaves them out, too. */
export function givenOf<S extends Settings>(settings: S, keys: Keys): Partial<Values<S>> {
  const given = Object.entries(settings).filter(([, { key }]) => key in keys && keys[key] !== null);
  return Object.fromEntries(given.map(([name, { key }]) => [name, keys[key]])) as Partial<Values<S>>;
}

/** Writes the values that are there, by the file's keys. */
export function showAll<S extends Settings>(settings: S, values: Partial<Values<S>>): object {
  const given = Object.entries(settings).filter(([name]) => name in values);
  return Object.fromEntries(given.map(([name, own]) => [own.key, own.show(values[name])]));
}

/**
 * Takes what is wrong, with its place below the mapping that is read. What is wrong with the mapping as a whole is told
 * where nothing within it is.
 */
export type Report = (problem: Problem) => void;

/**
 * The schema of a mapping that `read` makes something of, and of which it reports what is right by itself but not
 * together. What it gives after a problem is of no use.
 *
 * @param others Settings that the mapping may have besides; they are among its keys, and not among its values.
 */
export function assembled<S extends Settings, T>(
  settings: S,
  read: (values: Values<S>, report: Report, keys: Keys) => T,
  others?: Settings,
): z.ZodType<T> {
  return mapping(settings, others).transform((keys, context) => {
    const report: Report = (problem) => {
      if (problem.path.length > 0 || context.issues.length === 0) addProblem(context, problem);
    };
    return read(valuesOf(settings, keys), report, keys);
  });
}

/** A mapping with nothing to it but its settings, and what `check` reports of them together. */
export function section<S extends Settings>(
  settings: S,
  check?: (values: Values<S>, report: Report) => void,
): Kind<Values<S>> {
  return {
    schema: assembled(settings, (values, report) => {
      check?.(values, report);
      return values;
    }),
    show: (values) => showAll(settings, values),
    settings,
  };
}

/** The keys whose texts may hold variables, in these settings and those within. */
export function keysWithVariables(settings: Settings): string[] {
  return Object.values(settings).flatMap(({ key, kind: { hasVariables, settings: inner = {} } }) => {
    return [...(hasVariables === true ? [key] : []), ...keysWithVariables(inner)];
  });
}
