import assert from "node:assert/strict";
import { test } from "node:test";
import "../support/network.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { mediaTypes } from "../support/image.ts";
import { type Mirror, startMirror } from "../support/mirror.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";
import { createUpstream, type ScriptedUpstream } from "../support/upstream.ts";

interface Listing {
  readonly status: number;
  readonly document: Record<string, unknown>;
  readonly headers: Record<string, unknown>;
}

async function list(mirror: Mirror, path: string): Promise<Listing> {
  const { status, headers, body } = await mirror.get(path);
  return { status, headers, document: JSON.parse(body.toString()) as Record<string, unknown> };
}

function addTags(upstream: ScriptedUpstream, repository: string, tags: readonly string[]): void {
  const { digest } = upstream.addImage(repository, tags[0] ?? "");
  for (const tag of tags) upstream.setTag(repository, tag, digest);
}

/** The target of `Link`, which is what a client asks for next. */
function nextOf({ headers }: Listing): string {
  const [, target = ""] = /^<([^>]*)>; rel="next"$/.exec(String(headers["link"])) ?? [];
  assert.notEqual(target, "", String(headers["link"]));
  return target;
}

test("tags are listed as the upstream has them now", async () => {
  await using upstream = await createUpstream();
  await using mirror = await startMirror(upstream.host);
  addTags(upstream, "library/test", ["b", "a"]);
  const first = await list(mirror, "/v2/library/test/tags/list");
  assert.deepEqual(first.document, { name: "library/test", tags: ["a", "b"] });
  assert.equal(first.headers["content-type"], "application/json");
  assert.equal(first.headers["cache-status"], "entrepot; fwd=bypass; fwd-status=200");
  assert.equal(first.headers["link"], undefined);
  addTags(upstream, "library/test", ["c"]);
  assert.deepEqual((await list(mirror, "/v2/library/test/tags/list")).document["tags"], ["a", "b", "c"]);
  assert.deepEqual((await list(mirror, "/v2/test/tags/list")).document, {
    // As it was asked for, although Docker Hub calls it library/test.
    name: "test",
    tags: ["a", "b", "c"],
  });
  const absent = await list(mirror, "/v2/library/absent/tags/list");
  assert.equal(absent.status, 404);
  assert.deepEqual((absent.document["errors"] as { code: string }[])[0]?.code, "NAME_UNKNOWN");
});

test("a link to the next page leads through the mirror, whatever way the client came", async () => {
  await using upstream = await createUpstream();
  await using other = await createUpstream();
  await using mirror = await startMirror(upstream.host, { others: [{ namespace: "quay.io", host: other.host }] });
  addTags(other, "team/app", ["a", "b", "c", "d", "e"]);
  const ways = [
    "/v2/team/app/tags/list?ns=quay.io&n=2",
    "/v2/team/app/tags/list?n=2&ns=quay.io",
    "/v2/quay.io/team/app/tags/list?n=2",
    "/quay.io/v2/team/app/tags/list?n=2",
    "/v2/quay.io/v2/team/app/tags/list?n=2",
  ];
  for (const way of ways) {
    const tags: unknown[] = [];
    let page = await list(mirror, way);
    for (let pages = 1; ; pages++) {
      tags.push(...(page.document["tags"] as unknown[]));
      if (page.headers["link"] === undefined) {
        assert.equal(pages, 3, way);
        break;
      }
      const next = nextOf(page);
      const [before, after] = [new URL(way, mirror.url), new URL(next, mirror.url)];
      assert.ok(next.startsWith("/"), next);
      assert.equal(after.pathname, before.pathname);
      assert.equal(after.searchParams.get("ns"), before.searchParams.get("ns"));
      page = await list(mirror, next);
    }
    assert.deepEqual(tags, ["a", "b", "c", "d", "e"], way);
  }
  assert.ok(other.requests.every(({ query }) => !query.includes("ns=")));
  assert.equal(upstream.requests.length, 0);
});

test("a link of the upstream that leads elsewhere is followed in its query only", async () => {
  await using upstream = await createUpstream();
  await using mirror = await startMirror(upstream.host);
  addTags(upstream, "library/test", ["a", "b"]);
  const path = "/v2/library/test/tags/list";
  upstream.when({ path }, { headers: { link: '<http://192.0.2.1/else/where?last=a%20b&n=1>; rel="next"' } });
  assert.equal(nextOf(await list(mirror, path)), `${path}?last=a%20b&n=1`);
});

