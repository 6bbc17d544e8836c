import assert from "node:assert/strict";
import { test } from "node:test";
import type { Digest } from "../../src/oci/digest.ts";
import { parseReference, parseRepository, parseTag, type Reference } from "../../src/oci/reference.ts";
import { mediaTypes } from "../support/image.ts";
import {
  a,
  b,
  blobOf,
  documentOf,
  emptyBlob,
  manifestOf,
  type PublishedManifest,
  type SetUp,
  sizeOf,
  type Subject,
  twice,
  valueOf,
} from "./registry-subject.ts";

const latest = parseTag("latest");
/** What clients and registries agree on as the largest manifest. */
const largestBytes = 4 * 1024 * 1024;

/** Sees that GET gives a manifest as it was published, and HEAD what describes it. */
async function isThere(
  { registry }: Subject,
  repository: typeof a,
  reference: Reference,
  { digest, mediaType, bytes }: PublishedManifest,
  order: readonly ("HEAD" | "GET")[] = ["GET", "HEAD"],
): Promise<void> {
  const expected = { mediaType, digest, size: bytes.length };
  for (const method of order) {
    if (method === "HEAD") {
      assert.deepEqual(valueOf(await registry.resolve(repository, reference), reference), expected);
      continue;
    }
    const { descriptor, bytes: given, parsed } = valueOf(await registry.manifest(repository, reference), reference);
    assert.deepEqual(descriptor, expected);
    assert.ok(given.equals(bytes), `${reference} has other bytes`);
    assert.equal(parsed.mediaType, mediaType);
  }
}

async function isAbsent({ registry }: Subject, repository: typeof a, reference: Reference): Promise<void> {
  assert.equal(await registry.resolve(repository, reference), undefined);
  assert.equal(await registry.manifest(repository, reference), undefined);
}

