import assert from "node:assert/strict";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { type CommandOutcome, runCommand } from "../../support/command-line.ts";
import { layoutBlobKey } from "../../../src/layout/image-layout.ts";
import { digestOf, hexOf } from "../../../src/oci/digest.ts";
import { pseudoRandomBytes } from "../../support/content.ts";
import { bytesOf, imageOf } from "../../support/hosted.ts";
import { mediaTypes } from "../../support/image.ts";
import { addToLayout } from "../../support/layout-writer.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";

const config = Buffer.from("{}");

function imageWith(seed: string, more: object = {}) {
  const layer = pseudoRandomBytes(1_000, seed);
  const bytes = bytesOf({ ...imageOf(config, [layer]), ...more });
  const blobs = [config, layer].map((each) => ({ digest: digestOf(each), bytes: each }));
  return { digest: digestOf(bytes), bytes, mediaType: mediaTypes.manifest, blobs, layer: digestOf(layer) };
}

const one = imageWith("one");
const other = imageWith("other");

function run(...args: string[]): Promise<CommandOutcome> {
  return runCommand(["nginx", ...args]);
}

/** The locations of a configuration, each with its directives. */
function locationsOf(text: string): ReadonlyMap<string, string> {
  return new Map(
    [...text.matchAll(/location = "([^"]*)" \{\n([^}]*)\}/g)].map(([, path = "", lines = ""]) => [path, lines]),
  );
}

