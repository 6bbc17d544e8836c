import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { describe, test } from "node:test";
import { openOffline } from "../../../src/app/app.ts";
import { runCommandLine } from "../../../src/cli/program.ts";
import { type Digest, digestOf } from "../../../src/oci/digest.ts";
import type { Person } from "../../../src/cli/terminal.ts";
import { addEarlierImage, earlierBlobKey, type EarlierCache, putEarlierBucket } from "../../support/earlier-cache.ts";
import { FakeS3 } from "../../support/fake-s3.ts";
import { S3Refusal } from "../../support/fake-s3-bucket.ts";
import { buildImage } from "../../support/image.ts";
import { inspectStorage } from "../../support/storage.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";

const image = buildImage();
const nobody: Person = { screen: undefined, ask: undefined, onInterrupt: () => () => undefined };

interface Outcome {
  readonly exitCode: number;
  readonly out: string;
  readonly err: string;
}

interface World extends AsyncDisposable {
  readonly s3: FakeS3;
  readonly root: string;
  /** The flags with which the bucket can be read. */
  readonly access: readonly string[];
  /** Runs `adopt` for a URL, with a file as `--config` where one is given. */
  run(
    args: readonly string[],
    options?: {
      readonly env?: Readonly<Record<string, string>>;
      readonly file?: string;
      readonly person?: Partial<Person>;
    },
  ): Promise<Outcome>;
}

