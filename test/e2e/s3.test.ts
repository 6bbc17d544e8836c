import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, describe, test } from "node:test";
import type { BucketConfig } from "../../src/config/bucket-schema.ts";
import type { JobState } from "../../src/jobs/job.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { type Key, StoreError } from "../../src/store/object-store.ts";
import type { S3Options } from "../../src/store/s3-options.ts";
import { S3Store } from "../../src/store/s3.ts";
import { BucketBytes } from "../../src/hosted/bucket-bytes.ts";
import { HashPool } from "../../src/store/hashing.ts";
import { hostedPrefix } from "../../src/store/hosted-layout.ts";
import { hostedBytesSuite } from "../contract/hosted-bytes.ts";
import { type Driven, objectStoreSuite } from "../contract/object-store.ts";
import { pseudoRandomBytes } from "../support/content.ts";
import { request } from "../support/http.ts";
import { type Mirror, type MirrorOptions, startMirror } from "../support/mirror.ts";
import { createUpstream } from "../support/upstream.ts";
import { all, chunksOf, readAll, streamOf } from "../support/s3-store.ts";
import { createTemporaryDirectory, type TemporaryDirectory } from "../support/temporary.ts";
import { ServerAge } from "./aged-store.ts";
import { type S3Server, startSeaweedfs } from "./seaweedfs.ts";

const key = "blobs/sha256/00/01" as Key;
const mib = 1024 * 1024;
const day = 24 * 3_600_000;

