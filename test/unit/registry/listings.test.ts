import assert from "node:assert/strict";
import { test } from "node:test";
import { digestOf } from "../../../src/oci/digest.ts";
import { parseRepository } from "../../../src/oci/reference.ts";
import { UpstreamError } from "../../../src/upstream/upstream.ts";
import { createBarrier } from "../../support/barrier.ts";
import { mediaTypes } from "../../support/image.ts";
import { createFakeMirror } from "./fake-mirror.ts";

const a = parseRepository("library/a");
const subject256 = digestOf(Buffer.from("subject"));

function down(): UpstreamError {
  return new UpstreamError("registry.example.com", "unreachable", "it is down");
}

function entry(seed: string, artifactType: string): Record<string, unknown> {
  return { mediaType: mediaTypes.manifest, digest: digestOf(Buffer.from(seed)), size: 5, artifactType };
}

test("tags are live while the upstream answers, and the last answer stands in when it does not", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  upstream.setPage(`tags ${a} n=2`, { name: "whatever", tags: ["1", "2"], more: true }, { nextQuery: "n=2&last=2" });
  const first = await mirror.tags(a, "n=2");
  const page = { document: { tags: ["1", "2"] }, nextQuery: "n=2&last=2", filtersApplied: undefined };
  const cache = { hit: false, forward: "bypass", forwardStatus: 200, collapsed: false };
  assert.deepEqual(first, { value: page, cache });
  upstream.setPage(`tags ${a} n=2`, { tags: ["3"] });
  assert.deepEqual((await mirror.tags(a, "n=2"))?.value.document, { tags: ["3"] });
  await subject.idle();
  const error = down();
  upstream.failure = error;
  const stale = { hit: false, forward: "stale", staleReason: "unreachable" };
  for (const each of [mirror, subject.restart()]) {
    const answer = await each.tags(a, "n=2");
    assert.deepEqual(answer?.value.document, { tags: ["3"] });
    assert.deepEqual(answer?.cache, stale);
  }
  await assert.rejects(mirror.tags(a, "n=3"), error, "another page was never seen");
});

test("a resting upstream is not asked for what is stored", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  upstream.setPage(`tags ${a} `, { tags: ["1"] });
  await mirror.tags(a, "");
  await subject.idle();
  upstream.failure = down();
  await mirror.tags(a, "");
  const asked = upstream.asked.length;
  assert.equal((await mirror.tags(a, ""))?.cache.staleReason, "unreachable");
  assert.equal(upstream.asked.length, asked);
});

test("an unknown repository is absent; no tags are an empty list", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  assert.equal(await mirror.tags(a, ""), undefined);
  upstream.setPage(`tags ${a} `, { name: a, tags: null });
  assert.deepEqual((await mirror.tags(a, ""))?.value.document, { tags: [] });
  upstream.setPage(`tags ${a} `, { name: a });
  assert.deepEqual((await mirror.tags(a, ""))?.value.document, { tags: [] });
});

test("a listing that makes no sense is the upstream's failure", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  const invalid = (error: unknown): boolean => error instanceof UpstreamError && error.failure === "invalid";
  for (const body of [
    Buffer.from("<html>"),
    Buffer.alloc(0),
    5,
    null,
    "x",
    { tags: "a" },
    { tags: [1] },
    { tags: {} },
  ]) {
    upstream.setPage(`tags ${a} `, body);
    await assert.rejects(mirror.tags(a, ""), invalid, JSON.stringify(body));
  }
  for (const nextQuery of ["a b", "x\r\nSet-Cookie: y", "\u00e4", `n=${"9".repeat(2_048)}`]) {
    upstream.setPage(`tags ${a} `, { tags: [] }, { nextQuery });
    await assert.rejects(mirror.tags(a, ""), invalid, nextQuery);
  }
  for (const body of [{ tags: [] }, { manifests: {} }, [], null]) {
    upstream.setPage(`referrers ${a} ${subject256} `, body);
    await assert.rejects(mirror.referrers(a, subject256, ""), invalid, JSON.stringify(body));
  }
});

test("clients that ask for one page together cost one question", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  upstream.setPage(`tags ${a} `, { tags: ["1"] });
  const barrier = createBarrier();
  upstream.hold = barrier;
  const clients = Array.from({ length: 20 }, () => mirror.tags(a, ""));
  await barrier.reached;
  barrier.release();
  const answers = await Promise.all(clients);
  assert.equal(answers.filter((answer) => answer?.cache.collapsed === true).length, 19);
  assert.equal(upstream.asked.length, 1);
});

test("referrers come from the API where there is one, as they are", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  const index = { schemaVersion: 2, mediaType: mediaTypes.index, manifests: [entry("s", "application/x.sig")], own: 1 };
  const page = { nextQuery: "page=2", filtersApplied: "artifactType" };
  upstream.setPage(`referrers ${a} ${subject256} artifactType=application/x.sig`, index, page);
  const answer = await mirror.referrers(a, subject256, "artifactType=application/x.sig");
  assert.deepEqual(answer?.value, { document: index, ...page });
  assert.equal(upstream.asked.length, 1);
  await subject.idle();
  upstream.failure = down();
  const stale = await mirror.referrers(a, subject256, "artifactType=application/x.sig");
  assert.deepEqual(stale?.value.document, index);
  assert.equal(stale?.value.filtersApplied, "artifactType");
});

test("without the API the tag schema answers, filtered here; with neither nothing is claimed", async () => {
  const sha512 = digestOf(Buffer.from("subject"), "sha512");
  for (const [digest, tag] of [
    [subject256, subject256.replace(":", "-")],
    [sha512, sha512.replace(":", "-").slice(0, "sha512-".length + 64)],
  ] as const) {
    await using subject = await createFakeMirror();
    const { mirror, upstream } = subject;
    assert.equal(await mirror.referrers(a, digest, ""), undefined);
    const manifests = [entry("1", "application/x.sig"), entry("2", "application/x.sbom")];
    upstream.addManifest(a, tag, { schemaVersion: 2, manifests }, mediaTypes.index);
    const all = await mirror.referrers(a, digest, "");
    assert.deepEqual(all?.value, {
      document: { schemaVersion: 2, mediaType: mediaTypes.index, manifests },
      nextQuery: undefined,
      filtersApplied: undefined,
    });
    const some = await mirror.referrers(a, digest, "artifactType=application%2Fx.sbom");
    assert.deepEqual(some?.value.document["manifests"], [manifests[1]]);
    assert.equal(some?.value.filtersApplied, "artifactType");
    const none = await mirror.referrers(a, digest, "artifactType=x");
    assert.deepEqual(none?.value.document["manifests"], []);
  }
});

test("a fallback tag that is no index is no list of referrers", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  const tag = subject256.replace(":", "-");
  upstream.addManifest(a, tag, { schemaVersion: 2, config: entry("c", "x"), layers: [] });
  assert.equal(await mirror.referrers(a, subject256, ""), undefined);
});

test("an upstream that fails for referrers is never an empty list", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  const error = down();
  upstream.failure = error;
  await assert.rejects(mirror.referrers(a, subject256, ""), error);
});
