import { parseDigest } from "./digest.ts";
import { OciError } from "./errors.ts";
import {
  isDigestReference,
  type Namespace,
  parseNamespace,
  parseRepository,
  parseTag,
  type Reference,
  type Repository,
} from "./reference.ts";

/**
 * An image as people name it, with what they left out filled in. The registry's name is the one that was written
 * (`index.docker.io` stays that), and `library/` is not added: which registry and repository are meant is for
 * `Namespaces` to say, as for a client's request.
 */
export interface ImageReference {
  readonly namespace: Namespace;
  readonly repository: Repository;
  readonly reference: Reference;
}

const defaultNamespace = "docker.io";
const defaultTag = "latest";
const namePattern = /^([^:@]*)(?::([^@]*))?(?:@(.*))?$/s;

/**
 * Reads an image's name as Docker does: `alpine`, `quay.io/team/app:1.2`, `localhost:5000/app@sha256:…`. What stands
 * before the first `/` is a registry when it has a dot or a colon or is `localhost`; otherwise Docker
 * Hub is meant. Without tag and digest it is `latest`; where there are both the digest counts.
 *
 * @throws {OciError} NAME_INVALID, TAG_INVALID, DIGEST_INVALID
 */
export function parseImageReference(text: string): ImageReference {
  const slash = text.indexOf("/");
  const isRegistry = namesRegistry(text);
  const rest = isRegistry ? text.slice(slash + 1) : text;
  const [, name = "", tag, digest] = namePattern.exec(rest) ?? [];
  const namespace = parseNamespace(isRegistry ? text.slice(0, slash) : defaultNamespace);
  const repository = parseRepository(name);
  const tagged = parseTag(tag ?? defaultTag);
  return { namespace, repository, reference: digest === undefined ? tagged : parseDigest(digest) };
}

/** Whether an image's name says which registry it is of: what stands before the first `/` has a dot or a colon, or is `localhost`. */
export function namesRegistry(text: string): boolean {
  const first = text.slice(0, Math.max(0, text.indexOf("/")));
  return /[.:]/.test(first) || first === "localhost";
}

/** Writes an image's full name, which `parseImageReference` reads as this image. */
export function formatImageReference({ namespace, repository, reference }: ImageReference): string {
  return `${namespace}/${repository}${isDigestReference(reference) ? "@" : ":"}${reference}`;
}

/** How many lines an error tells. */
const maxShown = 10;

/** A line of a list of images that names none. */
export interface ImageListProblem {
  /** From 1. */
  readonly line: number;
  readonly message: string;
}

/** A list of images has lines that cannot be read. All of them are told at once. */
export class ImageListError extends Error {
  override readonly name = "ImageListError";
  readonly problems: readonly ImageListProblem[];
  /** What the other lines name. */
  readonly images: readonly ImageReference[];

  constructor(problems: readonly ImageListProblem[], images: readonly ImageReference[]) {
    const shown = problems.slice(0, maxShown).map(({ line, message }) => `line ${line}: ${message}`);
    const more = problems.length - shown.length;
    super([...shown, ...(more > 0 ? [`and ${more} more lines`] : [])].join("\n"));
    this.problems = problems;
    this.images = images;
  }
}

/**
 * Reads a list of images: one a line, `#` begins a comment, lines without an image are skipped. A byte order mark
 * counts as white space.
 *
 * @throws {ImageListError}
 */
export function parseImageList(text: string): ImageReference[] {
  const images: ImageReference[] = [];
  const problems: ImageListProblem[] = [];
  for (const [index, line] of text.split(/\r?\n/).entries()) {
    const name = line.replace(/#.*$/s, "").trim();
    if (name === "") continue;
    try {
      images.push(parseImageReference(name));
    } catch (error) {
      if (!(error instanceof OciError)) throw error;
      problems.push({ line: index + 1, message: `${JSON.stringify(name.slice(0, 100))}: ${error.message}` });
    }
  }
  if (problems.length > 0) throw new ImageListError(problems, images);
  return images;
}