describe("a bucket of SeaweedFS", () => {
  let folder: TemporaryDirectory;
  let server: S3Server;

  before(async () => {
    folder = await createTemporaryDirectory();
    server = await startSeaweedfs(folder.path);
  });

  after(async () => {
    await server[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });

  /** A store below a prefix of its own. */
  const open = (options: Partial<S3Options> = {}): Promise<S3Store> =>
    S3Store.open({ ...server.options, prefix: randomUUID(), ...options });

  for (const checksums of ["when_required", "when_supported"] as const) {
    objectStoreSuite(`a bucket of SeaweedFS, checksums ${checksums}`, async (): Promise<Driven<S3Store>> => {
      const store = await open({ partSizeBytes: 5 * mib, maxSockets: 8, checksums });
      const check = async (): Promise<void> => assert.deepEqual(await all(store.list("uploads" as Key)), []);
      return { store, check, versionsTellBytes: true };
    });
  }

  hostedBytesSuite("a bucket of SeaweedFS", async () => {
    const store = await open({ partSizeBytes: 5 * mib });
    await store.probe();
    const hashes = new HashPool(1);
    const refuse = async (): Promise<never> => {
      throw new StoreError("the bucket is full", undefined);
    };
    return {
      driver: () => new BucketBytes({ store, hashes }),
      keys: async () => (await all(store.list(hostedPrefix))).map((found) => found.key),
      fill() {
        Object.assign(store, { put: refuse, upload: refuse });
        return { [Symbol.dispose]: () => ["put", "upload"].map((name) => Reflect.deleteProperty(store, name)) };
      },
      async [Symbol.asyncDispose]() {
        await hashes.close();
        await store.close();
      },
    };
  });

  test("can all that is used, as the probe finds, which leaves nothing", async () => {
    await using store = disposable(await open());
    const abilities = await store.probe();
    assert.deepEqual(abilities.lacks, []);
    assert.deepEqual(await all(store.list("probe" as Key)), []);
  });

  test("gives objects to whoever has a presigned URL, also in ranges", async () => {
    await using store = disposable(await open());
    await store.put(key, Buffer.from("the object"));
    const url = await store.presign(key, { expiresInSeconds: 60 });
    assert.equal((await request(url)).body.toString(), "the object");
    const part = await request(url, { headers: { range: "bytes=4-" } });
    assert.deepEqual([part.status, part.body.toString()], [206, "object"]);
    assert.equal((await request(`${url}0`)).status, 403);
  });

  test("lists more than 1,000 keys, each once, in order, behind any", async () => {
    await using store = disposable(await open());
    const keys = Array.from({ length: 1100 }, (_, index) => `tags/${index.toString().padStart(5, "0")}` as Key);
    for (let start = 0; start < keys.length; start += 20) {
      await Promise.all(keys.slice(start, start + 20).map((each) => store.put(each, Buffer.from("x"))));
    }
    const found = (await all(store.list("tags" as Key))).map((info) => info.key);
    assert.deepEqual(found, keys);
    const rest = (await all(store.list("tags" as Key, { after: keys[1049] as Key }))).map((info) => info.key);
    assert.deepEqual(rest, keys.slice(1050));
  });

  test("takes a stream in parts, and what is left open is ended by its record", async () => {
    await using store = disposable(await open());
    const bytes = pseudoRandomBytes(20 * mib, "upload");
    await store.upload(key, streamOf(chunksOf(bytes, 100_000)));
    assert.ok((await readAll(store, key))?.equals(bytes));
    const failure = new Error("the digest is another one");
    await assert.rejects(store.upload(key, streamOf(chunksOf(bytes, 100_000), failure)), failure);
    assert.deepEqual(await all(store.list("uploads" as Key)), []);
    assert.equal(await store.sweepUploads(0), 0);
  });

  test("is kept small by instances that share it: what none has used goes, and the rest is served on", async (context) => {
    await using upstream = await createUpstream();
    const age = new ServerAge();
    const prefix = randomUUID();
    const images = Array.from({ length: 6 }, (_, count) =>
      upstream.addImage("library/test", `${count}`, { layerBytes: 9 * mib }),
    );
    const startOne = async (options: MirrorOptions = {}): Promise<Mirror> => {
      return startMirror(upstream.host, {
        bucketStore: age.watch(await open({ prefix })),
        ...options,
        config: { adminListen: { kind: "tcp", host: "127.0.0.1", port: 0 } },
        // The store is given: of the settings only the limit counts.
        storage: { s3: { maxAgeMs: 30 * day } as BucketConfig, ...options.storage },
      });
    };
    const pull = async (mirror: Mirror, image: number): Promise<void> => {
      const path = "/v2/library/test";
      const manifest = await mirror.get(`${path}/manifests/${image}`);
      assert.equal(manifest.status, 200);
      for (const digest of images[image]?.blobs ?? assert.fail()) {
        assert.equal(digestOf((await mirror.get(`${path}/blobs/${digest}`)).body), digest);
      }
    };
    const retain = async (mirror: Mirror): Promise<JobState> => {
      const url = `${mirror.app.addresses[1]}/_admin/jobs`;
      const headers = { "Content-Type": "application/json" };
      const started = await request(url, { method: "POST", body: '{"kind":"retain"}', headers });
      const { id } = JSON.parse(started.body.toString()) as JobState;
      const { body } = await request(`${url}/${id}/events`);
      return JSON.parse(body.toString().trim().split("\n").at(-1) ?? "") as JobState;
    };
    await using store = disposable(await open({ prefix }));
    const stored = async (): Promise<number> =>
      (await all(store.list("blobs" as Key))).length + (await all(store.list("repositories" as Key))).length;
    {
      await using first = await startOne();
      for (const image of images.keys()) await pull(first, image);
      await first.app.idle();
    }
    const whole = await stored();
    await age.pass(40 * day);
    {
      await using second = await startOne();
      await pull(second, 0);
      await second.app.idle();
    }
    const pinned = `docker.io/library/test@${images[1]?.digest}`;
    await using others = await startOne({ storage: { pins: [pinned] } });
    await pull(others, 0);
    await using remover = await startOne();
    const both = await Promise.all([retain(remover), retain(others)]);
    for (const { state, error } of both) {
      if (state !== "succeeded") assert.match(String(error), /another instance/);
    }
    assert.ok(both.some(({ state }) => state === "succeeded"));
    assert.equal(await stored(), whole, "it was only condemned");
    await age.pass(2 * 3_600_000);
    const { steps, state } = await retain(remover);
    assert.equal(state, "succeeded", steps[0]?.error ?? "");
    context.diagnostic(JSON.stringify({ whole, left: await stored(), ...steps[0]?.counts, ms: steps[0]?.durationMs }));
    // Of each image its tag, and the link and the content of its manifest, its configuration and two layers; a pin of a
    // digest keeps no tag.
    assert.equal(await stored(), 9 + 8);
    await upstream.down();
    await pull(others, 0);
    await using empty = await startOne();
    await pull(empty, 0);
    const byDigest = await empty.get(`/v2/library/test/manifests/${images[1]?.digest}`);
    assert.equal(byDigest.status, 200);
    for (const digest of images[1]?.blobs ?? []) {
      assert.equal((await empty.get(`/v2/library/test/blobs/${digest}`)).status, 200);
    }
    assert.notEqual((await empty.get("/v2/library/test/manifests/2")).status, 200);
  });

  test("says what is wrong", async () => {
    for (const [options, advice] of [
      [{ bucket: "elsewhere" }, /create the bucket/],
      [{ credentials: { accessKeyId: "nobody", secretAccessKey: "x" } }, /correct the access key/],
      [{ credentials: { accessKeyId: "access", secretAccessKey: "wrong" } }, /correct the access key/],
    ] as const) {
      await using store = disposable(await open({ ...options, retries: 0 }));
      await assert.rejects(store.get(key), { name: "StoreError", message: advice });
    }
  });
});

function disposable(store: S3Store): S3Store & AsyncDisposable {
  return Object.assign(store, { [Symbol.asyncDispose]: () => store.close() });
}
