import assert from "node:assert/strict";
import { rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { layoutBlobKey } from "../../src/layout/image-layout.ts";
import type { BucketConnection } from "../../src/config/bucket-schema.ts";
import type { LayoutConfig } from "../../src/config/layout-schema.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { parseNamespace } from "../../src/oci/reference.ts";
import type { Key } from "../../src/store/object-store.ts";
import { bucketConfig } from "../support/bucket-config.ts";
import { pseudoRandomBytes } from "../support/content.ts";
import { FakeS3 } from "../support/fake-s3.ts";
import { bytesOf, codeOf, imageOf } from "../support/hosted.ts";
import { mediaTypes } from "../support/image.ts";
import { addToLayout } from "../support/layout-writer.ts";
import { type Mirror, type MirrorOptions, startMirror } from "../support/mirror.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";
import { untriedBucket } from "../support/s3-bucket.ts";

const config = Buffer.from("{}");
const layer = pseudoRandomBytes(100_000, "layer");
const blobs = [config, layer].map((bytes) => ({ digest: digestOf(bytes), bytes }));
const manifest = bytesOf(imageOf(config, [layer]));
const entry = { digest: digestOf(manifest), bytes: manifest, mediaType: mediaTypes.manifest, tag: "1" };

const plain: Omit<LayoutConfig, "source"> = {
  namespace: parseNamespace("images"),
  namePrefix: undefined,
  refreshMs: 1_000,
  redirect: false,
  s3: undefined,
  serverNames: [],
};

function serve(source: LayoutConfig["source"], changes: Partial<LayoutConfig> = {}, more: MirrorOptions = {}) {
  return startMirror("127.0.0.1:9", { ...more, config: { layouts: [{ ...plain, source, ...changes }] } });
}

async function pullAll(mirror: Mirror, name = "images/team/app"): Promise<void> {
  const pulled = await mirror.get(`/v2/${name}/manifests/1`);
  assert.equal(pulled.status, 200);
  assert.deepEqual(pulled.body, manifest);
  assert.equal(pulled.headers["content-type"], mediaTypes.manifest);
  assert.equal(pulled.headers["docker-content-digest"], entry.digest);
  const head = await mirror.get(`/v2/${name}/manifests/${entry.digest}`, { method: "HEAD" });
  assert.deepEqual([head.status, head.headers["content-length"]], [200, String(manifest.length)]);
  for (const { digest, bytes } of blobs) {
    assert.deepEqual((await mirror.get(`/v2/${name}/blobs/${digest}`)).body, bytes);
  }
  const range = { range: "bytes=70000-70009" };
  const part = await mirror.get(`/v2/${name}/blobs/${digestOf(layer)}`, { headers: range });
  assert.equal(part.status, 206);
  assert.deepEqual(part.body, layer.subarray(70_000, 70_010));
  const tags = await mirror.get(`/v2/${name}/tags/list`);
  assert.deepEqual(JSON.parse(tags.body.toString()), { name, tags: ["1"] });
}

test("a layout in a folder is served as a namespace, and is only read", async () => {
  await using folder = await createTemporaryDirectory();
  await addToLayout(join(folder.path, "team/app"), [entry], blobs);
  await using mirror = await serve({ kind: "folder", path: folder.path }, { serverNames: ["images.example.com"] });
  await pullAll(mirror);
  const byHost = await mirror.get("/v2/team/app/manifests/1", { headers: { host: "images.example.com" } });
  assert.equal(byHost.status, 200);
  const missing = await mirror.get("/v2/images/team/none/manifests/1");
  assert.deepEqual([missing.status, codeOf(missing)], [404, "MANIFEST_UNKNOWN"]);
  const pushed = await mirror.get("/v2/images/team/app/blobs/uploads/", { method: "POST" });
  assert.deepEqual([pushed.status, codeOf(pushed)], [405, "UNSUPPORTED"]);
  const referrers = await mirror.get(`/v2/images/team/app/referrers/${entry.digest}`);
  assert.equal(referrers.status, 200);
});

test("names have the prefix that is set; what is broken is told in the log and the metrics", async () => {
  await using folder = await createTemporaryDirectory();
  await addToLayout(join(folder.path, "app"), [entry], blobs);
  await addToLayout(join(folder.path, "Not-A-Name"), [entry], blobs);
  await addToLayout(join(folder.path, "damaged"), [{ ...entry, bytes: Buffer.concat([manifest, config]) }], blobs);
  await using mirror = await serve(
    { kind: "folder", path: folder.path },
    { namePrefix: "team" as LayoutConfig["namePrefix"] },
  );
  await pullAll(mirror);
  assert.equal((await mirror.get("/v2/images/team/damaged/manifests/1")).status, 404);
  assert.equal(await mirror.metric("entrepot_layout_problems", { namespace: "images" }), 1);
  assert.equal(await mirror.metric("entrepot_layout_damaged_total", { namespace: "images" }), 1);
  const { msg } = await mirror.logged({ path: "Not-A-Name" });
  assert.match(String(msg), /images cannot be served: .*no repository's name/);
  await mirror.logged({ path: "damaged", digest: entry.digest });
});

test("a folder that is not there, or is the storage's, is refused at the start, by what it is", async () => {
  await using folder = await createTemporaryDirectory();
  const at = (path: string, root?: string) => serve({ kind: "folder", path }, {}, root === undefined ? {} : { root });
  await assert.rejects(
    at(join(folder.path, "none")),
    /layouts\[0\]\.source: .*none cannot be used: there is no such file/,
  );
  await symlink(folder.path, `${folder.path}-link`);
  try {
    for (const source of [folder.path, `${folder.path}-link`]) {
      await assert.rejects(at(source, join(folder.path, "root")), /it is the storage's folder, or one is in the other/);
    }
  } finally {
    await rm(`${folder.path}-link`);
  }
});

test("a layout in a bucket is served, and clients are sent there where that is set", async () => {
  await using server = await FakeS3.start();
  const { endpoint, region, forcePathStyle, accessKey, secretKey, ...rest } = bucketConfig(server);
  const store = await untriedBucket(server, { prefix: "team/x" });
  for (const { digest, bytes } of [entry, ...blobs]) await store.put(layoutBlobKey("team/app", digest), bytes);
  await store.put("team/app/oci-layout" as Key, Buffer.from('{"imageLayoutVersion":"1.0.0"}'));
  const { digest, mediaType } = entry;
  const annotations = { "org.opencontainers.image.ref.name": "1" };
  const manifests = [{ mediaType, digest, size: manifest.length, annotations }];
  await store.put("team/app/index.json" as Key, Buffer.from(JSON.stringify({ schemaVersion: 2, manifests })));
  await store.close();
  const s3: BucketConnection = { ...rest, endpoint, region, forcePathStyle, accessKey, secretKey };
  const source = { kind: "bucket", bucket: rest.bucket, prefix: "team/x" } as const;
  {
    await using mirror = await serve(source, { s3 });
    await pullAll(mirror);
  }
  await using mirror = await serve(source, { s3, redirect: true });
  const sent = await mirror.get(`/v2/images/team/app/blobs/${digestOf(layer)}`);
  assert.equal(sent.status, 307);
  const { pathname } = new URL(sent.headers.location ?? assert.fail());
  assert.equal(pathname, `/${rest.bucket}/team/x/${layoutBlobKey("team/app", digestOf(layer))}`);
  const missing = await mirror.get(`/v2/images/team/app/blobs/${digestOf(Buffer.from("none"))}`);
  assert.equal(missing.status, 404);
});

test("a bucket that cannot be reached ends nothing: it is asked again", async () => {
  const server = await FakeS3.start();
  const { endpoint, region, forcePathStyle, accessKey, secretKey, ...rest } = bucketConfig(server);
  await server[Symbol.asyncDispose]();
  const s3 = { ...rest, endpoint, region, forcePathStyle, accessKey, secretKey, retries: 0 };
  await using mirror = await serve({ kind: "bucket", bucket: rest.bucket, prefix: undefined }, { s3 });
  assert.equal((await mirror.get("/v2/images/team/app/manifests/1")).status, 503);
  await mirror.logged({ namespace: "images", msg: "images cannot be looked for" });
});
