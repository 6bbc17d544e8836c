import assert from "node:assert/strict";
import { test } from "node:test";
import "../support/network.ts";
import { createBarrier } from "../support/barrier.ts";
import { pseudoRandomBytes } from "../support/content.ts";
import { until } from "../support/event-loop.ts";
import { open } from "../support/http.ts";
import { mediaTypes } from "../support/image.ts";
import { type MirrorOptions, startMirror } from "../support/mirror.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";
import { createUpstream, type ScriptedUpstream } from "../support/upstream.ts";

const secret = pseudoRandomBytes(200_000, "secret");

/** Pulls from a mirror that is closed again, so that all is stored. */
async function pullBefore(host: string, options: MirrorOptions, paths: readonly string[]): Promise<void> {
  await using earlier = await startMirror(host, options);
  for (const path of paths) assert.equal((await earlier.get(path)).status, 200, path);
}

/** Adds a manifest to a repository that lists a blob, whether or not the repository has it. */
function addListing(upstream: ScriptedUpstream, repository: string, digest: string): void {
  upstream.addManifest(repository, "1", {
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    config: { mediaType: mediaTypes.config, digest, size: secret.length },
    layers: [],
  });
}

test("what is cached through one repository is not served through another that does not have it", async () => {
  await using folder = await createTemporaryDirectory();
  await using upstream = await createUpstream();
  await using other = await createUpstream();
  const options = { root: folder.path, others: [{ namespace: "quay.io", host: other.host }] };
  const digest = upstream.addBlob(secret, { repository: "team/private" });
  const image = upstream.addImage("team/private", "1");
  const resources = [`blobs/${digest}`, `manifests/${image.digest}`, "manifests/1"];
  await pullBefore(
    upstream.host,
    options,
    resources.map((resource) => `/v2/team/private/${resource}`),
  );
  await using mirror = await startMirror(upstream.host, options);
  const strangers = ["/v2/team/public", "/v2/team/private2", "/v2/team/private/deeper", "/v2/quay.io/team/private"];
  for (const repository of strangers) {
    for (const method of ["GET", "HEAD"]) {
      const blob = await mirror.get(`${repository}/blobs/${digest}`, { method });
      assert.equal(blob.status, 404, `${method} ${repository}`);
      assert.ok(!blob.body.includes(secret.subarray(0, 16)));
      assert.equal((await mirror.get(`${repository}/manifests/${image.digest}`, { method })).status, 404);
      assert.equal((await mirror.get(`${repository}/manifests/1`, { method })).status, 404);
    }
    const part = await mirror.get(`${repository}/blobs/${digest}`, { headers: { range: "bytes=0-9" } });
    assert.equal(part.status, 404);
    const known = await mirror.get(`${repository}/blobs/${digest}`, { headers: { "if-none-match": `"${digest}"` } });
    assert.equal(known.status, 404);
  }
});

/** An image's manifest that lists a blob where some registries look for it when it is pushed, and others do not. */
function ambiguousManifests(digest: string): Record<string, string> {
  const listed = `{"mediaType":"${mediaTypes.layer}","digest":"${digest}","size":${secret.length}}`;
  const own = `{"mediaType":"${mediaTypes.config}","digest":"sha256:${"0".repeat(64)}","size":2}`;
  const start = `{"schemaVersion":2,"mediaType":"${mediaTypes.manifest}"`;
  return {
    "layers twice": `${start},"config":${own},"layers":[${own}],"layers":[${listed}]}`,
    "layers in two cases": `${start},"config":${own},"layers":[${listed}],"Layers":[]}`,
    "a long s": `${start},"config":${own},"layers":[${listed}],"layer\u017f":[]}`,
    "config in two cases": `${start},"config":${listed},"Config":${own},"layers":[]}`,
    "two digests": `${start},"config":${own},"layers":[${listed.slice(0, -1)},"Digest":"sha256:${"0".repeat(64)}"}]}`,
    "an artifact's blobs": `${start},"config":${own},"layers":[],"blobs":[${listed}]}`,
    "schema 1 beside": `${start},"config":${own},"layers":[${listed}],"fsLayers":[]}`,
  };
}