test("the next page is of the same registry, whatever the upstream's link says", async () => {
  await using upstream = await createUpstream();
  await using other = await createUpstream();
  await using mirror = await startMirror(upstream.host, { others: [{ namespace: "quay.io", host: other.host }] });
  addTags(other, "team/app", ["a", "b"]);
  for (const [way, ns] of [
    ["/v2/team/app/tags/list?ns=quay.io&n=1", "quay.io"],
    ["/v2/quay.io/team/app/tags/list?n=1", null],
    ["/quay.io/v2/team/app/tags/list?n=1", null],
  ] as const) {
    for (const link of [
      "/v2/team/app/tags/list?n=1&last=a&ns=docker.io",
      "?ns=ghcr.io&n=1&last=a",
      `http://192.0.2.1/v2/elsewhere/tags/list?n=1&%6es=docker.io&last=a&ns=x#fragment`,
    ]) {
      other.when({ path: "/v2/team/app/tags/list", times: 1 }, { headers: { link: `<${link}>; rel="next"` } });
      const next = nextOf(await list(mirror, way));
      assert.equal(new URL(next, mirror.url).searchParams.get("ns"), ns, next);
      assert.deepEqual((await list(mirror, next)).document["tags"], ["b"], next);
    }
  }
  assert.equal(upstream.requests.length, 0);
});

test("a malformed or huge number of tags does not reach the upstream", async () => {
  await using upstream = await createUpstream();
  await using mirror = await startMirror(upstream.host);
  addTags(upstream, "library/test", ["a", "b"]);
  for (const n of ["x", "-1", "1.5", "", "99999999999999999999"]) {
    const refused = await list(mirror, `/v2/library/test/tags/list?n=${n}`);
    assert.equal(refused.status, 400, n);
    assert.deepEqual((refused.document["errors"] as { code: string }[])[0]?.code, "PAGINATION_NUMBER_INVALID");
  }
  assert.equal(upstream.requests.length, 0);
  assert.equal((await list(mirror, "/v2/library/test/tags/list?n=100000000")).status, 200);
  assert.equal(upstream.requests[0]?.query, "n=1000");
});

const failures: Record<string, (upstream: ScriptedUpstream) => Promise<void> | void> = {
  "is down": (upstream) => upstream.down(),
  "answers 500": (upstream) => upstream.when({}, { status: 500 }),
  "answers 429": (upstream) => upstream.when({}, { status: 429 }),
  "sends a web page": (upstream) =>
    upstream.when({ path: /tags/ }, { body: "<html>", headers: { "content-type": "text/html" } }),
  "breaks off": (upstream) => upstream.when({}, { cutAfterBytes: 5 }),
};
for (const [what, fail] of Object.entries(failures)) {
  test(`listings that were seen stand in for an upstream that ${what}`, async () => {
    await using folder = await createTemporaryDirectory();
    await using upstream = await createUpstream();
    const options = { root: folder.path, upstream: { retries: 0 } };
    addTags(upstream, "library/test", ["a", "b", "c"]);
    const { digest } = upstream.addImage("library/test", "a");
    upstream.addReferrer("library/test", digest, "application/x.signature");
    const pages = ["/v2/library/test/tags/list", "/v2/library/test/tags/list?n=2"];
    const referrers = `/v2/library/test/referrers/${digest}`;
    const seen: Listing[] = [];
    {
      await using earlier = await startMirror(upstream.host, options);
      for (const page of [...pages, referrers]) seen.push(await list(earlier, page));
    }
    assert.ok(seen.every(({ status }) => status === 200));
    await fail(upstream);
    await using mirror = await startMirror(upstream.host, options);
    const listsReferrers = what !== "sends a web page";
    for (const [index, page] of [...pages, ...(listsReferrers ? [referrers] : [])].entries()) {
      const stale = await list(mirror, page);
      assert.equal(stale.status, 200, page);
      assert.deepEqual(stale.document, seen[index]?.document);
      assert.equal(stale.headers["link"], seen[index]?.headers["link"]);
      assert.match(String(stale.headers["cache-status"]), /^entrepot; fwd=stale/);
      assert.match(String(stale.headers["warning"]), /^299 - /);
    }
    // What was not seen is not made up.
    const unseen = await list(mirror, "/v2/library/test/tags/list?n=1");
    assert.ok(unseen.status >= 502, String(unseen.status));
    const unknown = await mirror.get(`/v2/library/test/referrers/${digestOf(Buffer.from("unknown"))}`);
    if (listsReferrers) assert.ok(unknown.status >= 502, String(unknown.status));
  });
}

