import assert from "node:assert/strict";
import { test } from "node:test";
import { BucketPurge } from "../../../src/bucket/purge.ts";
import type { PurgePlan, PurgeTarget } from "../../../src/ledger/ledger.ts";
import { digestOf } from "../../../src/oci/digest.ts";
import { parseNamespace, parseRepository, parseTag } from "../../../src/oci/reference.ts";
import { blobKey, linkKey, pageKey, type RepositoryId, tagKey } from "../../../src/store/layout.ts";
import type { Key } from "../../../src/store/object-store.ts";
import { MemoryBucket } from "../../support/bucket.ts";

const hub = parseNamespace("docker.io");
const a = { namespace: hub, repository: parseRepository("a") };
const nested = { namespace: hub, repository: parseRepository("a/b") };
const elsewhere = { namespace: parseNamespace("docker.io:5000"), repository: parseRepository("a") };
const digest = digestOf(Buffer.from("one"));
const other = digestOf(Buffer.from("two"));
const [one, two] = [parseTag("1"), parseTag("2")];

/** Each repository has tags for two digests, their links, and a page; the content is everybody's. */
function keysOf(id: RepositoryId): Key[] {
  return [tagKey(id, one), tagKey(id, two), linkKey(id, digest), linkKey(id, other), pageKey(id, "tags", "")];
}

/** What goes from the bucket, which must be what was found, and all that did not stay. */
async function purge(target: PurgeTarget, links: PurgePlan["links"] = []): Promise<Set<Key>> {
  const store = new MemoryBucket();
  for (const id of [a, nested, elsewhere]) {
    for (const key of keysOf(id)) {
      const record = { digest: key.endsWith("/1") ? digest : other, mediaType: "a/b", size: 3, checkedAt: 0 };
      await store.plant(key, Buffer.from(JSON.stringify(record)));
    }
  }
  for (const content of [digest, other]) await store.plant(blobKey(content), Buffer.from("content"));
  const before = await store.keys();
  const forgotten: Key[] = [];
  const purging = new BucketPurge({
    store,
    bucket: {
      erase: async (key) => {
        await store.delete(key);
        forgotten.push(key);
      },
    },
    copies: {
      leaveOut: async (key) => {
        assert.ok((await store.keys()).includes(key), "copies end before it is removed");
      },
    },
  });
  const found: Key[] = [];
  for await (const key of purging.find(target, links)) found.push(key);
  for (const key of found) await purging.remove(key);
  const left = await store.keys();
  assert.deepEqual(before.filter((key) => !left.includes(key)).toSorted(), found.toSorted());
  assert.deepEqual(forgotten, found);
  return new Set(found);
}

test("of a repository all that is recorded goes, and nothing of one whose name begins with its", async () => {
  assert.deepEqual(await purge({ kind: "repository", id: a }), new Set(keysOf(a)));
  assert.deepEqual(await purge({ kind: "repository", id: nested }), new Set(keysOf(nested)));
});

test("of a namespace all repositories go, and none of one whose name begins with its", async () => {
  const expected = new Set([...keysOf(a), ...keysOf(nested)]);
  assert.deepEqual(await purge({ kind: "namespace", namespace: hub }), expected);
  assert.deepEqual(await purge({ kind: "namespace", namespace: elsewhere.namespace }), new Set(keysOf(elsewhere)));
});

test("with a tag goes what the folder's plan removes with it", async () => {
  assert.deepEqual(await purge({ kind: "tag", id: a, tag: one }), new Set([tagKey(a, one)]));
  const links = [{ id: a, digest }];
  const expected = new Set([tagKey(a, one), linkKey(a, digest)]);
  assert.deepEqual(await purge({ kind: "tag", id: a, tag: one }, links), expected);
  const gone = [{ id: a, digest: digestOf(Buffer.from("not there")) }];
  assert.deepEqual(await purge({ kind: "tag", id: a, tag: parseTag("3") }, gone), new Set());
});

test("with a digest of a repository go its tags; the content may be others'", async () => {
  const links = [{ id: a, digest }];
  const expected = new Set([tagKey(a, one), linkKey(a, digest)]);
  assert.deepEqual(await purge({ kind: "digest", id: a, digest }, links), expected);
});

test("a digest alone goes from every repository, with its content", async () => {
  const expected = [a, nested, elsewhere].flatMap((id) => [tagKey(id, one), linkKey(id, digest)]);
  assert.deepEqual(await purge({ kind: "content", digest }), new Set([...expected, blobKey(digest)]));
});
