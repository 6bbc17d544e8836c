/* Real processes on one bucket: one of them is killed, frozen or stopped while the others follow it. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import "../support/network.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { createBarrier } from "../support/barrier.ts";
import { pseudoRandomBytes } from "../support/content.ts";
import { FakeS3 } from "../support/fake-s3.ts";
import { open, request } from "../support/http.ts";
import { mediaTypes } from "../support/image.ts";
import { type MirrorProcess, startProcess } from "../support/process.ts";
import { createTemporaryDirectory, type TemporaryDirectory } from "../support/temporary.ts";
import { createUpstream, type ScriptedUpstream } from "../support/upstream.ts";

const repository = "library/test";
const mib = 1024 * 1024;

/** An image with one layer of these bytes. */
function addImage(upstream: ScriptedUpstream, tag: string, layer: Buffer): Digest {
  const [config, large] = [Buffer.from(`{"tag":"${tag}"}`), layer].map((bytes) => ({
    digest: upstream.addBlob(bytes, { repository }),
    size: bytes.length,
  }));
  upstream.addManifest(repository, tag, {
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    config: { mediaType: mediaTypes.config, ...config },
    layers: [{ mediaType: mediaTypes.layer, ...large }],
  });
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

interface Replica {
  readonly process: MirrorProcess;
  readonly url: string;
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

  async function start(): Promise<Replica> {
    const root = `${folder.path}/replica-${started++}`;
    const [keys] = s3.keys;
    const process = await startProcess({
      root,
      upstream: upstream.host,
      config: {
        storage: {
          type: "s3",
          root,
          s3: {
            bucket: s3.bucketName,
            endpoint: s3.endpoint,
            access_key: keys?.accessKeyId,
            secret_key: keys?.secretAccessKey,
          },
        },
        shutdown_timeout: "1s",
        replicas: { listen: "127.0.0.1:0", advertise: undefined, secret: "an-example-of-a-secret-that-replicas-share" },
      },
    });
    return { process, url: await process.listening };
  }

  for (const { what, leave, revive } of [
    { what: "is killed", leave: "SIGKILL", revive: undefined },
    { what: "is frozen, and wakes up when others have gone on", leave: "SIGSTOP", revive: "SIGCONT" },
    { what: "is told to stop", leave: "SIGTERM", revive: undefined },
  ] as const) {
    test(`${what}: the others go on where they are, and ask the upstream once`, async () => {
      const layer = pseudoRandomBytes(4 * mib, what);
      const digest = addImage(upstream, leave, layer);
      const path = `/v2/${repository}/blobs/${digest}`;
      const first = await start();
      await using _first = first.process;
      const second = await start();
      await using _second = second.process;
      const third = await start();
      await using _third = third.process;
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
