import type { Descriptor } from "../oci/descriptor.ts";
import { algorithmOf, type Digest, digestOf, isDigest } from "../oci/digest.ts";
import { OciError } from "../oci/errors.ts";
import { acceptManifests, type Manifest, maxManifestBytes, parseManifest } from "../oci/manifest.ts";
import { isDigestReference, type Reference, type Repository } from "../oci/reference.ts";
import type { Registry } from "./ask.ts";
import { announcedLength, discard, mediaTypeOf, readBody } from "./body.ts";
import { formatPlace } from "./failures.ts";
import type { HttpResponse } from "./transport.ts";
import { turnToRead } from "./turn.ts";
import { UpstreamError, type UpstreamManifest } from "./upstream.ts";

const servedMediaTypes: ReadonlySet<string> = new Set(acceptManifests.split(", "));

/**
 * `Upstream.resolve`: a HEAD, and a GET only where the HEAD is refused or does not say enough (media type, digest and
 * size), or names a type that `parseManifest` has to judge.
 */
export async function resolveManifest(
  registry: Registry,
  repository: Repository,
  reference: Reference,
  signal: AbortSignal,
): Promise<Descriptor | undefined> {
  const response = await registry.ask(
    {
      kind: "manifest",
      method: "HEAD",
      repository,
      resource: `manifests/${reference}`,
      headers: { accept: acceptManifests },
      wants: refusesHead,
    },
    signal,
  );
  if (response === undefined) {
    return undefined;
  }
  discard(response);
  const descriptor = response.status === 200 ? readDescriptor(registry.host, response, reference) : undefined;
  return descriptor ?? (await fetchManifest(registry, repository, reference, signal))?.descriptor;
}

/** `Upstream.manifest`. The media type is the one that `parseManifest` settles on. */
export async function fetchManifest(
  registry: Registry,
  repository: Repository,
  reference: Reference,
  signal: AbortSignal,
): Promise<UpstreamManifest | undefined> {
  const response = await registry.ask(
    {
      kind: "manifest",
      method: "GET",
      repository,
      resource: `manifests/${reference}`,
      headers: { accept: acceptManifests },
    },
    signal,
  );
  if (response === undefined) {
    return undefined;
  }
  const { host } = registry;
  const bytes = await readBody(host, response, maxManifestBytes, signal);
  const announced = announcedDigest(response);
  const asked = isDigestReference(reference) ? reference : undefined;
  await turnToRead(bytes);
  for (const digest of new Set([asked, announced])) {
    if (digest !== undefined && digestOf(bytes, algorithmOf(digest)) !== digest) {
      const message = `${formatPlace(response.url)}: the manifest does not have the digest ${digest}`;
      throw new UpstreamError(host, "invalid", message);
    }
  }
  const parsed = parse(host, response, bytes);
  return {
    descriptor: {
      mediaType: parsed.mediaType,
      digest: asked ?? announced ?? digestOf(bytes),
      size: bytes.length,
    },
    bytes,
    parsed,
  };
}

/** Old registries and stores behind redirects, whose signed URLs are good for GET only. */
function refusesHead(response: HttpResponse): boolean {
  const { crossedOrigin, status } = response;
  return status === 405 || status === 501 || (crossedOrigin && (status === 400 || status === 401 || status === 403));
}

function readDescriptor(host: string, response: HttpResponse, reference: Reference): Descriptor | undefined {
  const digest = announcedDigest(response);
  const size = announcedLength(response);
  const mediaType = mediaTypeOf(response);
  // Some servers announce 0 because a HEAD's response has no body.
  if (digest === undefined || size === undefined || size === 0 || !servedMediaTypes.has(mediaType)) {
    return undefined;
  }
  const place = formatPlace(response.url);
  if (size > maxManifestBytes) {
    throw new UpstreamError(host, "invalid", `${place}: the manifest is over ${maxManifestBytes} bytes`);
  }
  if (isDigestReference(reference) && digest !== reference) {
    if (algorithmOf(digest) !== algorithmOf(reference)) {
      return undefined;
    }
    throw new UpstreamError(host, "invalid", `${place}: the manifest's digest is announced as ${digest}`);
  }
  return { mediaType, digest, size };
}

function parse(host: string, response: HttpResponse, bytes: Buffer): Manifest {
  try {
    return parseManifest(bytes, response.header("content-type"));
  } catch (error) {
    if (!(error instanceof OciError)) {
      throw error;
    }
    throw new UpstreamError(host, "invalid", `${formatPlace(response.url)}: ${error.message}`, { cause: error });
  }
}

/** One that is malformed, or of an algorithm that we cannot check, counts as missing: our own takes its place. */
function announcedDigest(response: HttpResponse): Digest | undefined {
  const text = response.header("docker-content-digest")?.trim() ?? "";
  return isDigest(text) ? text : undefined;
}
