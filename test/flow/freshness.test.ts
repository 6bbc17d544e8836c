import assert from "node:assert/strict";
import { test } from "node:test";
import "../support/network.ts";
import { type Mirror, type MirrorOptions, startMirror } from "../support/mirror.ts";
import { inspectStorage } from "../support/storage.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";
import { createUpstream, type ScriptedUpstream } from "../support/upstream.ts";

const minute = 60_000;
const path = "/v2/library/test/manifests/1";

/** A clock that stands still until the test moves it. */
function createClock(): { readonly now: () => number; pass(ms: number): void } {
  let time = Date.UTC(2026, 0, 1);
  return { now: () => time, pass: (ms) => (time += ms) };
}

/** What the upstream was asked since the last call: `METHOD what`. */
function createQuestions(upstream: ScriptedUpstream): () => string[] {
  let seen = 0;
  return () => {
    const fresh = upstream.requests.slice(seen).map((request) => `${request.method} ${request.path.split("/").at(-1)}`);
    seen = upstream.requests.length;
    return fresh;
  };
}

async function expectImage(mirror: Mirror, digest: string, status: string, method = "GET"): Promise<void> {
  const answer = await mirror.get(path, { method });
  assert.equal(answer.status, 200);
  assert.equal(answer.headers["docker-content-digest"], digest);
  assert.equal(answer.headers["etag"], `"${digest}"`);
  assert.equal(answer.headers["warning"], undefined);
  assert.equal(answer.headers["cache-status"], `entrepot; ${status}`);
}

test("a fresh tag costs no question, a stale one a HEAD, a changed one a GET by digest besides", async () => {
  const clock = createClock();
  await using upstream = await createUpstream();
  const questions = createQuestions(upstream);
  await using mirror = await startMirror(upstream.host, { now: clock.now });
  const old = upstream.addImage("library/test", "1", { seed: "old" });

  await expectImage(mirror, old.digest, "fwd=uri-miss; fwd-status=200; stored");
  assert.deepEqual(questions(), ["GET 1"]);

  clock.pass(10 * minute - 1);
  await expectImage(mirror, old.digest, "hit");
  await expectImage(mirror, old.digest, "hit", "HEAD");
  assert.deepEqual(questions(), []);

  clock.pass(1);
  await expectImage(mirror, old.digest, "fwd=stale; fwd-status=200; stored");
  assert.deepEqual(questions(), ["HEAD 1"]);
  await expectImage(mirror, old.digest, "hit");
  assert.deepEqual(questions(), []);

  const fresh = upstream.addImage("library/test", "1", { seed: "new" });
  await expectImage(mirror, old.digest, "hit");
  clock.pass(10 * minute);
  await expectImage(mirror, fresh.digest, "fwd=stale; fwd-status=200; stored");
  assert.deepEqual(questions(), ["HEAD 1", `GET ${fresh.digest}`]);

  // Back to what is stored already: that is not fetched again.
  upstream.setTag("library/test", "1", old.digest);
  clock.pass(10 * minute);
  await expectImage(mirror, old.digest, "fwd=stale; fwd-status=200; stored");
  assert.deepEqual(questions(), ["HEAD 1"]);
});

test("a clock that went back makes a tag stale, not fresh for ever", async () => {
  const clock = createClock();
  await using upstream = await createUpstream();
  const questions = createQuestions(upstream);
  await using mirror = await startMirror(upstream.host, { now: clock.now });
  const { digest } = upstream.addImage("library/test", "1");
  await expectImage(mirror, digest, "fwd=uri-miss; fwd-status=200; stored");
  clock.pass(-60 * minute);
  await expectImage(mirror, digest, "fwd=stale; fwd-status=200; stored");
  assert.deepEqual(questions(), ["GET 1", "HEAD 1"]);
});

test("an invalidation time of 0 asks every time, with a HEAD", async () => {
  const clock = createClock();
  await using upstream = await createUpstream();
  const questions = createQuestions(upstream);
  await using mirror = await startMirror(upstream.host, { now: clock.now, upstream: { manifestInvalidationMs: 0 } });
  const { digest } = upstream.addImage("library/test", "1");
  await expectImage(mirror, digest, "fwd=uri-miss; fwd-status=200; stored");
  await expectImage(mirror, digest, "fwd=stale; fwd-status=200; stored");
  await expectImage(mirror, digest, "fwd=stale; fwd-status=200", "HEAD");
  assert.deepEqual(questions(), ["GET 1", "HEAD 1", "HEAD 1"]);
});