test("a manifest that others may read in another way makes no blob readable", async () => {
  await using upstream = await createUpstream();
  await using mirror = await startMirror(upstream.host, { upstream: { retries: 0, prefetch: "platform" } });
  const digest = upstream.addBlob(secret, { repository: "team/private" });
  assert.equal((await mirror.get(`/v2/team/private/blobs/${digest}`)).status, 200);
  for (const [what, text] of Object.entries(ambiguousManifests(digest))) {
    const repository = `team/${what.replaceAll(/[^a-z0-9]+/g, "-")}`;
    const manifest = upstream.addManifest(repository, "1", Buffer.from(text), mediaTypes.manifest);
    const pulled = await mirror.get(`/v2/${repository}/manifests/${manifest}`);
    assert.deepEqual([pulled.status, pulled.body.toString()], [200, text], what);
    await until(
      async () =>
        (await mirror.get(`/v2/${repository}/manifests/${manifest}`)).headers["cache-status"] === "entrepot; hit",
    );
    for (const method of ["GET", "HEAD"]) {
      const blob = await mirror.get(`/v2/${repository}/blobs/${digest}`, { method });
      assert.equal(blob.status, 404, `${what} ${method}`);
      assert.ok(!blob.body.includes(secret.subarray(0, 16)));
    }
    assert.ok(upstream.count({ path: `/v2/${repository}/blobs/${digest}` }) > 0, "it was asked, and does not have it");
  }
  await upstream.down();
  for (const what of Object.keys(ambiguousManifests(digest))) {
    const repository = `team/${what.replaceAll(/[^a-z0-9]+/g, "-")}`;
    assert.equal((await mirror.get(`/v2/${repository}/blobs/${digest}`)).status, 502, what);
  }
});

test("a repository whose upstream confirms a cached blob gets it without another transfer", async () => {
  await using folder = await createTemporaryDirectory();
  await using upstream = await createUpstream();
  const options = { root: folder.path, upstream: { retries: 0 } };
  const digest = upstream.addBlob(secret, { repository: "team/first" });
  await pullBefore(upstream.host, options, [`/v2/team/first/blobs/${digest}`]);
  await using mirror = await startMirror(upstream.host, options);
  const path = `/v2/team/second/blobs/${digest}`;
  assert.equal((await mirror.get(path)).status, 404);
  upstream.addBlob(secret, { repository: "team/second" });
  assert.ok((await mirror.get(path)).body.equals(secret));
  assert.ok(upstream.bytesSent({ path: /team.second.blobs/ }) < 200, "it was confirmed, not sent");
  // From now on it is known to have it.
  await upstream.down();
  assert.equal((await mirror.get(path)).headers["cache-status"], "entrepot; hit");
});

test("while the upstream cannot be asked, a repository that is not known to have a blob does not get it", async () => {
  await using folder = await createTemporaryDirectory();
  await using upstream = await createUpstream();
  const options = { root: folder.path, upstream: { retries: 0 } };
  const digest = upstream.addBlob(secret);
  await pullBefore(upstream.host, options, [`/v2/team/first/blobs/${digest}`]);
  await using mirror = await startMirror(upstream.host, options);
  await upstream.down();
  const answer = await mirror.get(`/v2/team/second/blobs/${digest}`);
  assert.equal(answer.status, 502);
  assert.ok(!answer.body.includes(secret.subarray(0, 16)));
  assert.equal((await mirror.get(`/v2/team/first/blobs/${digest}`)).status, 200);
});

