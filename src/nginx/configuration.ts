import type { Digest } from "../oci/digest.ts";
import type { OciErrorCode } from "../oci/errors.ts";
import { indexMediaType, type Manifest } from "../oci/manifest.ts";
import type { Repository, Tag } from "../oci/reference.ts";
import { quote, returnDocument } from "./text.ts";

/** A manifest that nginx serves. */
export interface StaticManifest {
  /** The file's path below the folder that is served. */
  readonly file: string;
  readonly sizeBytes: number;
  readonly parsed: Manifest;
}

/** A repository that nginx serves. */
export interface StaticRepository {
  readonly name: Repository;
  /** What is in `manifests`. */
  readonly tags: ReadonlyMap<Tag, Digest>;
  readonly manifests: ReadonlyMap<Digest, StaticManifest>;
  /** The files of all blobs that the manifests list, as paths below the folder that is served. */
  readonly blobs: ReadonlyMap<Digest, string>;
}

/** How the configuration is written. */
export interface ConfigurationOptions {
  /** The folder that is served, as nginx sees it; it may be, or contain, a variable of nginx. */
  readonly serverRoot: string;
  /** Which parts: what is the same for all repositories, the repositories, or both. */
  readonly parts: "all" | "constants" | "repositories";
  /** Where a whole `server` listens; without it what goes into one is written. */
  readonly listen: string | undefined;
}

/**
 * Writes the configuration with which a plain nginx serves repositories: blocks for a `server`, or a whole one. The same
 * repositories give the same text. Whatever is in it was quoted for nginx; nothing is matched by a regular expression.
 *
 * @throws {StoreError} a path is too long for nginx.
 */
export function formatConfiguration(
  repositories: readonly StaticRepository[],
  { serverRoot, parts, listen }: ConfigurationOptions,
): string {
  const lines = [
    "# Made by `entrepot nginx`; where files come or go, it has to be made again.",
    ...(parts === "repositories" ? [] : constants),
    ...(parts === "constants"
      ? []
      : sorted(repositories.map((each) => [each.name, each] as const)).flatMap(([name, repository]) =>
          formatRepository(`/v2/${name}`, repository, serverRoot),
        )),
  ];
  const server = ["sendfile on;", "tcp_nopush on;", ...lines];
  return `${(listen === undefined ? lines : block("server", [`listen ${listen};`, ...server])).join("\n")}\n`;
}

/** Header fields of every answer. */
const fields: readonly string[] = [
  "add_header Docker-Distribution-Api-Version registry/2.0 always;",
  "add_header X-Content-Type-Options nosniff always;",
];