test("each upstream has its own invalidation time", async () => {
  const clock = createClock();
  await using upstream = await createUpstream();
  await using other = await createUpstream();
  const options: MirrorOptions = {
    now: clock.now,
    others: [{ namespace: "quay.io", host: other.host, manifestInvalidationMs: 1000 }],
  };
  await using mirror = await startMirror(upstream.host, options);
  upstream.addImage("library/test", "1");
  other.addImage("library/test", "1");
  for (const each of [path, `${path}?ns=quay.io`]) assert.equal((await mirror.get(each)).status, 200);
  clock.pass(1000);
  for (const each of [path, `${path}?ns=quay.io`]) assert.equal((await mirror.get(each)).status, 200);
  assert.deepEqual([upstream.requests.length, other.requests.length], [1, 2]);
});

test("a HEAD of a cold tag costs a HEAD; the GET by digest after it one GET", async () => {
  await using upstream = await createUpstream();
  const questions = createQuestions(upstream);
  await using mirror = await startMirror(upstream.host);
  const { digest } = upstream.addImage("library/test", "1");
  await expectImage(mirror, digest, "fwd=uri-miss; fwd-status=200", "HEAD");
  await expectImage(mirror, digest, "hit", "HEAD");
  assert.deepEqual(questions(), ["HEAD 1"]);
  assert.equal((await mirror.get(`/v2/library/test/manifests/${digest}`)).status, 200);
  assert.deepEqual(questions(), [`GET ${digest}`]);
  // What the HEAD has told is good for the tag's GET too.
  await expectImage(mirror, digest, "hit");
  assert.deepEqual(questions(), []);
});

test("the API's root and what has a digest never cost a question again", async () => {
  const clock = createClock();
  await using upstream = await createUpstream();
  await using mirror = await startMirror(upstream.host, { now: clock.now, upstream: { manifestInvalidationMs: 0 } });
  const image = upstream.addImage("library/test", "1", { platforms: 2 });
  const paths = [
    ...[image.digest, ...image.manifests].map((digest) => `/v2/library/test/manifests/${digest}`),
    ...image.blobs.map((digest) => `/v2/library/test/blobs/${digest}`),
  ];
  for (const each of paths) assert.equal((await mirror.get(each)).status, 200);
  await mirror.app.idle();
  const asked = upstream.requests.length;
  assert.equal(asked, paths.length);
  clock.pass(365 * 24 * 60 * minute);
  for (const each of paths) {
    for (const method of ["GET", "HEAD"]) {
      const answer = await mirror.get(each, { method });
      assert.equal(answer.status, 200);
      assert.equal(answer.headers["cache-status"], "entrepot; hit");
    }
  }
  for (const each of ["/v2/", "/v2", "/v2/?ns=quay.io", "/docker.io/v2/"]) {
    assert.equal((await mirror.get(each)).status, 200);
  }
  assert.equal(upstream.requests.length, asked);
});

test("a tag that the upstream no longer has is kept, marked, or follows it", async () => {
  for (const keepDeleted of [true, false]) {
    const clock = createClock();
    await using upstream = await createUpstream();
    await using mirror = await startMirror(upstream.host, { now: clock.now, upstream: { keepDeleted } });
    const { digest } = upstream.addImage("library/test", "1");
    await expectImage(mirror, digest, "fwd=uri-miss; fwd-status=200; stored");
    upstream.removeTag("library/test", "1");
    await expectImage(mirror, digest, "hit");
    clock.pass(10 * minute);
    const { status, headers } = await mirror.get(path);
    assert.equal(status, keepDeleted ? 200 : 404);
    if (keepDeleted) {
      assert.equal(headers["docker-content-digest"], digest);
      assert.equal(headers["cache-status"], "entrepot; fwd=stale; fwd-status=404; detail=deleted");
      assert.match(headers["warning"] ?? "", /^299 - /);
    }
    // The content itself stays, whatever its tag does.
    assert.equal((await mirror.get(`/v2/library/test/manifests/${digest}`)).status, 200);
  }
});

test("what was checked before a restart is as fresh after it", async () => {
  const clock = createClock();
  await using folder = await createTemporaryDirectory();
  await using upstream = await createUpstream();
  const options = { now: clock.now, root: folder.path };
  const { digest } = upstream.addImage("library/test", "1");
  {
    await using earlier = await startMirror(upstream.host, options);
    await expectImage(earlier, digest, "fwd=uri-miss; fwd-status=200; stored");
  }
  assert.deepEqual((await inspectStorage(folder.path)).blobs, [digest]);
  const questions = createQuestions(upstream);
  questions();
  await using mirror = await startMirror(upstream.host, options);
  clock.pass(10 * minute - 1);
  await expectImage(mirror, digest, "hit");
  assert.deepEqual(questions(), []);
  clock.pass(1);
  await expectImage(mirror, digest, "fwd=stale; fwd-status=200; stored");
  assert.deepEqual(questions(), ["HEAD 1"]);
});
