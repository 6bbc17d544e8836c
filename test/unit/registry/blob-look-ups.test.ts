/* What is asked of the store on a blob's way, each thing once. */
import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { type Digest, digestOf } from "../../../src/oci/digest.ts";
import { parseNamespace, parseRepository, parseTag } from "../../../src/oci/reference.ts";
import { blobKey, linkKey } from "../../../src/store/layout.ts";
import { createBarrier } from "../../support/barrier.ts";
import { pseudoRandomBytes } from "../../support/content.ts";
import { createFakeMirror, type FakeMirror, imageOf, readBlob } from "./fake-mirror.ts";

const a = parseRepository("library/a");
const id = { namespace: parseNamespace("docker.io"), repository: a };
const bytes = pseudoRandomBytes(100_000, "blob");
const digest = digestOf(bytes);
const config = { digest: digestOf(Buffer.from("{}")), size: 2 };

/** What is asked of the store about one blob from now on, in order. */
function watchStore(context: TestContext, { store }: FakeMirror, of: Digest = digest): string[] {
  const names = new Map<string, string>([
    [blobKey(of), "content"],
    [linkKey(id, of), "link"],
  ]);
  const asked: string[] = [];
  for (const operation of ["head", "get", "put"] as const) {
    const original = store[operation].bind(store) as (...parameters: unknown[]) => never;
    context.mock.method(store, operation, (key: string, ...rest: unknown[]) => {
      const name = names.get(key);
      if (name !== undefined) asked.push(`${operation} ${name}`);
      return original(key, ...rest);
    });
  }
  return asked;
}

async function pull({ mirror }: FakeMirror): Promise<void> {
  const answer = await mirror.openBlob(a, digest);
  assert.ok(answer !== undefined);
  assert.ok((await readBlob(answer.value)).equals(bytes));
}

test("a cold blob that a manifest lists costs one look, and one before it is written", async (context) => {
  await using subject = await createFakeMirror();
  subject.upstream.addBlob(a, bytes);
  subject.upstream.addManifest(a, "latest", imageOf("1", [config, { digest, size: bytes.length }]));
  await subject.mirror.manifest(a, parseTag("latest"));
  await subject.idle();
  const asked = watchStore(context, subject);
  await pull(subject);
  await subject.idle();
  assert.deepEqual(asked, ["get content", "head content", "put content"]);
});

test("a cold blob of which nothing is known costs a look at its link and its content, and one of each before they are written", async (context) => {
  await using subject = await createFakeMirror();
  subject.upstream.addBlob(a, bytes);
  const asked = watchStore(context, subject);
  await pull(subject);
  await subject.idle();
  assert.deepEqual(asked, ["get link", "head content", "get link", "head content", "put content", "put link"]);
});

test("a warm blob costs its opening, and a HEAD a look at its size", async (context) => {
  await using subject = await createFakeMirror();
  subject.upstream.addBlob(a, bytes);
  await pull(subject);
  await subject.idle();
  const asked = watchStore(context, subject);
  await pull(subject);
  assert.deepEqual(asked.splice(0), ["get content"]);
  await subject.mirror.statBlob(a, digest);
  assert.deepEqual(asked.splice(0), ["head content"]);
});

test("a HEAD of a cold blob costs a look at its link and its content", async (context) => {
  await using subject = await createFakeMirror();
  const large = pseudoRandomBytes(5 * 1024 * 1024, "large");
  const of = subject.upstream.addBlob(a, large);
  const asked = watchStore(context, subject, of);
  assert.deepEqual((await subject.mirror.statBlob(a, of))?.value, { sizeBytes: large.length });
  assert.deepEqual(asked, ["get link", "head content"]);
});

test("what another fill has stored since the look-up is not fetched again", async (context) => {
  await using subject = await createFakeMirror();
  const { mirror, store, upstream } = subject;
  upstream.addBlob(a, bytes);
  const barrier = createBarrier();
  const head = store.head.bind(store);
  const mocked = context.mock.method(store, "head", async (key: Parameters<typeof head>[0]) => {
    const found = await head(key);
    if (key === blobKey(digest)) await barrier.wait();
    return found;
  });
  const late = mirror.storeBlob(a, digest);
  await barrier.reached;
  mocked.mock.restore();
  await pull(subject);
  await subject.idle();
  upstream.asked.length = 0;
  barrier.release();
  assert.ok((await late) !== undefined);
  assert.deepEqual(upstream.asked, []);
});
