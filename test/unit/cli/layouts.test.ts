import assert from "node:assert/strict";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { type CommandOutcome, runCommand } from "../../support/command-line.ts";
import { layoutBlobKey } from "../../../src/layout/image-layout.ts";
import { digestOf } from "../../../src/oci/digest.ts";
import { pseudoRandomBytes } from "../../support/content.ts";
import { bytesOf, imageOf } from "../../support/hosted.ts";
import { mediaTypes } from "../../support/image.ts";
import { addToLayout } from "../../support/layout-writer.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";

const layer = pseudoRandomBytes(10_000, "layer");
const config = Buffer.from("{}");
const manifest = bytesOf(imageOf(config, [layer]));
const blobs = [config, layer].map((bytes) => ({ digest: digestOf(bytes), bytes }));
const image = { digest: digestOf(manifest), bytes: manifest, mediaType: mediaTypes.manifest };
const platform = { os: "linux", architecture: "arm64" };
const index = Buffer.from(
  JSON.stringify({
    schemaVersion: 2,
    mediaType: mediaTypes.index,
    manifests: [
      { mediaType: mediaTypes.manifest, digest: image.digest, size: manifest.length, platform },
      {
        mediaType: mediaTypes.manifest,
        digest: image.digest,
        size: manifest.length,
        platform: { os: "unknown", architecture: "unknown" },
      },
    ],
  }),
);
const indexed = { digest: digestOf(index), bytes: index, mediaType: mediaTypes.index };

function run(...args: string[]): Promise<CommandOutcome> {
  return runCommand(["layouts", ...args]);
}

test("the images of a folder are listed, with what an index is for", async () => {
  await using folder = await createTemporaryDirectory();
  await addToLayout(join(folder.path, "team/app"), [{ ...image, tag: "1" }, { ...indexed, tag: "all" }, image], blobs);
  const { exitCode, out, err } = await run("check", folder.path);
  assert.deepEqual([exitCode, err], [0, ""]);
  assert.match(out, /^team\/app:1 +sha256:\w{12} +layout +team\/app$/m);
  assert.match(out, /^team\/app:all +sha256:\w{12} +layout +team\/app +linux\/arm64$/m);
  assert.match(out, /^team\/app@sha256:\w{12} /m);
  assert.match(out, /: 3 images, 0 problems\n$/);
  const listed = JSON.parse((await run("check", "--json", folder.path)).out) as { images: unknown[] }[];
  assert.deepEqual(listed[0]?.images[0], {
    repository: "team/app",
    tag: "1",
    digest: image.digest,
    kind: "layout",
    path: "team/app",
    platforms: [],
  });
});

test("what is missing, damaged or broken is told, and the exit code is 1; damage within blobs is found by --deep", async () => {
  await using folder = await createTemporaryDirectory();
  const place = join(folder.path, "app");
  await addToLayout(place, [{ ...image, tag: "1" }], blobs);
  const wrong = Buffer.from(layer);
  wrong[0] = (wrong[0] ?? 0) ^ 1;
  await writeFile(join(place, layoutBlobKey("", digestOf(layer))), wrong);
  assert.equal((await run("check", folder.path)).exitCode, 0, "its size is right");
  const deep = await run("check", "--deep", folder.path);
  assert.equal(deep.exitCode, 1);
  assert.ok(deep.out.includes(`app: ${digestOf(layer)}: it does not have its digest\n`));
  await writeFile(join(place, layoutBlobKey("", digestOf(layer))), "short");
  await rm(join(place, layoutBlobKey("", digestOf(config))));
  await writeFile(join(folder.path, "index.json"), "{");
  const { exitCode, out } = await run("check", folder.path);
  assert.equal(exitCode, 1);
  assert.ok(out.includes(`app: ${digestOf(layer)}: it has 5 bytes, not 10000\n`));
  assert.ok(out.includes(`app: ${digestOf(config)}: it is missing\n`));
  assert.match(out, /^\.: it is not JSON in UTF-8$/m);
  assert.match(out, /: 1 image, 3 problems\n$/);
});

test("a source that is not there, and none at all, are asked for wrongly", async () => {
  await using folder = await createTemporaryDirectory();
  const cases: [args: string[], err: RegExp][] = [
    [["check", join(folder.path, "none")], /source: .*none cannot be used: there is no such file/],
    [["check", "https://example.com/a"], /expected a folder's path, or s3:/],
    [["check"], /no layouts are configured: name a folder/],
    [[], /name what to do: layouts check/],
  ];
  for (const [args, expected] of cases) {
    const { exitCode, out, err } = await run(...args);
    assert.deepEqual([exitCode, out], [2, ""], args.join(" "));
    assert.match(err, expected);
  }
});
