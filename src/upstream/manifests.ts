import { algorithmOf, type Digest, digestOf, isDigest } from "../oci/digest.ts";
import { OciError } from "../oci/errors.ts";
import { acceptManifests, type Manifest, maxManifestBytes, parseManifest } from "../oci/manifest.ts";
import { isDigestReference, type Reference, type Repository } from "../oci/reference.ts";
import type { Question, RegistryClient } from "./registry-client.ts";
import { announcedLength, isLabelledEncoded, mediaTypeOf } from "./body.ts";
import { invalid, isFailedAnswer, isPassingStatus } from "./failures.ts";
import type { HttpResponse } from "./transport.ts";
import { turnToRead } from "../concurrency/turn.ts";
import { type Ask, type Resolved, type UpstreamManifest } from "./upstream.ts";

/** For how long a registry that refuses a HEAD, and answers the GET, is asked by GET alone. */
const spareHeadsMs = 5 * 60_000;
const servedMediaTypes: ReadonlySet<string> = new Set(acceptManifests.split(", "));
/** Whatever could be the type of a manifest; `parseManifest` is particular about them. */
const documentMediaType = /^application\/.*(?:json|jws)$/;

/** What a HEAD tells. */
type Told = Exclude<Resolved, UpstreamManifest>;

/**
 * `Upstream.resolve`: a HEAD, and a GET where the HEAD failed in whatever way, does not tell the digest, or names a type
 * that `parseManifest` has to judge. Registries, and what stands before them, refuse HEAD with all kinds of statuses
 * (containerd#6684, watchtower#667); where the GET is answered, the next ones are GETs at once.
 */
export async function resolveManifest(
  registry: RegistryClient,
  repository: Repository,
  reference: Reference,
  by: Ask,
): Promise<Resolved | undefined> {
  const isSpared = registry.clock.monotonic() < registry.headsSparedUntil;
  const told = isSpared ? "unasked" : await askHead(registry, repository, reference, by);
  if (typeof told !== "string") return told;
  const manifest = await fetchManifest(registry, repository, reference, by);
  if (told === "refused" && manifest !== undefined) {
    registry.headsSparedUntil = registry.clock.monotonic() + spareHeadsMs;
  }
  return manifest;
}

/** `Upstream.manifest`. The media type is the one that `parseManifest` settles on. */
export async function fetchManifest(
  registry: RegistryClient,
  repository: Repository,
  reference: Reference,
  by: Ask,
): Promise<UpstreamManifest | undefined> {
  const response = await registry.ask(questionOf(repository, reference), by);
  if (response === undefined) return undefined;
  const bytes = await response.body.read(maxManifestBytes);
  await turnToRead(bytes);
  // What was asked for by its digest is right if it has that, whatever it is announced as.
  const expected = isDigestReference(reference) ? reference : announcedDigest(response);
  const digest = digestOf(bytes, expected && algorithmOf(expected));
  if (digest !== (expected ?? digest)) throw invalid(response, `the manifest does not have the digest ${expected}`);
  const parsed = parse(response, bytes);
  return { descriptor: { mediaType: parsed.mediaType, digest, size: bytes.length }, bytes, parsed };
}

function questionOf(repository: Repository, reference: Reference): Question {
  return { kind: "manifest", repository, resource: `manifests/${reference}`, accept: acceptManifests };
}

/** What a HEAD told; or that it is `refused`, as the next one will be, or that it `failed`. */
async function askHead(
  registry: RegistryClient,
  repository: Repository,
  reference: Reference,
  by: Ask,
): Promise<Told | "refused" | "failed"> {
  let response: HttpResponse | undefined;
  try {
    const wants = ({ status }: HttpResponse): boolean => status !== 429;
    response = await registry.ask({ ...questionOf(repository, reference), method: "HEAD", wants }, by);
  } catch (error) {
    if (by.signal.aborted || !isFailedAnswer(error)) throw error;
    return "failed";
  }
  if (response === undefined) return "refused";
  response.body.discard();
  if (response.status === 200) return readHead(response, reference) ?? "failed";
  return isPassingStatus(response.status) ? "failed" : "refused";
}

function readHead(response: HttpResponse, reference: Reference): Told | undefined {
  const digest = announcedDigest(response);
  const mediaType = mediaTypeOf(response);
  if (digest === undefined || !servedMediaTypes.has(mediaType)) return undefined;
  if (isDigestReference(reference) && digest !== reference) return undefined;
  const size = announcedLength(response) ?? 0;
  if (size > maxManifestBytes) throw invalid(response, `the manifest is over ${maxManifestBytes} bytes`);
  // Some servers announce 0, and what stands before them nothing, because a HEAD's response has no body.
  return size === 0 || isLabelledEncoded(response) ? { digest } : { mediaType, digest, size };
}

function parse(response: HttpResponse, bytes: Buffer): Manifest {
  try {
    const mediaType = mediaTypeOf(response);
    // Stores send what they like; what cannot be a manifest's type says nothing about the bytes, which can be read.
    return parseManifest(bytes, documentMediaType.test(mediaType) ? mediaType : undefined);
  } catch (error) {
    if (!(error instanceof OciError)) throw error;
    throw invalid(response, error.message, error);
  }
}

/** One that is malformed, or of an algorithm that we cannot check, counts as missing: our own takes its place. */
function announcedDigest(response: HttpResponse): Digest | undefined {
  const text = response.header("docker-content-digest")?.trim() ?? "";
  return isDigest(text) ? text : undefined;
}
