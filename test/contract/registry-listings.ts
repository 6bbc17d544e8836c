import assert from "node:assert/strict";
import { test } from "node:test";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import type { Page } from "../../src/store/content-records.ts";
import { mediaTypes } from "../support/image.ts";
import {
  a,
  b,
  documentOf,
  emptyBlob,
  manifestOf,
  type PublishedManifest,
  type SetUp,
  type Subject,
  twice,
  valueOf,
} from "./registry-subject.ts";

/** All pages of a repository's tags, from the query of the first one on. */
async function pagesOf({ registry }: Subject, query: string): Promise<unknown[]> {
  const pages: unknown[] = [];
  for (let next: string | undefined = query; next !== undefined;) {
    assert.ok(pages.length < 100, "the pages never end");
    const page: Page = valueOf(await registry.tags(a, next));
    pages.push(page.document["tags"]);
    next = page.nextQuery;
  }
  return pages;
}

/** A manifest that refers to `subject`. */
function referrerOf(subject: Digest, artifactType: string): PublishedManifest {
  const described = { mediaType: mediaTypes.manifest, digest: subject, size: 1 };
  return manifestOf({ ...documentOf(artifactType), artifactType, subject: described });
}

/** The tests of what a registry lists. */
export function listingTests(setUp: SetUp): void {
  test("tags are listed in order, all of them or in pages", async () => {
    await using subject = await setUp();
    const tags = ["v2", "latest", "1.10", "1.9", "edge", "1"];
    const manifest = manifestOf(documentOf("1"));
    await subject.publish(a, { manifests: tags.map((tag) => ({ ...manifest, tag })), blobs: [emptyBlob] });
    const sorted = ["1", "1.10", "1.9", "edge", "latest", "v2"];
    await twice(subject, async () => {
      assert.deepEqual(await pagesOf(subject, ""), [sorted]);
      assert.deepEqual(await pagesOf(subject, "n=4"), [sorted.slice(0, 4), sorted.slice(4)]);
      assert.deepEqual(await pagesOf(subject, "n=6"), [sorted]);
      assert.deepEqual(await pagesOf(subject, "n=2&last=1.9"), [["edge", "latest"], ["v2"]]);
      assert.deepEqual(await pagesOf(subject, "last=v2"), [[]]);
    });
    await subject.publish(a, { manifests: [{ ...manifest, tag: "0" }] });
    assert.deepEqual(await pagesOf(subject, ""), [["0", ...sorted]]);
  });

  test("of a repository without tags the list is empty, and without the repository there is none", async () => {
    await using subject = await setUp();
    await subject.publish(a, { manifests: [manifestOf(documentOf("1"))], blobs: [emptyBlob] });
    await twice(subject, async () => {
      assert.deepEqual(await pagesOf(subject, ""), [[]]);
      assert.equal(await subject.registry.tags(b, ""), undefined);
    });
  });

  test("referrers are listed as an index, all of them or those of one type", async () => {
    await using subject = await setUp();
    const { registry } = subject;
    const image = manifestOf(documentOf("image"), { tag: "latest" });
    const signature = referrerOf(image.digest, "application/vnd.example.signature");
    const bill = referrerOf(image.digest, "application/vnd.example.sbom");
    await subject.publish(a, { manifests: [image, signature, bill], blobs: [emptyBlob] });
    const describe = ({ digest, bytes }: PublishedManifest, artifactType: string): object => ({
      mediaType: mediaTypes.manifest,
      digest,
      size: bytes.length,
      artifactType,
      annotations: { seed: artifactType },
    });
    const signatures = [describe(signature, "application/vnd.example.signature")];
    const both = [...signatures, describe(bill, "application/vnd.example.sbom")];
    await twice(subject, async () => {
      const all = valueOf(await registry.referrers(a, image.digest, ""));
      const { manifests, ...index } = all.document;
      assert.deepEqual(index, { schemaVersion: 2, mediaType: mediaTypes.index });
      assert.deepEqual(new Set(manifests as object[]), new Set(both));
      assert.equal(all.filtersApplied, undefined);
      const some = valueOf(
        await registry.referrers(a, image.digest, "artifactType=application%2Fvnd.example.signature"),
      );
      assert.deepEqual(some.document["manifests"], signatures);
      assert.equal(some.filtersApplied, "artifactType");
      const none = valueOf(await registry.referrers(a, image.digest, "artifactType=text%2Fplain"));
      assert.deepEqual(none.document["manifests"], []);
      assert.equal(none.filtersApplied, "artifactType");
    });
  });

  test("of what nothing refers to, or is not there itself, the index is empty", async () => {
    await using subject = await setUp();
    const { registry } = subject;
    const image = manifestOf(documentOf("image"), { tag: "latest" });
    const absent = digestOf(Buffer.from("absent"));
    await subject.publish(a, { manifests: [image, referrerOf(absent, "text/plain")], blobs: [emptyBlob] });
    const empty = { schemaVersion: 2, mediaType: mediaTypes.index, manifests: [] };
    await twice(subject, async () => {
      assert.deepEqual(valueOf(await registry.referrers(a, image.digest, "")).document, empty);
      assert.deepEqual(valueOf(await registry.referrers(a, digestOf(Buffer.from("other")), "")).document, empty);
      const manifests = valueOf(await registry.referrers(a, absent, "")).document["manifests"] as unknown[];
      assert.equal(manifests.length, 1, "what refers to a manifest may be there before it");
    });
  });
}