test("each manifest and blob has its file, its digest and its type; the same folder gives the same text", async () => {
  await using folder = await createTemporaryDirectory();
  await addToLayout(
    join(folder.path, "app"),
    [
      { ...one, tag: "1" },
      { ...other, tag: "2" },
    ],
    [...one.blobs, ...other.blobs],
  );
  const { exitCode, out, err } = await run(folder.path, "--name-prefix", "/team/", "--server-root", "$images");
  assert.deepEqual([exitCode, err], [0, ""]);
  const locations = locationsOf(out);
  for (const reference of ["1", one.digest]) {
    const lines = locations.get(`/v2/team/app/manifests/${reference}`) ?? assert.fail(reference);
    assert.ok(lines.includes(`alias "$images/app/${layoutBlobKey("", one.digest)}";`));
    assert.ok(lines.includes(`set $entrepot_digest "${one.digest}";`));
    assert.ok(lines.includes(`default_type "${mediaTypes.manifest}";`));
  }
  for (const { digest } of one.blobs) assert.ok(locations.has(`/v2/team/app/blobs/${digest}`));
  assert.equal((await run(folder.path, "--name-prefix", "team", "--server-root", "$images/")).out, out);
  const constants = await run(folder.path, "--only-constants");
  const rest = await run(folder.path, "--omit-constants", "--server-root", "$images", "--name-prefix", "team");
  assert.equal(out, constants.out + rest.out.replace(/^#.*\n/, ""));
});

test("what refers to a manifest is listed", async () => {
  await using folder = await createTemporaryDirectory();
  const subject = { mediaType: one.mediaType, digest: one.digest, size: one.bytes.length };
  const signature = imageWith("signature", { subject, artifactType: "test/signature" });
  await addToLayout(join(folder.path, "app"), [{ ...one, tag: "1" }, signature], [...one.blobs, ...signature.blobs]);
  const { out } = await run(folder.path);
  const lines = locationsOf(out).get(`/v2/app/referrers/${one.digest}`);
  assert.ok(out.includes(`location = "/v2/app/referrers/${one.digest}"`));
  assert.ok(lines === undefined || lines.includes("test/signature"));
  assert.ok(out.includes(`\\"digest\\":\\"${signature.digest}\\"`) && out.includes("test/signature"));
});

test("what nginx cannot serve is left out and named, the rest is there, and the exit code is 1", async () => {
  await using folder = await createTemporaryDirectory();
  await addToLayout(join(folder.path, "fine"), [{ ...one, tag: "1" }], one.blobs);
  await addToLayout(
    join(folder.path, "lacks"),
    [
      { ...one, tag: "1" },
      { ...other, tag: "2" },
    ],
    one.blobs,
  );
  await addToLayout(join(folder.path, "costs $5"), [{ ...one, tag: "x/y:1" }], one.blobs);
  await addToLayout(join(folder.path, "Upper"), [{ ...one, tag: "1" }], one.blobs);
  await writeFile(join(folder.path, "some.tar"), "no archive");
  const damaged = join(folder.path, "damaged");
  await addToLayout(damaged, [{ ...one, tag: "1" }], one.blobs);
  const { bytes } = one.blobs.find(({ digest }) => digest === one.layer) ?? assert.fail();
  await writeFile(join(damaged, layoutBlobKey("", one.layer)), Buffer.alloc(bytes.length));
  const { exitCode, out, err } = await run(folder.path, "--verify");
  assert.equal(exitCode, 1);
  const left = err.trim().split("\n").toSorted();
  assert.deepEqual(
    left.map((line) => line.replace(/^entrepot: left out: /, "").replace(/:.*/, "")),
    ["Upper", "costs $5", "damaged", "lacks", "some.tar"],
  );
  const locations = locationsOf(out);
  assert.ok(locations.has("/v2/fine/manifests/1") && locations.has("/v2/lacks/manifests/1"));
  assert.ok(!locations.has("/v2/lacks/manifests/2") && !out.includes("/v2/damaged/manifests"));
  assert.ok((await run(folder.path)).out.includes("/v2/damaged/manifests/1"), "without --verify blobs are not read");
});

test("trees of skopeo with several platforms are served; an index without some of them, too", async () => {
  await using folder = await createTemporaryDirectory();
  const tree = join(folder.path, "app/1");
  await mkdir(tree, { recursive: true });
  const manifests = [one, other].map(({ digest, bytes, mediaType }) => ({ mediaType, digest, size: bytes.length }));
  const index = bytesOf({ schemaVersion: 2, mediaType: mediaTypes.index, manifests });
  await writeFile(join(tree, "manifest.json"), index);
  await writeFile(join(tree, `${hexOf(one.digest)}.manifest.json`), one.bytes);
  for (const { digest, bytes } of one.blobs) await writeFile(join(tree, hexOf(digest)), bytes);
  const { exitCode, out, err } = await run(folder.path);
  assert.deepEqual([exitCode, err], [0, ""]);
  const locations = locationsOf(out);
  assert.ok(locations.get(`/v2/app/manifests/${one.digest}`)?.includes(`${hexOf(one.digest)}.manifest.json";`));
  assert.ok(locations.get("/v2/app/manifests/1")?.includes(`default_type "${mediaTypes.index}";`));
  assert.ok(!locations.has(`/v2/app/manifests/${other.digest}`));
});

test("the file is written whole or not at all; what is asked for wrongly is one line and exit code 2", async () => {
  await using folder = await createTemporaryDirectory();
  await addToLayout(join(folder.path, "app"), [{ ...one, tag: "1" }], one.blobs);
  const file = join(folder.path, "nginx.conf");
  assert.deepEqual(await run(folder.path, "--server-listen", "[::]:80", "--out", file), {
    exitCode: 0,
    out: "",
    err: "",
  });
  assert.match(await readFile(file, "utf8"), /^server \{\n {2}listen \[::\]:80;\n/);
  const nowhere = await run(folder.path, "--out", join(folder.path, "none/nginx.conf"));
  assert.equal(nowhere.exitCode, 1);
  await rm(folder.path, { recursive: true });
  const cases: [args: string[], exitCode: number, err: RegExp][] = [
    [[folder.path], 1, /no such file or directory/i],
    [["--only-constants", "--omit-constants"], 2, /leave nothing/],
    [["--only-constants", "--server-listen", "80"], 2, /writes a whole server/],
    [["--server-listen", "80; evil"], 2, /takes an address/],
    [["--name-prefix", "Team"], 2, /lower-case letters/],
  ];
  for (const [args, expected, message] of cases) {
    const { exitCode, out, err } = await run(...args);
    assert.deepEqual([exitCode, out], [expected, ""], args.join(" "));
    assert.match(err, message);
  }
});
