/* Starts that fail: what was opened until then is closed, and the next one finds nothing in its way. */
import assert from "node:assert/strict";
import { test } from "node:test";
import "../support/network.ts";
import { MemoryBucket } from "../support/bucket.ts";
import { startMirror } from "../support/mirror.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";
import { createUpstream } from "../support/upstream.ts";

test("a start that fails leaves neither the bucket's connections nor the folder in use", async () => {
  await using upstream = await createUpstream();
  await using folder = await createTemporaryDirectory();
  const root = `${folder.path}/root`;
  let closed = 0;
  const bucket = new MemoryBucket();
  bucket.close = async () => void closed++;
  {
    await using mirror = await startMirror(upstream.host, { bucketStore: new MemoryBucket(), root });
    await assert.rejects(startMirror(upstream.host, { bucketStore: bucket, root: mirror.root }), /in use/);
    assert.equal(closed, 1, "before the folder is open");
  }
  const replicas = {
    listen: { kind: "tcp", host: "127.0.0.1", port: 0 },
    advertise: undefined,
    secret: undefined,
    secretFile: `${folder.path}/no-secret`,
    previousSecret: undefined,
  } as const;
  await assert.rejects(startMirror(upstream.host, { bucketStore: bucket, root, config: { replicas } }), /no-secret/);
  assert.equal(closed, 2, "and after that");
  await using again = await startMirror(upstream.host, { bucketStore: bucket, root });
  assert.equal((await again.get("/readyz")).status, 200);
});
