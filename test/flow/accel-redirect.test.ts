/*
 * What an nginx in front is told to send, by what it is told and the files that are there. That it does is seen in
 * test/e2e/nginx.test.ts.
 */
import assert from "node:assert/strict";
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import "../support/network.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { blobKey } from "../../src/store/layout.ts";
import { hostedBlobKey } from "../../src/store/hosted-layout.ts";
import { adminListen, adminOf } from "../support/cache-admin.ts";
import { pseudoRandomBytes } from "../support/content.ts";
import { Pusher, startHosted } from "../support/hosted.ts";
import { type Mirror, startMirror } from "../support/mirror.ts";
import { createUpstream } from "../support/upstream.ts";

const config = { accelRedirect: "/internal/" };
const bytes = pseudoRandomBytes(300_000, "layer");
const digest = digestOf(bytes);

/** Asks for a blob as an nginx does: what it is told to send, or that it has the bytes. */
async function get(mirror: Mirror, path: string): Promise<string> {
  const { status, headers, body } = await mirror.get(path, { headers: { "x-sendfile-type": "X-Accel-Redirect" } });
  assert.equal(status, 200);
  return String(headers["x-accel-redirect"] ?? digestOf(body));
}

test("a blob that is stored, for as long as it is, and only of a repository that has it", async () => {
  await using upstream = await createUpstream();
  upstream.addBlob(bytes, { repository: "library/app" });
  await using mirror = await startMirror(upstream.host, { config: { ...config, adminListen } });
  const path = `/v2/library/app/blobs/${digest}`;
  assert.equal(await get(mirror, path), digest, "a miss");
  await mirror.app.idle();
  const key = blobKey(digest);
  assert.equal(await get(mirror, path), `/internal/${key}`);
  assert.equal(digestOf(await readFile(join(mirror.root, key))), digest);
  const hits = { namespace: "docker.io", kind: "blob", result: "hit" };
  assert.equal(await mirror.metric("entrepot_cache_requests_total", hits), 1);

  const direct = await mirror.get(path);
  assert.equal(digestOf(direct.body), digest, "who does not come through nginx has the bytes");
  const head = await mirror.get(path, { method: "HEAD", headers: { "x-sendfile-type": "X-Accel-Redirect" } });
  assert.equal(head.headers["content-length"], String(bytes.length));
  assert.equal(head.headers["x-accel-redirect"], undefined);
  const other = await mirror.get(`/v2/library/other/blobs/${digest}`, {
    headers: { "x-sendfile-type": "X-Accel-Redirect" },
  });
  assert.equal(other.status, 404, "its upstream says that it does not have it");

  await adminOf(mirror).purge(`docker.io/library/app@${digest}`);
  assert.equal(await get(mirror, path), digest, "it is fetched again");
  await mirror.app.idle();
  await rm(join(mirror.root, key));
  assert.equal(await get(mirror, path), digest, "somebody else has removed the file");
});

test("not where the bytes are checked while they are sent", async () => {
  await using upstream = await createUpstream();
  upstream.addBlob(bytes, { repository: "library/app" });
  await using mirror = await startMirror(upstream.host, { config: { ...config, checkCacheDigest: true } });
  const path = `/v2/library/app/blobs/${digest}`;
  await get(mirror, path);
  await mirror.app.idle();
  assert.equal(await get(mirror, path), digest);
});

test("a blob that was pushed", async () => {
  await using mirror = await startHosted({ config });
  await new Pusher(mirror).blob(bytes);
  const key = hostedBlobKey(digest);
  assert.equal(await get(mirror, `/v2/apps/team/web/blobs/${digest}`), `/internal/${key}`);
  assert.equal(digestOf(await readFile(join(mirror.root, key))), digest);
});