/** What is the same for all repositories: the API's root, what is not there, pushes, and errors in OCI form. */
const constants: readonly string[] = [
  'set $entrepot_digest "";',
  // The method and the path together, as an `if` has one condition.
  'set $entrepot_request "$request_method $uri";',
  ...block('if ($entrepot_request ~ "^(?!GET |HEAD )[^ ]+ /v2(?:/|$)")', ["return 405;"]),
  "error_page 405 @entrepot_unsupported;",
  ...["/v2", "/v2/"].flatMap((path) =>
    block(`location = ${path}`, [...fields, "default_type application/json;", 'return 200 "{}";']),
  ),
  ...block("location ^~ /v2/", [...fields, ...errorsOf("name"), "return 404;"]),
  ...formatError("name_unknown", 404, "NAME_UNKNOWN", "there is no such repository here"),
  ...formatError("manifest_unknown", 404, "MANIFEST_UNKNOWN", "the repository has no such manifest"),
  ...formatError("blob_unknown", 404, "BLOB_UNKNOWN", "the repository has no such blob"),
  ...formatError(
    "page_unknown",
    400,
    "PAGINATION_NUMBER_INVALID",
    "the list is only to be had whole, without n and last",
  ),
  ...formatError("unsupported", 405, "UNSUPPORTED", "nothing can be pushed or deleted here", "GET, HEAD"),
  ...formatError("failed", 503, "UNAVAILABLE", "the file cannot be read; the log of nginx says why"),
];
function formatRepository(path: string, repository: StaticRepository, serverRoot: string): string[] {
  const { manifests, tags, blobs } = repository;
  const file = (place: string, below: string, digest: Digest, ...more: readonly string[]): string[] =>
    block(`location = ${quote(`${path}/${place}`)}`, [
      `alias ${quote(`${serverRoot}/${below}`)};`,
      `set $entrepot_digest ${quote(digest)};`,
      ...more,
    ]);
  const manifest = (reference: string, digest: Digest): string[] => {
    const found = manifests.get(digest);
    return found === undefined
      ? []
      : file(`manifests/${reference}`, found.file, digest, `default_type ${quote(found.parsed.mediaType)};`);
  };
  const byTag = sorted(tags);
  const references = [...byTag, ...sorted(manifests).map(([digest]) => [digest, digest] as const)];
  return block(`location ^~ ${quote(`${path}/`)}`, [
    ...fields,
    "add_header Docker-Content-Digest $entrepot_digest;",
    // A tag may end like a file's name.
    "types {}",
    "default_type application/octet-stream;",
    "gzip off;",
    ...errorsOf("name"),
    "return 404;",
    ...block(`location = ${quote(`${path}/tags/list`)}`, [
      "default_type application/json;",
      ...errorsOf("page"),
      ...block('if ($arg_last != "")', ["return 400;"]),
      ...block(`if ($arg_n !~ ${quote(`^(?:${atLeast(byTag.length)})?$`)})`, ["return 400;"]),
      ...returnDocument({ name: repository.name, tags: byTag.map(([tag]) => tag) }),
    ]),
    ...block(`location ${quote(`${path}/manifests/`)}`, [
      ...errorsOf("manifest"),
      "return 404;",
      ...references.flatMap(([reference, digest]) => manifest(reference, digest)),
    ]),
    ...block(`location ${quote(`${path}/blobs/`)}`, [
      ...errorsOf("blob"),
      "return 404;",
      ...sorted(blobs).flatMap(([digest, below]) => file(`blobs/${digest}`, below, digest)),
    ]),
    ...block(`location ${quote(`${path}/referrers/`)}`, [
      `default_type ${indexMediaType};`,
      ...returnDocument(indexOf([])),
      ...sorted(Map.groupBy(referrersIn(repository), ({ subject }) => subject)).flatMap(([subject, found]) =>
        block(
          `location = ${quote(`${path}/referrers/${subject}`)}`,
          returnDocument(indexOf(found.map(({ referrer }) => referrer))),
        ),
      ),
    ]),
  ]);
}

/** What a file that is not there is told as; 403 and 500 are files that nginx cannot read. */
function errorsOf(kind: "name" | "manifest" | "blob" | "page"): string[] {
  return [
    `error_page ${kind === "page" ? 400 : 404} @entrepot_${kind}_unknown;`,
    "error_page 403 500 =503 @entrepot_failed;",
  ];
}

function formatError(name: string, status: number, code: OciErrorCode, message: string, allow?: string): string[] {
  return block(`location @entrepot_${name}`, [
    ...fields,
    ...(allow === undefined ? [] : [`add_header Allow ${quote(allow)} always;`]),
    "default_type application/json;",
    `return ${status} ${quote(JSON.stringify({ errors: [{ code, message }] }))};`,
  ]);
}

/** A regular expression of the numbers that are not below one. */
function atLeast(least: number): string {
  const digits = String(least);
  const larger = digits
    .split("")
    .flatMap((digit, index) =>
      digit === "9" ? [] : [`${digits.slice(0, index)}[${Number(digit) + 1}-9][0-9]{${digits.length - index - 1}}`],
    );
  return `0*(?:${[digits, ...larger, `[1-9][0-9]{${digits.length},}`].join("|")})`;
}

/** The manifests that refer to another one, in the order of their digests (distribution-spec, "Listing Referrers"). */
function referrersIn({ manifests }: StaticRepository): { readonly subject: Digest; readonly referrer: object }[] {
  return sorted(manifests).flatMap(([digest, { sizeBytes, parsed }]) => {
    const { mediaType, subject, annotations, artifactType = parsed.config?.mediaType } = parsed;
    if (subject === undefined) return [];
    return [{ subject: subject.digest, referrer: { mediaType, digest, size: sizeBytes, artifactType, annotations } }];
  });
}

function indexOf(manifests: readonly object[]): object {
  return { schemaVersion: 2, mediaType: indexMediaType, manifests };
}

function block(head: string, lines: readonly string[]): string[] {
  return [`${head} {`, ...lines.map((line) => `  ${line}`), "}"];
}

/** Entries in the order of their keys' bytes: nginx reads sorted locations a hundred times faster than others. */
function sorted<K extends string, V>(entries: Iterable<readonly [K, V]>): (readonly [K, V])[] {
  return [...entries].toSorted(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
}
