import assert from "node:assert/strict";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Digest, digestOf, hexOf } from "../../src/oci/digest.ts";
import { request, type WholeResponse } from "../support/http.ts";
import { type BuiltImage, mediaTypes } from "../support/image.ts";

/** What a manifest says of another manifest, or of a blob. */
interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
}

/** A manifest or an index, as far as these tests read it. */
export interface PushedManifest {
  readonly mediaType?: string;
  readonly config?: Descriptor;
  readonly layers?: readonly (Descriptor & { readonly annotations?: Readonly<Record<string, string>> })[];
  readonly manifests?: readonly (Descriptor & { readonly artifactType?: string })[];
}

/** An image that was read back from a registry. */
export interface PushedImage {
  readonly digest: Digest;
  readonly manifest: PushedManifest;
  /** Of all manifests and blobs of it, sorted. */
  readonly digests: readonly Digest[];
}

/** Asks a registry without TLS. `repository` is `127.0.0.1:<port>/<name>`; `path` is what comes after the name. */
export function ask(repository: string, path: string, method = "GET"): Promise<WholeResponse> {
  const [, host, name] = /^([^/]+)\/(.+)$/.exec(repository) ?? [];
  const accept = [mediaTypes.index, mediaTypes.manifest, "application/vnd.docker.distribution.manifest.v2+json"];
  return request(`http://${host}/v2/${name}/${path}`, { method, headers: { accept: accept.join(", ") } });
}

/** Reads an image with all that belongs to it, and asserts of each part that it is what its digest and its size say. */
export async function readBack(repository: string, reference: string): Promise<PushedImage> {
  const response = await ask(repository, `manifests/${reference}`);
  assert.equal(response.status, 200, `${repository}, manifest ${reference}`);
  const digest = digestOf(response.body);
  assert.equal(response.headers["docker-content-digest"], digest);
  const manifest = JSON.parse(response.body.toString()) as PushedManifest;
  assert.equal(response.headers["content-type"], manifest.mediaType ?? mediaTypes.manifest);
  const digests = new Set([digest]);
  for (const child of manifest.manifests ?? []) {
    const { digests: below } = await readBack(repository, child.digest);
    assert.ok(below.includes(child.digest));
    for (const each of below) digests.add(each);
  }
  for (const blob of [manifest.config ?? [], manifest.layers ?? []].flat()) {
    const { status, body } = await ask(repository, `blobs/${blob.digest}`);
    assert.equal(status, 200, `${repository}, blob ${blob.digest}`);
    assert.deepEqual([digestOf(body), body.length], [blob.digest, blob.size]);
    digests.add(blob.digest);
  }
  return { digest, manifest, digests: [...digests].toSorted() };
}

/** The digests of all that an image consists of, sorted. */
export function digestsOf(image: BuiltImage): readonly Digest[] {
  const manifests = [image.root, ...image.platforms.map(({ manifest }) => manifest)];
  return [...new Set([...manifests.map(({ digest }) => digest), ...image.blobs.keys()])].toSorted();
}

/** The tags of a repository. */
export async function tagsOf(repository: string): Promise<readonly string[]> {
  const { status, body } = await ask(repository, "tags/list");
  return status === 404 ? [] : (JSON.parse(body.toString()) as { tags: string[] }).tags;
}

/** The digests of the manifests that refer to one, sorted. */
export async function referrersOf(repository: string, subject: string): Promise<readonly Digest[]> {
  const { status, body } = await ask(repository, `referrers/${subject}`);
  assert.equal(status, 200);
  return ((JSON.parse(body.toString()) as PushedManifest).manifests ?? []).map(({ digest }) => digest).toSorted();
}

/** Writes an image as an OCI image layout, with one tag (image-spec, "OCI Image Layout Specification"). */
export async function writeLayout(folder: string, image: BuiltImage, tag: string): Promise<void> {
  const blobs = join(folder, "blobs", "sha256");
  await mkdir(blobs, { recursive: true });
  const manifests = [image.root, ...image.platforms.map(({ manifest }) => manifest)];
  const contents = new Map([...image.blobs, ...manifests.map(({ digest, bytes }) => [digest, bytes] as const)]);
  for (const [digest, bytes] of contents) await writeFile(join(blobs, hexOf(digest)), bytes);
  const { digest, mediaType, bytes } = image.root;
  const annotations = { "org.opencontainers.image.ref.name": tag };
  const index = { schemaVersion: 2, manifests: [{ mediaType, digest, size: bytes.length, annotations }] };
  await writeFile(join(folder, "index.json"), JSON.stringify(index));
  await writeFile(join(folder, "oci-layout"), JSON.stringify({ imageLayoutVersion: "1.0.0" }));
}
