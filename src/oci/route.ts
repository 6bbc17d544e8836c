import { type Digest, parseDigest } from "./digest.ts";
import { OciError } from "./errors.ts";
import { parseReference, parseRepository, type Reference, type Repository } from "./reference.ts";

/**
 * What a request's path asks for (distribution-spec, "Endpoints"). `name` is as it stands in the path: it may still
 * begin with a registry's host (`docker.io/library/alpine`).
 */
export type Endpoint =
  | { readonly kind: "base" }
  | { readonly kind: "manifest"; readonly name: Repository; readonly reference: Reference }
  | { readonly kind: "blob"; readonly name: Repository; readonly digest: Digest }
  | { readonly kind: "tags"; readonly name: Repository }
  | { readonly kind: "referrers"; readonly name: Repository; readonly digest: Digest }
  /** An upload session, by whatever the path has in its place; without one, where one is opened. */
  | { readonly kind: "uploads"; readonly name: Repository; readonly session: string | undefined }
  /** The names of repositories, which is not part of the specification (Docker's API). */
  | { readonly kind: "catalog" };

/** A request's target, read once: everything that is known before it is decided which registry is meant. */
export interface Route {
  readonly endpoint: Endpoint;
  /** The path's segments before `/v2`, each a valid repository component: `["docker.io"]` for `/docker.io/v2/…`. */
  readonly prefix: readonly string[];
  /** The decoded value of `?ns=`, not validated: `""` where it is given without a value, `undefined` where it is not. */
  readonly ns: string | undefined;
  /** The query without `ns` and without `?`, otherwise as it was sent. Its percent-encoding is sound. */
  readonly query: string;
}

/** Longest request target that is read, in characters. */
const maxTargetLength = 4096;

const root = "v2";
const base: Endpoint = { kind: "base" };
const catalogName = "_catalog";
const unsafeInQuery = /[^\x21-\x7e]/;

/**
 * Reads a request's target in origin form (RFC 9112 §3.2.1): path and query.
 *
 * The API's root is the first segment that is `v2`; some clients' settings double it (`/v2/v2/…`), and then it counts
 * once, unless no name would be left. What is asked for is read from the right end, because a repository may have
 * parts called `manifests`, `blobs`, `tags`, `uploads` or `referrers`. Each segment is percent-decoded once, after the
 * split, so that an encoded slash is never a separator.
 *
 * @returns `undefined`: no such resource.
 * @throws {OciError} URI_TOO_LONG, NAME_INVALID (also for a query that is malformed or has two different `ns`),
 *   TAG_INVALID, DIGEST_INVALID
 */
export function parseRoute(target: string): Route | undefined {
  if (target.length > maxTargetLength) {
    throw new OciError("URI_TOO_LONG");
  }
  if (!target.startsWith("/")) {
    return undefined;
  }
  const mark = target.indexOf("?");
  const segments = splitPath(mark < 0 ? target : target.slice(0, mark));
  const start = segments.indexOf(root);
  if (start < 0) {
    return undefined;
  }
  const prefix = segments.slice(0, start);
  for (const segment of prefix) {
    checkSegment(segment);
    parseRepository(segment);
  }
  const endpoint = parseEndpoint(segments.slice(start + 1));
  if (endpoint === undefined) {
    return undefined;
  }
  return { endpoint, prefix, ...parseQuery(mark < 0 ? "" : target.slice(mark + 1)) };
}

/** Writes a target that `parseRoute` reads as this route. */
export function formatRoute(route: Route): string {
  const parts = [...route.prefix, root];
  const { endpoint } = route;
  if ("name" in endpoint) {
    // A name that begins with v2/ would pass for the doubled root; doubling it for real keeps them apart.
    if (endpoint.name.startsWith(`${root}/`)) {
      parts.push(root);
    }
    parts.push(endpoint.name);
  }
  parts.push(formatTail(endpoint));
  const query: string[] = [];
  if (route.ns !== undefined) {
    query.push(`ns=${encodeURIComponent(route.ns)}`);
  }
  if (route.query !== "") {
    query.push(route.query);
  }
  return `/${parts.join("/")}${query.length === 0 ? "" : `?${query.join("&")}`}`;
}

