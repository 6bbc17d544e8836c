/** What an upstream's word about a blob is worth, where the bytes have not come yet. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type Digest, digestOf } from "../../../src/oci/digest.ts";
import { parseNamespace, parseRepository, parseTag } from "../../../src/oci/reference.ts";
import type { PullRegistry } from "../../../src/registry/registry.ts";
import { UpstreamError } from "../../../src/upstream/upstream.ts";
import { createBarrier } from "../../support/barrier.ts";
import { pseudoRandomBytes } from "../../support/content.ts";
import type { BlobScript } from "../../support/fake-upstream.ts";
import { createFakeMirror, imageOf, readBlob } from "./fake-mirror.ts";

const a = parseRepository("library/a");
const b = parseRepository("library/b");
const namespace = parseNamespace("docker.io");
const latest = parseTag("latest");
const bytes = pseudoRandomBytes(200_000, "blob");
const page = Buffer.from("<html>Log in</html>");

async function pull(mirror: PullRegistry, repository: typeof a, digest: Digest): Promise<Buffer | undefined> {
  const answer = await mirror.openBlob(repository, digest);
  return answer && readBlob(answer.value);
}

/** A manifest that lists it. Its configuration is the first layer. */
function listing(digest: Digest, size: number): object {
  return imageOf("1", [
    { digest: digestOf(Buffer.from("{}")), size: 2 },
    { digest, size },
  ]);
}

function isInvalid(error: unknown): boolean {
  return error instanceof UpstreamError && error.failure === "invalid";
}

const proofs: [name: string, script: BlobScript, isProof: boolean][] = [
  ["its size", {}, true],
  ["its size, sent as a web page", { label: "page" }, true],
  ["its size, sent as encoded", { label: "encoded" }, true],
  ["no size", { sizeBytes: undefined }, false],
  ["no size, sent as a web page", { sizeBytes: undefined, label: "page" }, false],
  ["no size, sent as encoded", { sizeBytes: undefined, label: "encoded" }, false],
];

for (const [name, script, isProof] of proofs) {
  test(`a stored blob that another repository's upstream answers with ${name}: ${isProof ? "given" : "fetched"}`, async () => {
    for (const question of ["GET", "HEAD and GET"]) {
      await using subject = await createFakeMirror();
      const { mirror, upstream } = subject;
      const digest = upstream.addBlob(a, bytes);
      await pull(mirror, a, digest);
      await subject.idle();
      upstream.addBlob(b, bytes, script);
      if (question === "HEAD and GET") assert.notEqual(await mirror.statBlob(b, digest), undefined);
      assert.ok((await pull(mirror, b, digest))?.equals(bytes));
      const fetched = upstream.asked.filter((asked) => asked.startsWith(`blob ${b}`));
      assert.equal(fetched.length, isProof ? 0 : 1, question);
    }
  });
}

test("a web page in the place of a blob is no right to read it, whatever it is sent as", async () => {
  for (const script of [
    { label: "page" },
    { label: "page", sizeBytes: undefined },
    { sizeBytes: undefined },
    {},
  ] as const) {
    await using subject = await createFakeMirror();
    const { mirror, upstream, content } = subject;
    const digest = upstream.addBlob(a, bytes);
    await pull(mirror, a, digest);
    upstream.addBlob(b, page, { digest, ...script });
    await subject.idle();
    await mirror.statBlob(b, digest).catch(() => undefined);
    await assert.rejects(pull(mirror, b, digest), isInvalid);
    await subject.idle();
    assert.equal(await content.link({ namespace, repository: b }, digest), undefined);
  }
});

test("a HEAD's word about what is not stored is no right to it when it is", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream, content } = subject;
  const digest = digestOf(bytes);
  upstream.addBlob(b, page, { digest });
  assert.equal((await mirror.statBlob(b, digest))?.value.sizeBytes, page.length);
  await subject.idle();
  assert.equal(await content.link({ namespace, repository: b }, digest), undefined);
  upstream.addBlob(a, bytes);
  await pull(mirror, a, digest);
  await subject.idle();
  await assert.rejects(pull(mirror, b, digest), isInvalid);
});

