/* Real processes on one bucket: one of them is killed, frozen or stopped while the others follow it. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import "../support/network.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { createBarrier } from "../support/barrier.ts";
import { pseudoRandomBytes } from "../support/content.ts";
import { FakeS3 } from "../support/fake-s3.ts";
import { open, request } from "../support/http.ts";
import { addPlainImage } from "../support/plain-image.ts";
import { type ReplicaProcess, startReplicaProcess } from "../support/replica-process.ts";
import { createTemporaryDirectory, type TemporaryDirectory } from "../support/temporary.ts";
import { createUpstream, type ScriptedUpstream } from "../support/upstream.ts";

const repository = "library/test";
const mib = 1024 * 1024;

/** An image with one layer of these bytes. */
function addImage(upstream: ScriptedUpstream, tag: string, layer: Buffer): Digest {
  addPlainImage(upstream, tag, layer);
  return digestOf(layer);
}

/** A pull: when its first MiB is here, and all of it. */
function follow(url: string): { readonly begun: Promise<void>; readonly whole: Promise<Buffer> } {
  const { promise: begun, resolve } = Promise.withResolvers<void>();
  const whole = (async () => {
    using response = await open(url);
    assert.equal(response.status, 200);
    const chunks: Buffer[] = [];
    let length = 0;
    for (let chunk = await response.next(); chunk !== undefined; chunk = await response.next()) {
      chunks.push(Buffer.from(chunk));
      length += chunk.length;
      if (length >= mib) resolve();
    }
    return Buffer.concat(chunks);
  })();
  return { begun, whole };
}

describe("three replicas, one of which goes in the middle of a blob", () => {
  let upstream: ScriptedUpstream;
  let s3: FakeS3;
  let folder: TemporaryDirectory;
  let started = 0;

  before(async () => {
    upstream = await createUpstream();
    s3 = await FakeS3.start();
    folder = await createTemporaryDirectory();
  });
  after(async () => {
    await upstream[Symbol.asyncDispose]();
    await s3[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });

  const start = (): Promise<ReplicaProcess> =>
    startReplicaProcess({
      root: `${folder.path}/replica-${started++}`,
      upstream: upstream.host,
      s3,
      config: { shutdown_timeout: "1s" },
    });

  for (const { what, leave, revive } of [
    { what: "is killed", leave: "SIGKILL", revive: undefined },
    { what: "is frozen, and wakes up when others have gone on", leave: "SIGSTOP", revive: "SIGCONT" },
    { what: "is told to stop", leave: "SIGTERM", revive: undefined },
  ] as const) {
    test(`${what}: the others go on where they are, and ask the upstream once`, async () => {
      const layer = pseudoRandomBytes(4 * mib, what);
      const digest = addImage(upstream, leave, layer);
      const path = `/v2/${repository}/blobs/${digest}`;
      await using first = await start();
      await using second = await start();
      await using third = await start();
      for (const { url } of [first, second, third]) await request(`${url}/v2/${repository}/manifests/${leave}`);
      const never = createBarrier();
      upstream.when({ path: digest, method: "GET", times: 1 }, { stallAfterBytes: 2 * mib, stallAt: never });
      using own = await open(`${first.url}${path}`);
      await own.next();
      const onTheirWay = [second, third].map(({ url }) => follow(`${url}${path}`));
      await Promise.all(onTheirWay.map(({ begun }) => begun));
      assert.equal(upstream.count({ path: digest, method: "GET" }), 1);
      first.process.kill(leave);
      for (const { whole } of onTheirWay) assert.ok((await whole).equals(layer));
      assert.ok(upstream.count({ path: digest, method: "GET" }) <= 2);
      if (revive !== undefined) first.process.kill(revive);
      never.release();
      for (const { url } of [second, third]) {
        assert.ok((await request(`${url}${path}`)).body.equals(layer));
      }
    });
  }
});