test("referrers are listed as the upstream has them now, filtered by it", async () => {
  await using upstream = await createUpstream();
  await using mirror = await startMirror(upstream.host);
  const { digest } = upstream.addImage("library/test", "1");
  const signature = upstream.addReferrer("library/test", digest, "application/x.signature");
  const path = `/v2/library/test/referrers/${digest}`;
  const digests = ({ document }: Listing): unknown[] =>
    (document["manifests"] as { digest: string }[]).map((each) => each.digest);
  const one = await list(mirror, path);
  assert.equal(one.headers["content-type"], mediaTypes.index);
  assert.equal(one.headers["oci-filters-applied"], undefined);
  assert.deepEqual(digests(one), [signature]);
  upstream.addReferrer("library/test", digest, "application/x.sbom");
  assert.equal(digests(await list(mirror, path)).length, 2);
  const filtered = await list(mirror, `${path}?artifactType=application%2Fx.signature`);
  assert.deepEqual(digests(filtered), [signature]);
  assert.equal(filtered.headers["oci-filters-applied"], "artifactType");
  // The upstream has the API: an empty list is then a true answer.
  const none = await list(mirror, `/v2/library/test/referrers/${signature}`);
  assert.deepEqual([none.status, digests(none)], [200, []]);
});

const unsupported: Record<string, (upstream: ScriptedUpstream, path: string) => void> = {
  "answers 404": () => undefined,
  "answers 405": (upstream, path) => upstream.when({ path }, { status: 405 }),
  "sends a web page": (upstream, path) =>
    upstream.when({ path }, { status: 200, body: "<html>", headers: { "content-type": "text/html" } }),
  "redirects to its web site": (upstream, path) =>
    upstream.when({ path }, { status: 303, headers: { location: "http://192.0.2.1/" } }),
};
for (const [what, break_] of Object.entries(unsupported)) {
  test(`an upstream that has no referrers API, and ${what}, is asked for the fallback tag`, async () => {
    await using upstream = await createUpstream({ referrers: false });
    await using mirror = await startMirror(upstream.host);
    const { digest } = upstream.addImage("library/test", "1");
    const path = `/v2/library/test/referrers/${digest}`;
    break_(upstream, path);
    // Neither the API nor the tag: that is an empty list (oras discover walks a tree, and breaks at a 404).
    const neither = await list(mirror, `${path}?artifactType=application%2Fx.other`);
    assert.deepEqual(neither.document, { schemaVersion: 2, mediaType: mediaTypes.index, manifests: [] });
    assert.equal(neither.headers["content-type"], mediaTypes.index);
    assert.equal(neither.headers["oci-filters-applied"], "artifactType");
    const head = await mirror.get(path, { method: "HEAD" });
    assert.deepEqual([head.status, head.headers["content-type"], head.body.length], [200, mediaTypes.index, 0]);

    const signature = upstream.addReferrer("library/test", digest, "application/x.signature");
    const entry = {
      mediaType: mediaTypes.manifest,
      digest: signature,
      size: 1,
      artifactType: "application/x.signature",
    };
    const tag = digest.replace(":", "-");
    upstream.addManifest("library/test", tag, { schemaVersion: 2, mediaType: mediaTypes.index, manifests: [entry] });
    const found = await list(mirror, path);
    assert.equal(found.status, 200);
    assert.equal(found.headers["content-type"], mediaTypes.index);
    assert.deepEqual(found.document["manifests"], [entry]);
    const filtered = await list(mirror, `${path}?artifactType=application%2Fx.other`);
    assert.deepEqual(filtered.document["manifests"], []);
    assert.equal(filtered.headers["oci-filters-applied"], "artifactType");
  });
}
