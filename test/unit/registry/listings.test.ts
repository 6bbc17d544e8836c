import assert from "node:assert/strict";
import { test } from "node:test";
import { digestOf } from "../../../src/oci/digest.ts";
import { parseRepository } from "../../../src/oci/reference.ts";
import { UpstreamError } from "../../../src/upstream/upstream.ts";
import { createBarrier } from "../../support/barrier.ts";
import { mediaTypes } from "../../support/image.ts";
import { createFakeMirror } from "./fake-mirror.ts";

const a = parseRepository("library/a");
const dockerImage = "application/vnd.docker.distribution.manifest.v2+json";
const dockerList = "application/vnd.docker.distribution.manifest.list.v2+json";
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
  for (const body of [{ tags: "a" }, { tags: [1] }, { tags: [null] }, { tags: {} }]) {
    upstream.setPage(`tags ${a} `, body);
    await assert.rejects(mirror.tags(a, ""), invalid, JSON.stringify(body));
  }
  for (const nextQuery of ["a b", "x\r\nSet-Cookie: y", "\u00e4", "last=%zz", "last=%ff", `n=${"9".repeat(2_048)}`]) {
    upstream.setPage(`tags ${a} `, { tags: [] }, { nextQuery });
    await assert.rejects(mirror.tags(a, ""), invalid, nextQuery);
  }
  for (const body of [{ manifests: {} }, { manifests: "x" }, { manifests: 0 }, { manifests: false }]) {
    upstream.setPage(`referrers ${a} ${subject256} `, body);
    await assert.rejects(mirror.referrers(a, subject256, ""), invalid, JSON.stringify(body));
  }
});

test("the registry that a link to the next page names is not for the upstream to say", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  for (const [nextQuery, expected] of [
    ["ns=evil.example&n=2&last=b", "n=2&last=b"],
    ["n=2&ns=evil.example&ns=quay.io&last=b", "n=2&last=b"],
    ["n=2&last=a%2Bb%26c&%6e%73=evil.example", "n=2&last=a%2Bb%26c"],
    ["ns&last=ns=x", "last=ns=x"],
    ["ns=evil.example", undefined],
    ["NS=x&last=b", "NS=x&last=b"],
  ] as const) {
    upstream.setPage(`tags ${a} `, { tags: ["b"] }, { nextQuery });
    assert.equal((await mirror.tags(a, ""))?.value.nextQuery, expected, nextQuery);
    upstream.setPage(`referrers ${a} ${subject256} `, { manifests: [] }, { nextQuery });
    assert.equal((await mirror.referrers(a, subject256, ""))?.value.nextQuery, expected, nextQuery);
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

test("no referrers are an empty index, however the upstream writes that", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  for (const body of [{ manifests: null }, {}, { schemaVersion: 2, mediaType: mediaTypes.index }]) {
    upstream.setPage(`referrers ${a} ${subject256} `, body);
    const empty = { schemaVersion: 2, mediaType: mediaTypes.index, manifests: [] };
    assert.deepEqual((await mirror.referrers(a, subject256, ""))?.value.document, empty);
  }
});

test("entries that name no content are left out, and the others stay as they are", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  const kept = [entry("1", "application/x.sig"), { digest: "blake3:00", odd: null }, entry("2", "application/x.sbom")];
  const [first, ...others] = kept;
  upstream.setPage(`referrers ${a} ${subject256} `, {
    manifests: [null, first, {}, "x", 1, [], { digest: null, size: 1 }, ...others],
  });
  assert.deepEqual((await mirror.referrers(a, subject256, ""))?.value.document["manifests"], kept);
});

test("without the API the tag schema answers, filtered here; with neither the list is empty", async () => {
  const sha512 = digestOf(Buffer.from("subject"), "sha512");
  for (const [digest, tag] of [
    [subject256, subject256.replace(":", "-")],
    [sha512, sha512.replace(":", "-").slice(0, "sha512-".length + 64)],
  ] as const) {
    await using subject = await createFakeMirror();
    const { mirror, upstream } = subject;
    const neither = await mirror.referrers(a, digest, "artifactType=x");
    assert.deepEqual(neither, {
      value: {
        document: { schemaVersion: 2, mediaType: mediaTypes.index, manifests: [] },
        nextQuery: undefined,
        filtersApplied: "artifactType",
      },
      cache: { hit: false, forward: "bypass", forwardStatus: 404 },
    });
    assert.equal((await mirror.referrers(a, digest, ""))?.value.filtersApplied, undefined);
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

for (const [what, mediaType, content] of [
  ["an image", mediaTypes.manifest, { config: entry("c", "x"), layers: [] }],
  ["a Docker manifest list", dockerList, { manifests: [{ ...entry("1", "x"), mediaType: dockerImage }] }],
] as const) {
  test(`a fallback tag that is ${what} is no list of referrers`, async () => {
    await using subject = await createFakeMirror();
    const { mirror, upstream } = subject;
    upstream.addManifest(a, subject256.replace(":", "-"), { schemaVersion: 2, mediaType, ...content }, mediaType);
    assert.deepEqual((await mirror.referrers(a, subject256, ""))?.value.document["manifests"], []);
  });
}

test("a fallback tag that stands for the subject itself is no list of referrers, whatever the algorithm", async () => {
  await using subject = await createFakeMirror();
  const { mirror, upstream } = subject;
  const manifests = [entry("amd64", ""), entry("arm64", "")];
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.index, manifests }));
  for (const digest of [digestOf(bytes), digestOf(bytes, "sha512")]) {
    upstream.addManifest(a, digest.replace(":", "-").slice(0, "sha512-".length + 64), bytes, mediaTypes.index);
    assert.deepEqual((await mirror.referrers(a, digest, ""))?.value.document["manifests"], [], digest);
  }
});

test("where it cannot be told whether there are referrers, it is not told that there are none", async () => {
  for (const failure of ["unreachable", "timeout", "status", "rate-limited", "token", "invalid", "offline"] as const) {
    for (const question of ["referrers", "manifest"] as const) {
      await using subject = await createFakeMirror();
      const error = new UpstreamError("registry.example.com", failure, "it failed");
      subject.upstream[question] = (): Promise<never> => Promise.reject(error);
      await assert.rejects(subject.mirror.referrers(a, subject256, ""), error, `${question} ${failure}`);
    }
  }
  const denied = new UpstreamError("registry.example.com", "denied", "no");
  await using api = await createFakeMirror();
  api.upstream.referrers = () => Promise.reject(denied);
  assert.equal(await api.mirror.referrers(a, subject256, ""), undefined, "clients look for the tag themselves");
  await using tag = await createFakeMirror();
  tag.upstream.manifest = () => Promise.reject(denied);
  await assert.rejects(tag.mirror.referrers(a, subject256, ""), denied);
});