test("another repository joins a running fill only when it is known to have the blob", async () => {
  await using folder = await createTemporaryDirectory();
  await using upstream = await createUpstream();
  const digest = upstream.addBlob(secret);
  addListing(upstream, "team/linked", digest);
  await pullBefore(upstream.host, { root: folder.path }, ["/v2/team/linked/manifests/1"]);
  await using mirror = await startMirror(upstream.host, { root: folder.path });
  const path = (repository: string): string => `/v2/team/${repository}/blobs/${digest}`;
  const halfway = createBarrier();
  upstream.when({ path: path("first") }, { stallAfterBytes: 100_000, stallAt: halfway });
  using first = await open(`${mirror.url}${path("first")}`);
  assert.ok((await first.take(50_000)).equals(secret.subarray(0, 50_000)));

  using linked = await open(`${mirror.url}${path("linked")}`);
  assert.equal(linked.headers["cache-status"], "entrepot; fwd=uri-miss; stored; collapsed");
  assert.ok((await linked.take(50_000)).equals(secret.subarray(0, 50_000)));
  assert.equal(upstream.count({ path: path("linked") }), 0);

  // One that is not gets the bytes from the upstream itself, or nothing.
  const stranger = await mirror.get(path("stranger"));
  assert.ok(stranger.body.equals(secret));
  assert.equal(upstream.bytesSent({ path: path("stranger") }), secret.length);
  upstream.when({ path: path("refused") }, { status: 404 });
  assert.equal((await mirror.get(path("refused"))).status, 404);

  halfway.release();
  assert.ok((await first.rest()).equals(secret.subarray(50_000)));
  assert.ok((await linked.rest()).equals(secret.subarray(50_000)));
});

test("another registry's repository never joins a fill, whatever its manifests list", async () => {
  await using folder = await createTemporaryDirectory();
  await using upstream = await createUpstream();
  await using other = await createUpstream();
  const digest = upstream.addBlob(secret);
  addListing(other, "team/same", digest);
  const options = { root: folder.path, others: [{ namespace: "quay.io", host: other.host }] };
  await pullBefore(upstream.host, options, ["/v2/quay.io/team/same/manifests/1"]);
  await using mirror = await startMirror(upstream.host, options);
  const path = `/v2/team/same/blobs/${digest}`;
  const halfway = createBarrier();
  upstream.when({ path }, { stallAfterBytes: 100_000, stallAt: halfway });
  using first = await open(`${mirror.url}${path}`);
  await first.take(50_000);
  // quay.io's manifest lists it, but quay.io does not have it.
  assert.equal((await mirror.get(`${path}?ns=quay.io`)).status, 404);
  assert.equal(other.count({ path }), 1);
  halfway.release();
  assert.ok((await first.rest()).equals(secret.subarray(50_000)));
});

test("credentials and cookies of clients stay here, and the upstream's challenges and cookies there", async () => {
  await using upstream = await createUpstream();
  await using mirror = await startMirror(upstream.host);
  upstream.addImage("team/public", "1");
  upstream.when({ path: "/manifests/1" }, { headers: { "set-cookie": "a=b", link: "</x>; rel=next", server: "x" } });
  const headers = {
    authorization: "Bearer of-a-client",
    cookie: "session=of-a-client",
    "x-forwarded-for": "192.0.2.1",
    "accept-encoding": "gzip",
    range: "bytes=0-1",
    "if-none-match": '"x"',
  };
  const answer = await mirror.get("/v2/team/public/manifests/1?ns=docker.io", { headers });
  assert.equal(answer.status, 200);
  for (const name of ["set-cookie", "link", "server", "www-authenticate"])
    assert.equal(answer.headers[name], undefined);
  const [asked] = upstream.requests;
  assert.equal(asked?.query, "");
  assert.deepEqual(Object.keys(asked?.headers ?? {}).toSorted(), [
    "accept",
    "accept-encoding",
    "connection",
    "host",
    "user-agent",
  ]);
  assert.equal(asked?.headers["accept-encoding"], "identity");
});
