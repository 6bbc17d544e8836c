import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { type CommandOutcome, runCommand } from "../../support/command-line.ts";
import { digestOf } from "../../../src/oci/digest.ts";
import { pseudoRandomBytes } from "../../support/content.ts";
import { FakeS3 } from "../../support/fake-s3.ts";
import { bytesOf, imageOf } from "../../support/hosted.ts";
import { mediaTypes } from "../../support/image.ts";
import { addToLayout } from "../../support/layout-writer.ts";
import { openLayouts } from "../../support/layout-world.ts";
import { untriedBucket } from "../../support/s3-bucket.ts";
import { parseReference, parseRepository } from "../../../src/oci/reference.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";

const config = Buffer.from("{}");
const [one, other] = ["one", "other"].map((seed) => {
  const layer = pseudoRandomBytes(10_000, seed);
  const bytes = bytesOf(imageOf(config, [layer]));
  const blobs = [config, layer].map((each) => ({ digest: digestOf(each), bytes: each }));
  return { digest: digestOf(bytes), bytes, mediaType: mediaTypes.manifest, blobs };
});
assert.ok(one !== undefined && other !== undefined);

const keys = { S3_ACCESS_KEY: "access", S3_SECRET_KEY: "a secret that is nowhere else" };

function run(...args: string[]): Promise<CommandOutcome> {
  return runCommand(["push", ...args], keys);
}

test("a layout and an archive of one are pushed into a bucket, which serves them then", async () => {
  await using folder = await createTemporaryDirectory();
  await using server = await FakeS3.start();
  const layout = join(folder.path, "layout");
  await addToLayout(layout, [{ ...one, tag: "1" }], one.blobs);
  const to = ["--to", `s3://${server.bucketName}/images`, "--host", server.endpoint];
  const first = await run(layout, "team/app:1", ...to);
  assert.deepEqual([first.exitCode, first.err], [0, ""]);
  assert.match(first.out, new RegExp(`^team/app:1 is ${one.digest}: 3 pieces sent \\(.*\\)\\n$`));
  await addToLayout(join(folder.path, "more"), [{ ...other, tag: "x" }], other.blobs);
  await mkdir(join(folder.path, "archives"));
  const archive = join(folder.path, "archives/other.tar");
  execFileSync("tar", ["-C", folder.path, "-cf", archive, "more"]);
  const second = await run(archive, "team/app", ...to, "--json");
  assert.deepEqual(JSON.parse(second.out), {
    image: "team/app:latest",
    digest: other.digest,
    pieces: 2,
    bytes: 10_000 + other.bytes.length,
    skipped: 1,
  });
  const store = await untriedBucket(server, { prefix: "images" });
  await using world = openLayouts(store);
  const registry = world.layouts.registry();
  for (const [tag, { digest, blobs }] of [["1", one] as const, ["latest", other] as const]) {
    const found = await registry.manifest(parseRepository("team/app"), parseReference(tag));
    assert.equal(found?.value.descriptor.digest, digest);
    for (const blob of blobs)
      assert.ok((await registry.statBlob(parseRepository("team/app"), blob.digest)) !== undefined);
  }
  await store.close();
});

test("of several images one is named, by its tag or its digest", async () => {
  await using folder = await createTemporaryDirectory();
  await using server = await FakeS3.start();
  await addToLayout(
    folder.path,
    [
      { ...one, tag: "1" },
      { ...one, tag: "same" },
      { ...other, tag: "2" },
    ],
    [...one.blobs, ...other.blobs],
  );
  const to = ["--to", `s3://${server.bucketName}`, "--host", server.endpoint];
  const unclear = await run(folder.path, "app:1", ...to);
  assert.equal(unclear.exitCode, 2);
  assert.ok(unclear.err.includes(`has several images: name one by --select\n  ${one.digest} 1\n`));
  for (const select of ["2", other.digest]) {
    const { out } = await run(folder.path, "app:1", ...to, "--select", select);
    assert.ok(out.startsWith(`app:1 is ${other.digest}`), out);
  }
  assert.match((await run(folder.path, "app:1", ...to, "--select", "3")).err, /has no single 3/);
});

test("what is asked for wrongly is told, and no secret with it", async () => {
  await using folder = await createTemporaryDirectory();
  await addToLayout(join(folder.path, "fine"), [{ ...one, tag: "1" }], one.blobs);
  const fine = join(folder.path, "fine");
  const to = ["--to", "s3://images", "--host", "http://127.0.0.1:1"];
  const cases: [args: string[], exitCode: number, err: RegExp][] = [
    [[fine, "app:1"], 2, /--to <bucket>/],
    [[fine, "app:1", "--to", "quay.io"], 2, /--to takes a bucket/],
    [[fine, "App:1", ...to], 2, /App:1: a repository name/],
    [[fine, "app:..", ...to], 2, /a tag is/],
    [[fine, `app@${one.digest}`, ...to], 2, /name a tag/],
    [[fine, "app:1", ...to, "--concurrency", "0"], 2, /--concurrency takes/],
    [[join(folder.path, "none"), "app:1", ...to], 2, /is no OCI image layout/],
    [[join(folder.path, "no/folder"), "app:1", ...to], 2, /no such file/i],
    [[fine, "app:1", ...to], 1, /was not pushed/],
  ];
  for (const [args, expected, message] of cases) {
    const { exitCode, out, err } = await run(...args);
    assert.deepEqual([exitCode, out], [expected, ""], args.join(" "));
    assert.match(err, message);
    assert.ok(!err.includes("a secret"));
  }
});