function formatTail(endpoint: Endpoint): string {
  switch (endpoint.kind) {
    case "base":
      return "";
    case "manifest":
      return `manifests/${endpoint.reference}`;
    case "blob":
      return `blobs/${endpoint.digest}`;
    case "tags":
      return "tags/list";
    case "referrers":
      return `referrers/${endpoint.digest}`;
    case "uploads":
      return `blobs/uploads/${encodeURIComponent(endpoint.session ?? "")}`;
    case "catalog":
      return catalogName;
  }
}

function splitPath(path: string): string[] {
  const segments = path.slice(1).split("/");
  return path.includes("%") ? segments.map(decode) : segments;
}

function parseEndpoint(segments: readonly string[]): Endpoint | undefined {
  const rest = segments[0] === root ? segments.slice(1) : segments;
  if (rest.length === 0 || (rest.length === 1 && rest[0] === "")) {
    return base;
  }
  if (rest.length === 1 && rest[0] === catalogName) {
    return { kind: "catalog" };
  }
  const endpoint = parseResource(rest) ?? (rest === segments ? undefined : parseResource(segments));
  if (endpoint !== undefined) {
    return endpoint;
  }
  // The ping of a client whose setting has a path behind `/v2`, to which the client adds a `/v2/` of its own.
  const path = rest.at(-2) === root && rest.at(-1) === "" ? rest.slice(0, -1) : rest;
  path.forEach(checkSegment);
  return path.at(-1) === root ? base : undefined;
}

/** Reads `<name>/<what>/<which>` from the right end; `undefined` where it has no such end or no name before it. */
function parseResource(segments: readonly string[]): Endpoint | undefined {
  const count = segments.length;
  const which = segments[count - 1] ?? "";
  const what = segments[count - 2];
  if (what === "uploads" && segments[count - 3] === "blobs" && count > 3) {
    return { kind: "uploads", name: joinName(segments, count - 3), session: which === "" ? undefined : which };
  }
  if (count < 3) {
    return undefined;
  }
  const nameEnd = count - 2;
  switch (what) {
    case "manifests":
      return { kind: "manifest", name: joinName(segments, nameEnd), reference: parseReference(which) };
    case "blobs":
      return which === "uploads"
        ? { kind: "uploads", name: joinName(segments, nameEnd), session: undefined }
        : { kind: "blob", name: joinName(segments, nameEnd), digest: parseDigest(which) };
    case "referrers":
      return { kind: "referrers", name: joinName(segments, nameEnd), digest: parseDigest(which) };
    case "tags":
      return which === "list" ? { kind: "tags", name: joinName(segments, nameEnd) } : undefined;
    case undefined:
    default:
      return undefined;
  }
}

function joinName(segments: readonly string[], end: number): Repository {
  const parts = segments.slice(0, end);
  parts.forEach(checkSegment);
  return parseRepository(parts.join("/"));
}

/** Refuses what must never become part of a path, whatever the grammar around it allows. */
function checkSegment(segment: string): void {
  if (segment === "" || segment === "." || segment === ".." || segment.includes("/")) {
    throw new OciError("NAME_INVALID", "the path has a part that is empty, a dot, or an encoded slash");
  }
}

function parseQuery(text: string): { readonly ns: string | undefined; readonly query: string } {
  const { namespaces, query } = splitQuery(text);
  const [ns, ...others] = new Set(namespaces);
  if (others.length > 0) {
    throw new OciError("NAME_INVALID", "the query names two different registries (ns)");
  }
  return { ns, query };
}

/**
 * Takes what names a registry (`ns`) out of a query, which is given without `?`. The rest stays as it is.
 *
 * @throws {OciError} NAME_INVALID: it is malformed
 */
export function splitQuery(text: string): { readonly namespaces: readonly string[]; readonly query: string } {
  if (unsafeInQuery.test(text)) {
    throw new OciError("NAME_INVALID", "the query has characters that must be percent-encoded");
  }
  const namespaces: string[] = [];
  const rest: string[] = [];
  for (const part of text.split("&")) {
    const decoded = decode(part);
    const equals = part.indexOf("=");
    if ((equals < 0 ? decoded : decode(part.slice(0, equals))) !== "ns") {
      rest.push(part);
      continue;
    }
    namespaces.push(equals < 0 ? "" : decode(part.slice(equals + 1)));
  }
  return { namespaces, query: rest.join("&") };
}

function decode(text: string): string {
  if (!text.includes("%")) {
    return text;
  }
  try {
    return decodeURIComponent(text);
  } catch (error) {
    throw new OciError("NAME_INVALID", "the request's target has a malformed percent-encoding", { cause: error });
  }
}