test("HEAD of a cold blob that is sent as a web page fetches it; one of the size that a manifest tells needs not", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  const report = Buffer.from("<html>a report</html>");
  const digest = upstream.addBlob(a, report, { label: "page" });
  assert.equal((await mirror.statBlob(a, digest))?.value.sizeBytes, report.length);
  assert.ok((await pull(mirror, a, digest))?.equals(report));
  await subject.idle();
  upstream.addManifest(b, "latest", listing(digest, report.length));
  const other = subject.another("other.example.com");
  other.upstream.addBlob(b, report, { label: "page" });
  other.upstream.addManifest(b, "latest", listing(digest, report.length));
  await other.mirror.manifest(b, latest);
  assert.equal((await other.mirror.statBlob(b, digest))?.value.sizeBytes, report.length);
  assert.ok(!other.upstream.asked.some((asked) => asked.startsWith("blob")));
  const login = upstream.addBlob(b, page, { digest: digestOf(Buffer.from("no page")), label: "page" });
  await assert.rejects(mirror.statBlob(b, login), isInvalid);
});

test("what is labelled as something else begins for its readers when it is known to be right, or is long", async () => {
  for (const label of ["page", "encoded"] as const) {
    await using subject = await createFakeMirror();
    const { mirror, upstream } = subject;
    const wrong = upstream.addBlob(a, page, { digest: digestOf(bytes), label });
    await assert.rejects(mirror.openBlob(a, wrong), isInvalid);
    const short = upstream.addBlob(a, bytes, { label, sizeBytes: undefined });
    assert.ok((await pull(mirror, a, short))?.equals(bytes));
    await subject.idle();
    const large = pseudoRandomBytes(1_200_000, "large");
    for (const sizeBytes of [large.length, undefined]) {
      const barrier = createBarrier();
      const pauses = [{ at: 1_100_000, barrier }];
      const long = upstream.addBlob(sizeBytes === undefined ? b : a, large, { label, sizeBytes, pauses });
      const answer = await mirror.openBlob(sizeBytes === undefined ? b : a, long);
      barrier.release();
      assert.ok(answer !== undefined && (await readBlob(answer.value)).equals(large));
      await subject.idle();
    }
  }
});

test("what is labelled as something else, and has the size that the manifest tells, begins at once", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  const barrier = createBarrier();
  const digest = upstream.addBlob(a, bytes, { label: "encoded", pauses: [{ at: 65_536, barrier }] });
  upstream.addManifest(a, "latest", listing(digest, bytes.length));
  await mirror.manifest(a, latest);
  const answer = await mirror.openBlob(a, digest);
  barrier.release();
  assert.ok(answer !== undefined && (await readBlob(answer.value)).equals(bytes));
});

test("HEAD of a cold blob has the size that the manifest tells where the upstream tells none, a stranger too", async () => {
  for (const trusted of [true, false]) {
    for (const script of [{ sizeBytes: undefined }, { sizeBytes: 5, label: "encoded" }] as const) {
      await using subject = await createFakeMirror({ trusted });
      const { upstream } = subject;
      const digest = upstream.addBlob(a, bytes, script);
      upstream.addManifest(a, "latest", listing(digest, bytes.length));
      await subject.mirror.manifest(a, latest);
      assert.equal((await subject.mirror.statBlob(a, digest))?.value.sizeBytes, bytes.length);
      await subject.idle();
      const next = subject.restart();
      await next.manifest(a, latest);
      assert.equal((await next.statBlob(a, digest))?.value.sizeBytes, bytes.length, "after a restart too");
    }
  }
});

test("the blob of no bytes has its size by its digest, and belongs to whom its upstream says", async () => {
  for (const algorithm of ["sha256", "sha512"] as const) {
    await using subject = await createFakeMirror();
    const { mirror, upstream } = subject;
    const digest = digestOf(Buffer.alloc(0), algorithm);
    upstream.addBlob(a, Buffer.alloc(0), { digest, sizeBytes: undefined });
    assert.equal((await mirror.statBlob(a, digest))?.value.sizeBytes, 0);
    assert.equal((await pull(mirror, a, digest))?.length, 0);
    await subject.idle();
    assert.equal(await mirror.statBlob(b, digest), undefined);
    assert.equal(await mirror.openBlob(b, digest), undefined);
    upstream.addBlob(b, Buffer.alloc(0), { digest });
    assert.equal((await pull(mirror, b, digest))?.length, 0);
    await subject.idle();
    assert.deepEqual((await mirror.statBlob(b, digest))?.cache, { hit: true });
  }
});
