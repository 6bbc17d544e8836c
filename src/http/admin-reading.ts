import type * as z from "zod";
import { readNamespace } from "../jobs/purge-target.ts";
import { parseDigest } from "../oci/digest.ts";
import { OciError } from "../oci/errors.ts";
import { parseRepository, parseTag } from "../oci/reference.ts";

/** Of a request that is refused it is told so many things, in so many characters. */
const issuesTold = 5;
const longestTold = 500;

/**
 * Reads a value by an operation's schema. The error is short, however much of the value is wrong.
 *
 * @param where What the value is, for the message: `the body`.
 * @throws {OciError} REQUEST_INVALID
 */
export function readBy(schema: z.ZodType, value: unknown, where: string): unknown {
  const read = schema.safeParse(value);
  if (read.success) return read.data;
  const { issues } = read.error;
  const problems = issues.slice(0, issuesTold).map(({ path, message }) => {
    return path.length === 0 ? message : `${path.join(".")}: ${message}`;
  });
  if (issues.length > issuesTold) problems.push(`and ${issues.length - issuesTold} more`);
  const told = `${where}: ${problems.join("; ")}`;
  throw new OciError("REQUEST_INVALID", told.length > longestTold ? `${told.slice(0, longestTold - 1)}…` : told);
}

/**
 * Checks where a part of a list is to begin.
 *
 * @param read Reads such a place; throws `OciError` for what is none.
 * @throws {OciError} REQUEST_INVALID where `after` is nothing that a list could have given as `next`.
 */
export function checkPlace(after: string | undefined, read: (text: string) => unknown): void {
  if (after === undefined) return;
  try {
    read(after);
  } catch (error) {
    if (!(error instanceof OciError)) throw error;
    throw new OciError("REQUEST_INVALID", "the query: after: expected the `next` of the part before", { cause: error });
  }
}

/** A place in the list of repositories, which is a repository's full name. */
export function readRepositoryPlace(text: string): void {
  const slash = text.indexOf("/");
  readNamespace(text.slice(0, Math.max(0, slash)));
  parseRepository(text.slice(slash + 1));
}

/** A place in a list of tags: a tag, or a digest of what has none. */
export function readTagPlace(text: string): void {
  if (text.includes(":")) parseDigest(text);
  else parseTag(text);
}