/** A bucket of the earlier system with an image, and an empty place for a storage. */
async function openWorld(): Promise<World> {
  const folder = await createTemporaryDirectory();
  const root = `${folder.path}/root`;
  const s3 = await FakeS3.start();
  const cache: EarlierCache = new Map();
  addEarlierImage(cache, image, "docker.io/library/a", "1", Date.now() - 60_000);
  putEarlierBucket(s3, cache);
  const { accessKeyId = "", secretAccessKey = "" } = s3.keys[0] ?? {};
  return {
    s3,
    root,
    access: ["--host", s3.endpoint, "--access-key", accessKeyId, "--secret-key", secretAccessKey],
    async run(args, { env = {}, file, person } = {}) {
      let out = "";
      let err = "";
      const terminal = {
        env,
        readFile: (): Buffer => Buffer.from(file ?? assert.fail("no file is read")),
        out: (text: string) => void (out += text),
        err: (text: string) => void (err += text),
      };
      const actions = {
        serve: () => assert.fail("nothing is served here"),
        stopSignal: () => assert.fail("nothing stays here"),
        openStore: (config: Parameters<typeof openOffline>[0], version: string) => openOffline(config, { version }),
      };
      const config = file === undefined ? [] : ["--config", "entrepot.yaml"];
      const line = ["adopt", ...args, "--root", root, "--log-level", "silent", ...config];
      const exitCode = await runCommandLine(line, terminal, "1.2.3", actions, { ...nobody, ...person });
      return { exitCode, out, err };
    },
    async [Symbol.asyncDispose]() {
      await s3[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** A file of a mirror with this bucket behind its folder. */
function fileFor({ endpoint, bucketName, keys: [keys] }: FakeS3, storage: object = {}): string {
  const s3 = {
    bucket: bucketName,
    endpoint,
    prefix: "entrepot",
    access_key: keys?.accessKeyId,
    secret_key: keys?.secretAccessKey,
    ...(keys?.sessionToken !== undefined && { session_token: keys.sessionToken }),
  };
  return JSON.stringify({ storage: { type: "s3", s3, ...storage } });
}

function operations({ asked }: FakeS3): string[] {
  return [...new Set(asked.map(({ operation }) => operation))].toSorted();
}

const expected = [image.root.digest, ...image.blobs.keys()].toSorted();
const reading = ["GetObject", "ListObjectsV2"];

describe("how a bucket is reached", () => {
  test("by flags", async () => {
    await using world = await openWorld();
    const { exitCode, out, err } = await world.run(["s3://cache", "--yes", ...world.access]);
    assert.deepEqual([exitCode, err], [0, ""], out);
    assert.match(out, /^tags +1 +0 +0$/m);
    assert.match(out, /^blobs +3 +0 +0$/m);
    assert.deepEqual((await inspectStorage(world.root)).blobs, expected);
    assert.deepEqual(operations(world.s3), reading);
  });

  test("by the variables of the earlier system, or of others", async () => {
    await using world = await openWorld();
    const { accessKeyId = "", secretAccessKey = "" } = world.s3.keys[0] ?? {};
    const { endpoint } = world.s3;
    for (const env of [
      { S3_HOST: endpoint, S3_ACCESS_KEY: accessKeyId, S3_SECRET_KEY: secretAccessKey, S3_BUCKET: "ignored" },
      {
        S3_ENDPOINT: endpoint.replace("http://", ""),
        S3_ACCESS_KEY_ID: accessKeyId,
        S3_SECRET_ACCESS_KEY: secretAccessKey,
        S3_PREFIX: "ignored",
        S3_PATH_STYLE: "true",
      },
    ]) {
      const { exitCode, out, err } = await world.run(["s3://cache/", "--dry-run"], { env });
      assert.deepEqual([exitCode, err], [0, ""], out);
      assert.match(out, /^blobs +3 +0 +0$/m);
    }
    assert.deepEqual(operations(world.s3), reading);
    assert.deepEqual((await inspectStorage(world.root)).blobs, []);
  });

  test("as the storage's own one, into another prefix of it, where the copies are", async () => {
    await using world = await openWorld();
    const { exitCode, out, err } = await world.run(["s3://cache", "--yes"], { file: fileFor(world.s3) });
    assert.deepEqual([exitCode, err], [0, ""], out);
    assert.deepEqual((await inspectStorage(world.root)).blobs, expected);
    const { objects } = world.s3.bucket;
    const copied = [...objects.keys()].filter((key) => key.startsWith("entrepot/blobs/"));
    assert.equal(copied.length, expected.length);
    assert.ok(objects.has("entrepot/repositories/docker.io/library/a/_tags/1"));
    assert.ok(objects.has("manifests/docker.io/library/a/1"));
  });

  test("by flags alone, where they name another server than the storage's", async () => {
    await using world = await openWorld();
    await using other = await FakeS3.start();
    other.keys = [{ accessKeyId: "another", secretAccessKey: "another secret", sessionToken: "token" }];
    const { exitCode, out, err } = await world.run(["s3://cache", "--yes", ...world.access], { file: fileFor(other) });
    assert.deepEqual([exitCode, err], [0, ""], out);
    assert.deepEqual(operations(world.s3), reading);
    assert.ok(other.bucket.objects.has("entrepot/repositories/docker.io/library/a/_tags/1"));
    const wrong = await world.run(["s3://cache", "--yes", ...world.access.slice(0, -1), "wrong"], {
      file: fileFor(other),
    });
    assert.equal(wrong.exitCode, 1);
    assert.match(
      wrong.err,
      /^entrepot: s3:\/\/cache cannot be adopted: could not list manifests, .*SignatureDoesNotMatch/,
    );
  });

  test("below a prefix", async () => {
    await using world = await openWorld();
    const moved: EarlierCache = new Map();
    addEarlierImage(moved, buildImage({ seed: "moved" }), "docker.io/library/moved", "1", Date.now() - 60_000);
    putEarlierBucket(world.s3, moved, "old/cache");
    const { exitCode, out } = await world.run(["S3://cache/old/cache/", "--yes", ...world.access]);
    assert.equal(exitCode, 0, out);
    assert.ok((await inspectStorage(world.root)).blobs.includes(buildImage({ seed: "moved" }).root.digest));
  });
});

describe("what the folder does not take", () => {
  interface LargeWorld extends World {
    readonly layers: readonly Digest[];
    /** The keys of the one that is damaged, and of that which is not. */
    readonly changed: string;
    readonly right: string;
  }

  /** Besides a small image, one with two layers of this size, of which the first is damaged. */
  async function openLarge(layerBytes: number): Promise<LargeWorld> {
    const world = await openWorld();
    const large = buildImage({ layers: 2, layerBytes, seed: "large" });
    const layers = large.platforms.flatMap((platform) => platform.layers);
    const [changed = "", right = ""] = layers.map(earlierBlobKey);
    const cache: EarlierCache = new Map();
    addEarlierImage(cache, large, "docker.io/library/large", "1", Date.now() - 60_000);
    const { bytes, writtenAt } = cache.get(changed) ?? assert.fail("it has no layer");
    cache.set(changed, { bytes: Buffer.alloc(bytes.length), writtenAt });
    putEarlierBucket(world.s3, cache);
    return Object.assign(world, { layers, changed, right });
  }

  const cases = [
    ["being larger than max_object_size", { max_object_size: "50KiB" }, 60_000],
    ["for want of room", { max_size: "2MiB" }, 3 * 1024 * 1024],
  ] as const;
  for (const [reason, storage, layerBytes] of cases) {
    test(`${reason}, goes to the bucket behind it alone, with its digest checked, once`, async () => {
      await using world = await openLarge(layerBytes);
      const { s3, layers, changed, right } = world;
      const options = { file: fileFor(s3, storage) };
      const plan = await world.run(["s3://cache", "--dry-run"], options);
      assert.match(plan.out, /^blobs +6 +0 +0$/m);
      assert.deepEqual(operations(s3), ["GetObject", "HeadObject", "ListObjectsV2"]);
      const { exitCode, out, err } = await world.run(["s3://cache", "--yes"], options);
      assert.deepEqual([exitCode, err], [0, ""], out);
      assert.match(out, /^blobs +5 +0 +1 +1 wrong digest$/m);
      const copy = s3.bucket.objects.get(`entrepot/${right}`);
      assert.equal(copy && earlierBlobKey(digestOf(copy.bytes)), right);
      assert.ok(!s3.bucket.objects.has(`entrepot/${changed}`));
      assert.equal(s3.bucket.uploads.size, 0);
      const { blobs, temporary } = await inspectStorage(world.root);
      assert.ok(!blobs.some((digest) => layers.includes(digest)));
      assert.deepEqual(temporary, []);
      const again = await world.run(["s3://cache", "--yes"], options);
      assert.match(again.out, /^blobs +0 +5 +1 +1 wrong digest$/m);
    });
  }

  test("is left where there is no bucket", async () => {
    await using world = await openLarge(60_000);
    const { exitCode, out } = await world.run(["s3://cache", "--yes", "--max-object-size", "50KiB", ...world.access]);
    assert.equal(exitCode, 0);
    assert.match(out, /^blobs +4 +0 +2 +2 too large$/m);
  });

  test("ends the run where the bucket does not take it", async () => {
    await using world = await openLarge(60_000);
    const refused = { refuse: new S3Refusal(403, "AccessDenied") };
    world.s3.fail("PutObject", ...Array.from({ length: 100 }, () => refused));
    const options = { file: fileFor(world.s3, { max_object_size: "50KiB" }) };
    const { exitCode, out } = await world.run(["s3://cache", "--yes"], options);
    assert.equal(exitCode, 1);
    assert.match(out, /^adopt failed after .*could not write blobs\/.*AccessDenied/m);
  });
});

describe("what is refused", () => {
  test("the prefix that the storage keeps its own in; nothing is made", async () => {
    await using world = await openWorld();
    const { exitCode, out, err } = await world.run(["s3://cache/entrepot", "--yes"], { file: fileFor(world.s3) });
    assert.deepEqual([exitCode, out], [2, ""]);
    assert.match(err, /^entrepot: s3:\/\/cache\/entrepot at http.* cannot be adopted: the storage keeps its own in /);
    assert.deepEqual(world.s3.asked, []);
    await assert.rejects(readdir(world.root), { code: "ENOENT" });
  });

  test("a bucket without anything of the earlier system, and one that is not there", async () => {
    await using world = await openWorld();
    const none = await world.run(["s3://cache/none", "--yes", ...world.access]);
    assert.equal(none.exitCode, 2);
    assert.match(none.err, /cannot be adopted: .* keys that begin with manifests\/, and there are none$/m);
    const absent = await world.run(["s3://absent", "--yes", ...world.access]);
    assert.equal(absent.exitCode, 1);
    assert.match(absent.err, /s3:\/\/absent cannot be adopted: .*NoSuchBucket.*create the bucket, or correct its name/);
    await assert.rejects(readdir(world.root), { code: "ENOENT" });
  });

  test("a URL that names none, by its own name", async () => {
    await using world = await openWorld();
    for (const url of ["s3://", "s3://Not_a_bucket", "s3://cache/a b"]) {
      const { exitCode, err } = await world.run([url, "--yes", ...world.access]);
      assert.equal(exitCode, 2, url);
      assert.ok(err.startsWith(`entrepot: ${url}: `), err);
    }
    await assert.rejects(readdir(world.root), { code: "ENOENT" });
  });
});

describe("a bucket that fails", () => {
  test("in the middle ends the run with exit code 1 and its reason; the next one does the rest", async () => {
    await using world = await openWorld();
    const nothing = { before: () => undefined };
    let down = Promise.resolve();
    world.s3.fail("GetObject", nothing, nothing, nothing, { before: () => void (down = world.s3.down()) });
    const { exitCode, out } = await world.run(["s3://cache", "--yes", ...world.access]);
    assert.equal(exitCode, 1);
    assert.match(
      out,
      /^adopt failed after .*: the bucket cannot be read any more; another run goes on where this one /m,
    );
    assert.match(out, /bucket cache at http.*ECONN/);
    await down;
    await world.s3.up();
    assert.deepEqual((await inspectStorage(world.root)).temporary, []);
    const again = await world.run(["s3://cache", "--yes", ...world.access]);
    assert.equal(again.exitCode, 0, again.out);
    assert.match(again.out, /^tags +0 +1 +0$/m);
    assert.deepEqual((await inspectStorage(world.root)).blobs, expected);
  });

  test("while the plan is made is not adopted, and nobody is asked", async () => {
    await using world = await openWorld();
    let down = Promise.resolve();
    world.s3.fail("ListObjectsV2", { before: () => undefined }, { before: () => void (down = world.s3.down()) });
    const { exitCode, out } = await world.run(["s3://cache", ...world.access], {
      person: { ask: () => assert.fail("asked") },
    });
    assert.equal(exitCode, 1);
    assert.match(out, /^adopt \(nothing was changed\) failed after /m);
    await down;
  });

  test("for one object leaves that, and says why", async () => {
    await using world = await openWorld();
    const refused = { refuse: new S3Refusal(403, "AccessDenied") };
    world.s3.fail("GetObject", { before: () => undefined }, refused);
    const { exitCode, out, err } = await world.run(["s3://cache", "--yes", ...world.access]);
    assert.equal(exitCode, 1);
    assert.match(out, / 1 unreadable$/m);
    assert.match(err, /^entrepot: not all could be read: could not read manifests\/.*AccessDenied.*$/m);
  });
});
