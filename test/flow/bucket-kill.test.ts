/* A process with a bucket behind its folder is killed wherever it has left something half done there. */
import assert from "node:assert/strict";
import { test } from "node:test";
import "../support/network.ts";
import { createHasher, type Digest } from "../../src/oci/digest.ts";
import { pseudoRandomBytes } from "../support/content.ts";
import { until } from "../support/event-loop.ts";
import { FakeS3, type S3Fault } from "../support/fake-s3.ts";
import type { S3Operation } from "../support/fake-s3-protocol.ts";
import { open } from "../support/http.ts";
import { type MirrorProcess, startProcess } from "../support/process.ts";
import { inspectBucket } from "../support/s3-bucket.ts";
import { inspectStorage } from "../support/storage.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";
import { addPlainImage } from "../support/plain-image.ts";
import { createUpstream, type ScriptedUpstream } from "../support/upstream.ts";

const mib = 1024 * 1024;
const dayMs = 24 * 3_600_000;

/** Where it is killed: when this request comes, of which nothing is done. */
const moments: [name: string, operation: S3Operation, key: RegExp][] = [
  ["while it tries what the bucket can do", "UploadPart", /\/probe\//],
  ["when the parts of a blob are to be put together", "CompleteMultipartUpload", /\/blobs\//],
  ["when a blob has been put together", "DeleteObject", /\/uploads\//],
  ["when a tag is to be written", "PutObject", /\/_tags\//],
];

interface Item {
  readonly path: string;
  readonly digest: Digest;
}

/** An image whose layer goes to the bucket in parts. */
function addImage(upstream: ScriptedUpstream, tag: string): Item[] {
  const { digest, blobs } = addPlainImage(upstream, tag, pseudoRandomBytes(9 * mib, tag));
  return [
    { path: `manifests/${tag}`, digest },
    ...blobs.map(({ digest: blob }) => ({ path: `blobs/${blob}`, digest: blob })),
  ];
}

/** Pulls an item; a complete answer must be the right one, and where it is killed there may be none. */
async function pull(url: string, { path, digest }: Item): Promise<boolean> {
  const hasher = createHasher("sha256");
  let status: number;
  try {
    using response = await open(`${url}/v2/library/test/${path}`);
    ({ status } = response);
    for (let chunk = await response.next(); chunk !== undefined; chunk = await response.next()) hasher.update(chunk);
  } catch {
    return false;
  }
  assert.equal(status, 200, path);
  assert.equal(`sha256:${hasher.digest("hex")}`, digest, path);
  return true;
}

test("killed wherever something is half done in the bucket, nothing is lost, and nothing is left over a day later", async () => {
  await using folder = await createTemporaryDirectory();
  await using upstream = await createUpstream();
  await using server = await FakeS3.start();
  const [keys] = server.keys;
  const root = `${folder.path}/root`;
  const start = async (where: string, host: string): Promise<MirrorProcess> =>
    startProcess({
      root: where,
      upstream: host,
      config: {
        storage: {
          type: "s3",
          root: where,
          s3: {
            bucket: server.bucketName,
            endpoint: server.endpoint,
            prefix: "some/prefix",
            access_key: keys?.accessKeyId,
            secret_key: keys?.secretAccessKey,
            part_size: "5MiB",
          },
        },
      },
    });
  const items: Item[] = [];
  for (const [name, operation, key] of moments) {
    const image = addImage(upstream, `r${items.length}`);
    items.push(...image);
    await using mirror = await start(root, upstream.host);
    const kill: S3Fault = { before: () => mirror.kill("SIGKILL"), wait: new Promise(() => undefined) };
    const isProbing = key.source.includes("probe");
    if (!isProbing) await mirror.logged("the bucket can be used");
    server.trouble = (asked, _, named) => (asked === operation && key.test(named) ? kill : undefined);
    const url = isProbing ? undefined : await mirror.listening;
    for (const item of url === undefined ? [] : image) await pull(url ?? "", item);
    const { signal } = await mirror.ended;
    server.trouble = undefined;
    assert.equal(signal, "SIGKILL", name);
  }
  assert.ok(server.bucket.uploads.size > 1, "uploads were left open");
  server.clockOffsetMs = dayMs + 3_600_000;
  {
    await using mirror = await start(root, upstream.host);
    const url = await mirror.listening;
    await mirror.logged("uploads to the bucket were ended that had been left open");
    for (const item of items) assert.ok(await pull(url, item));
    const { objects, uploads } = server.bucket;
    const count = (what: string): number => [...objects.keys()].filter((name) => name.includes(what)).length;
    await until(() => count("/_tags/") === moments.length && count("/blobs/") === items.length);
    await until(() => uploads.size === 0 && count("/uploads/") === 0 && count("/probe/") === 0);
    mirror.kill("SIGTERM");
    await mirror.ended;
  }
  const { blobs } = inspectBucket(server);
  assert.deepEqual(blobs, [...new Set(items.map(({ digest }) => digest))].toSorted());
  assert.deepEqual((await inspectStorage(root)).blobs, blobs);
  await upstream.down();
  await using other = await start(`${folder.path}/other`, "127.0.0.1:1");
  const url = await other.listening;
  for (const item of items) assert.ok(await pull(url, item));
});