/** The tests of what a registry says of manifests. */
export function manifestTests(setUp: SetUp): void {
  test("a manifest is there by its tag and by its digest, byte for byte", async () => {
    await using subject = await setUp();
    // No JSON writer would write it so.
    const bytes = Buffer.from(`\n{ "vnd.example.é" :{"é":"\\u00e9"},${JSON.stringify(documentOf("1")).slice(1)}\t `);
    const manifest = manifestOf(bytes, { tag: "latest" });
    await subject.publish(a, { manifests: [manifest], blobs: [emptyBlob] });
    await twice(subject, async () => {
      await isThere(subject, a, latest, manifest);
      await isThere(subject, a, manifest.digest, manifest);
    });
  });

  test("HEAD tells the same, whoever asks first", async () => {
    await using subject = await setUp();
    const tagged = manifestOf(documentOf("tagged"), { tag: "latest" });
    const other = manifestOf(documentOf("other"));
    await subject.publish(a, { manifests: [tagged, other], blobs: [emptyBlob] });
    await twice(subject, async () => {
      await isThere(subject, a, other.digest, other, ["HEAD", "HEAD", "GET"]);
      await isThere(subject, a, latest, tagged, ["HEAD", "HEAD", "GET"]);
    });
  });

  test("manifests of all kinds have their own media types", async () => {
    await using subject = await setUp();
    const image = manifestOf(documentOf("image"));
    const described = { mediaType: image.mediaType, digest: image.digest, size: image.bytes.length };
    const docker = "application/vnd.docker.distribution.manifest";
    const index = manifestOf(
      { schemaVersion: 2, mediaType: mediaTypes.index, manifests: [described] },
      { tag: "index", mediaType: mediaTypes.index },
    );
    const list = manifestOf(
      { schemaVersion: 2, mediaType: `${docker}.list.v2+json`, manifests: [described] },
      { tag: "list", mediaType: `${docker}.list.v2+json` },
    );
    const old = manifestOf(
      { ...documentOf("old"), mediaType: `${docker}.v2+json` },
      { tag: "old", mediaType: `${docker}.v2+json` },
    );
    const untyped = manifestOf({ ...documentOf("untyped"), mediaType: undefined }, { tag: "untyped" });
    await subject.publish(a, { manifests: [image, index, list, old, untyped], blobs: [emptyBlob] });
    await twice(subject, async () => {
      for (const manifest of [index, list, old, untyped]) {
        await isThere(subject, a, parseTag(manifest.tag ?? ""), manifest);
        await isThere(subject, a, manifest.digest, manifest);
      }
    });
  });

  test("a manifest is there by a digest of SHA-512", async () => {
    await using subject = await setUp();
    const manifest = manifestOf(documentOf("1"), { algorithm: "sha512" });
    await subject.publish(a, { manifests: [manifest], blobs: [emptyBlob] });
    await twice(subject, () => isThere(subject, a, manifest.digest, manifest));
  });

  test("large manifests are whole, up to the largest that there may be", async () => {
    await using subject = await setUp();
    const layers = Array.from({ length: 100 }, (_, index) => blobOf(Buffer.from(`layer ${index}`)));
    const many = manifestOf(documentOf("many", layers), { tag: "many" });
    const spare = largestBytes - manifestOf(documentOf("")).bytes.length;
    const largest = manifestOf(documentOf("x".repeat(spare)), { tag: "largest" });
    assert.equal(largest.bytes.length, largestBytes);
    await subject.publish(a, { manifests: [many, largest], blobs: [emptyBlob, ...layers] });
    await twice(subject, async () => {
      await isThere(subject, a, parseTag("largest"), largest);
      await isThere(subject, a, parseTag("many"), many);
      await isThere(subject, a, many.digest, many);
    });
  });

  test("a tag stands for what it was given last; what it stood for stays there by its digest", async () => {
    await using subject = await setUp();
    const [first, second] = [
      manifestOf(documentOf("1"), { tag: "latest" }),
      manifestOf(documentOf("2"), { tag: "latest" }),
    ];
    await subject.publish(a, { manifests: [first], blobs: [emptyBlob] });
    await twice(subject, () => isThere(subject, a, latest, first));
    await subject.publish(a, { manifests: [second] });
    await twice(subject, async () => {
      await isThere(subject, a, latest, second);
      await isThere(subject, a, first.digest, first);
    });
  });

  test("what is not there is absent, and there as soon as it is published", async () => {
    await using subject = await setUp();
    const manifest = manifestOf(documentOf("1"), { tag: "latest" });
    const other = manifestOf(documentOf("2"), { tag: "other" });
    const tellsAbsence = async (): Promise<void> => {
      await isAbsent(subject, a, latest);
      await isAbsent(subject, a, manifest.digest);
    };
    await twice(subject, tellsAbsence);
    await subject.publish(a, { manifests: [other], blobs: [emptyBlob] });
    await twice(subject, tellsAbsence);
    await subject.publish(a, { manifests: [manifest] });
    await isThere(subject, a, manifest.digest, manifest);
    await isThere(subject, a, latest, manifest);
  });

  test("what one repository has, another has not", async () => {
    await using subject = await setUp();
    const manifest = manifestOf(documentOf("1"), { tag: "latest" });
    await subject.publish(a, { manifests: [manifest], blobs: [emptyBlob] });
    await twice(subject, async () => {
      await isAbsent(subject, b, manifest.digest);
      await isAbsent(subject, b, latest);
      await isThere(subject, a, latest, manifest);
    });
    await subject.publish(b, { manifests: [manifest], blobs: [emptyBlob] });
    await isThere(subject, b, latest, manifest);
    await isThere(subject, b, manifest.digest, manifest);
  });

  test("a blob is not a manifest", async () => {
    await using subject = await setUp();
    const layer = blobOf(Buffer.from(JSON.stringify(documentOf("a layer that looks like a manifest"))));
    const plain = blobOf(Buffer.from("a layer"));
    const manifest = manifestOf(documentOf("1", [layer, plain]), { tag: "latest" });
    await subject.publish(a, { manifests: [manifest], blobs: [emptyBlob, layer, plain] });
    await twice(subject, async () => {
      await isThere(subject, a, latest, manifest);
      for (const { digest } of [layer, plain]) {
        const blob = valueOf(await subject.registry.openBlob(a, digest));
        await blob.close();
        await isAbsent(subject, a, digest);
      }
    });
  });

  test("names may be as long as they can be", async () => {
    await using subject = await setUp();
    const tag = parseTag("t".repeat(128));
    const names = ["n".repeat(255), Array.from({ length: 128 }, () => "n").join("/")];
    const manifest = manifestOf(documentOf("1"), { tag });
    for (const name of names) {
      assert.equal(name.length, 255);
      await subject.publish(parseRepository(name), { manifests: [manifest], blobs: [emptyBlob] });
    }
    await twice(subject, async () => {
      for (const name of names) {
        await isThere(subject, parseRepository(name), tag, manifest);
        await isThere(subject, parseRepository(name), manifest.digest, manifest);
        assert.equal(await sizeOf(subject, parseRepository(name), emptyBlob.digest), 2);
        assert.deepEqual(valueOf(await subject.registry.tags(parseRepository(name), "")).document["tags"], [tag]);
      }
    });
  });

  test("many who ask at once are all told the same", async () => {
    await using subject = await setUp();
    const manifest = manifestOf(documentOf("1"), { tag: "latest" });
    await subject.publish(a, { manifests: [manifest], blobs: [emptyBlob] });
    const references: readonly Reference[] = [latest, manifest.digest];
    await twice(subject, async () => {
      const all = references.flatMap((reference) =>
        Array.from({ length: 8 }, (_, index) =>
          isThere(subject, a, reference, manifest, index % 2 === 0 ? ["GET"] : ["HEAD"]),
        ),
      );
      const absent = parseReference(`sha256:${"0".repeat(64)}`) as Digest;
      await Promise.all([...all, isAbsent(subject, a, absent), isAbsent(subject, b, latest)]);
    });
  });
}
