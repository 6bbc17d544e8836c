import assert from "node:assert/strict";
import { algorithmOf, type Digest, digestOf } from "../../src/oci/digest.ts";
import { isLink, isTagRecord } from "../../src/store/content-records.ts";
import { linkKey, parseKey } from "../../src/store/layout.ts";
import type { BucketStore } from "../../src/store/bucket-store.ts";
import type { Key } from "../../src/store/object-store.ts";
import { parseRecord } from "../../src/store/read-record.ts";
import { S3Store } from "../../src/store/s3.ts";
import type { S3Options } from "../../src/store/s3-options.ts";
import type { FakeS3 } from "./fake-s3.ts";

/** What comes before each key of the fake server's bucket. */
const prefix = "some/prefix/";

/**
 * A bucket on the fake server that is taken to lack nothing, as trying that takes a hundred requests. On a busy machine
 * connections take long, which is no fault of a test's.
 */
export async function untriedBucket(server: FakeS3, options: Partial<S3Options> = {}): Promise<BucketStore> {
  const store = await S3Store.open(server.options({ connectTimeoutMs: 30_000, ...options }));
  return Object.assign(store, { probe: async () => ({ lacks: [] }) });
}

/** What lies in a bucket. */
export interface Kept {
  /** Content, each found to have the digest that it is named by; sorted. */
  readonly blobs: readonly Digest[];
  /** The keys of links, tags and pages, each found to be one that can be read; sorted. */
  readonly records: readonly Key[];
}

/**
 * Looks at the fake server's bucket from outside. What is not as it should be fails the test, whoever left it: content
 * that has not its digest, a record that is none, a tag without its link, an upload that is open or written down as
 * open, and all else that nobody will read.
 */
export function inspectBucket(server: FakeS3): Kept {
  const { objects, uploads } = server.bucket;
  assert.deepEqual(
    [...uploads.values()].map(({ key }) => key),
    [],
    "uploads are open",
  );
  const blobs: Digest[] = [];
  const records: Key[] = [];
  for (const [name, { bytes }] of objects) {
    assert.ok(name.startsWith(prefix), name);
    const key = name.slice(prefix.length) as Key;
    const place = parseKey(key);
    if (place?.kind === "content") {
      assert.equal(digestOf(bytes, algorithmOf(place.digest)), place.digest, `${key} has other content`);
      blobs.push(place.digest);
    } else if (place?.kind === "link") {
      assert.ok(parseRecord(bytes.toString(), isLink), `${key} is no link`);
      records.push(key);
    } else if (place?.kind === "tag") {
      const record = parseRecord(bytes.toString(), isTagRecord);
      assert.ok(record, `${key} is no tag`);
      const link = `${prefix}${linkKey(place.id, record.digest)}`;
      assert.ok(objects.has(link), `${key} stands for what its repository does not contain`);
      records.push(key);
    } else {
      assert.match(key, /^(?:usage|retention|pins)\//, `${key} was left over`);
    }
  }
  return { blobs: blobs.toSorted(), records: records.toSorted() };
}
