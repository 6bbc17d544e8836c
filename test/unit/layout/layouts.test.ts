import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdir, readFile, rename, rm, stat, symlink, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { systemClock } from "../../../src/concurrency/clock.ts";
import type { LayoutFiles } from "../../../src/layout/files.ts";
import { layoutBlobKey } from "../../../src/layout/image-layout.ts";
import { type Digest, digestOf, hexOf } from "../../../src/oci/digest.ts";
import { parseReference, parseRepository } from "../../../src/oci/reference.ts";
import type { PullRegistry } from "../../../src/registry/registry.ts";
import { StoreError } from "../../../src/store/object-store.ts";
import { pseudoRandomBytes } from "../../support/content.ts";
import { never } from "../../support/event-loop.ts";
import { mediaTypes } from "../../support/image.ts";
import { addToLayout, descriptorOf, type LayoutContent, writeIndex } from "../../support/layout-writer.ts";
import { filesOf, type LayoutWorld, openLayouts } from "../../support/layout-world.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";

interface Image extends LayoutContent {
  readonly mediaType: string;
  readonly blobs: readonly LayoutContent[];
}

function contentOf(bytes: Buffer): LayoutContent {
  return { digest: digestOf(bytes), bytes };
}

function documentOf(document: object, mediaType: string = mediaTypes.manifest): Omit<Image, "blobs"> {
  return { ...contentOf(Buffer.from(JSON.stringify(document))), mediaType };
}

/** An image of one layer. */
function imageOf(seed: string, more: object = {}): Image {
  const layer = contentOf(pseudoRandomBytes(50_000, seed));
  const config = contentOf(Buffer.from(JSON.stringify({ seed })));
  const document = {
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    config: { mediaType: "application/vnd.oci.image.config.v1+json", digest: config.digest, size: config.bytes.length },
    layers: [{ mediaType: mediaTypes.layer, digest: layer.digest, size: layer.bytes.length }],
    ...more,
  };
  return { ...documentOf(document), blobs: [config, layer] };
}

function indexOf(images: readonly Pick<Image, "digest" | "bytes" | "mediaType">[]): Omit<Image, "blobs"> {
  const manifests = images.map(({ digest, bytes, mediaType }) => descriptorOf({ digest, bytes, mediaType }));
  return documentOf({ schemaVersion: 2, mediaType: mediaTypes.index, manifests }, mediaTypes.index);
}

async function manifestOf(registry: PullRegistry, name: string, reference: string): Promise<Digest | undefined> {
  const found = await registry.manifest(parseRepository(name), parseReference(reference));
  return found?.value.descriptor.digest;
}

async function blobOf(registry: PullRegistry, name: string, digest: Digest): Promise<Buffer | undefined> {
  const found = await registry.openBlob(parseRepository(name), digest);
  if (found === undefined) return undefined;
  try {
    const chunks: Buffer[] = [];
    for await (const chunk of found.value.read(undefined, never())) chunks.push(Buffer.from(chunk));
    return Buffer.concat(chunks);
  } finally {
    await found.value.close();
  }
}

async function tagsOf(registry: PullRegistry, name: string): Promise<unknown> {
  return (await registry.tags(parseRepository(name), ""))?.value.document["tags"];
}

/** Writes an image as skopeo does with `dir:`. */
async function writeDir(folder: string, image: Image, children: readonly Image[] = []): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, "manifest.json"), image.bytes);
  await writeFile(join(folder, "version"), "Directory Transport Version: 1.1\n");
  for (const child of children) await writeFile(join(folder, `${hexOf(child.digest)}.manifest.json`), child.bytes);
  for (const { digest, bytes } of [image, ...children].flatMap((each) => each.blobs)) {
    await writeFile(join(folder, hexOf(digest)), bytes);
  }
}

/** Everything that tests of one source have. */
async function setUp(): Promise<LayoutWorld & { readonly root: string; readonly registry: PullRegistry }> {
  const folder = await createTemporaryDirectory();
  const world = openLayouts(await filesOf(folder.path));
  return {
    ...world,
    root: folder.path,
    registry: world.layouts.registry(),
    async [Symbol.asyncDispose]() {
      await world[Symbol.asyncDispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
}

const one = imageOf("one");
const other = imageOf("other");

describe("where images lie", () => {
  test("layouts are found at any depth, and served by the names of their folders", async () => {
    await using world = await setUp();
    await addToLayout(join(world.root, "app"), [{ ...one, tag: "1" }], one.blobs);
    await addToLayout(join(world.root, "a/b/c/d/e"), [{ ...other, tag: "2" }], other.blobs);
    assert.equal(await manifestOf(world.registry, "app", "1"), one.digest);
    assert.equal(await manifestOf(world.registry, "a/b/c/d/e", "2"), other.digest);
    for (const { digest, bytes } of one.blobs) assert.deepEqual(await blobOf(world.registry, "app", digest), bytes);
    assert.deepEqual(await world.layouts.repositories(), ["a/b/c/d/e", "app"]);
    assert.deepEqual(world.told.problems, []);
  });

  test("skopeo's trees are, by <name>/<tag>, <name>:<tag> and <name>@<digest>, also where no type is written", async () => {
    await using world = await setUp();
    await writeDir(join(world.root, "a/b/app/1"), one);
    await writeDir(join(world.root, "a/b/app:2"), other);
    const plain = { ...imageOf("plain", { mediaType: undefined }) };
    await writeDir(join(world.root, `a/b/app@${plain.digest}`), plain);
    assert.equal(await manifestOf(world.registry, "a/b/app", "1"), one.digest);
    assert.equal(await manifestOf(world.registry, "a/b/app", "2"), other.digest);
    assert.deepEqual(await tagsOf(world.registry, "a/b/app"), ["1", "2"]);
    const found = await world.registry.manifest(parseRepository("a/b/app"), plain.digest);
    assert.equal(found?.value.descriptor.mediaType, mediaTypes.manifest, "derived from what it says");
    for (const { digest, bytes } of plain.blobs)
      assert.deepEqual(await blobOf(world.registry, "a/b/app", digest), bytes);
  });

  test("a list of manifests in skopeo's tree is served with all of its platforms", async () => {
    await using world = await setUp();
    const index = { ...indexOf([one, other]), blobs: [] };
    await writeDir(join(world.root, "app/latest"), index, [one, other]);
    assert.equal(await manifestOf(world.registry, "app", "latest"), index.digest);
    assert.equal(await manifestOf(world.registry, "app", one.digest), one.digest);
    assert.equal(await manifestOf(world.registry, "app", other.digest), other.digest);
    for (const { digest, bytes } of other.blobs) assert.deepEqual(await blobOf(world.registry, "app", digest), bytes);
  });

  test("moby/moby#49141: of docker save's both forms the layout counts; a docker-archive alone is named and refused", async () => {
    await using world = await setUp();
    const both = join(world.root, "both");
    await addToLayout(both, [{ ...one, tag: "1" }], one.blobs);
    await writeFile(join(both, "manifest.json"), JSON.stringify([{ Config: "x", RepoTags: null, Layers: null }]));
    await mkdir(join(world.root, "old"));
    await writeFile(join(world.root, "old/manifest.json"), JSON.stringify([{ Config: "x" }]));
    const packed = (name: string): unknown =>
      execFileSync("tar", ["-C", join(world.root, name), "-cf", join(world.root, `${name}-packed.tar`), "."]);
    packed("both");
    packed("old");
    assert.equal(await manifestOf(world.registry, "both", "1"), one.digest);
    assert.equal(await manifestOf(world.registry, "both-packed", "1"), one.digest);
    assert.equal(world.told.problems.length, 2);
    for (const problem of world.told.problems)
      assert.match(problem, /^old(?:-packed.tar)?: it is a docker-archive.*skopeo copy/);
  });

  test("an archive of a folder in it, or with more in it, is the layout's", async () => {
    await using world = await setUp();
    const tree = join(world.root, ".tree");
    await addToLayout(join(tree, "wrapped"), [{ ...one, tag: "1" }], one.blobs);
    execFileSync("tar", ["-C", tree, "-cf", join(world.root, "app.tar"), "wrapped"]);
    assert.equal(await manifestOf(world.registry, "app", "1"), one.digest);
    for (const { digest, bytes } of one.blobs) assert.deepEqual(await blobOf(world.registry, "app", digest), bytes);
  });
});

describe("what belongs to a repository", () => {
  test("A3S-Lab/Box#106: an index within an index is followed, and its images are there", async () => {
    await using world = await setUp();
    const inner = indexOf([one]);
    const outer = indexOf([inner, other]);
    await addToLayout(
      join(world.root, "app"),
      [{ ...outer, tag: "1" }],
      [inner, one, ...one.blobs, other, ...other.blobs],
    );
    for (const digest of [outer.digest, inner.digest, one.digest, other.digest]) {
      assert.equal(await manifestOf(world.registry, "app", digest), digest);
    }
    const [config] = one.blobs;
    assert.deepEqual(await blobOf(world.registry, "app", config?.digest ?? assert.fail()), config?.bytes);
  });

  test("indexes that are too deep, or lead back to themselves, end", async () => {
    await using world = await setUp();
    let deep = indexOf([one]);
    const all: LayoutContent[] = [one, ...one.blobs, deep];
    for (let depth = 0; depth < 12; depth++) all.push((deep = indexOf([deep])));
    await addToLayout(join(world.root, "app"), [{ ...deep, tag: "1" }], all);
    assert.equal(await manifestOf(world.registry, "app", "1"), deep.digest);
    assert.equal(await manifestOf(world.registry, "app", one.digest), undefined);
  });

  test("what lies in one layout under several names is each repository's own", async () => {
    await using world = await setUp();
    const entries = [
      { ...one, tag: "team/one:1" },
      { ...other, tag: "team/other:1" },
    ];
    await addToLayout(join(world.root, "all"), entries, [...one.blobs, ...other.blobs]);
    assert.equal(await manifestOf(world.registry, "team/one", "1"), one.digest);
    assert.equal(await manifestOf(world.registry, "team/one", one.digest), one.digest);
    assert.equal(await manifestOf(world.registry, "team/one", other.digest), undefined);
    for (const { digest } of other.blobs) assert.equal(await blobOf(world.registry, "team/one", digest), undefined);
    assert.equal(await world.registry.tags(parseRepository("all"), ""), undefined);
  });

  test("skopeo#762: two tags of one digest are two tags; a tag twice is the last one", async () => {
    await using world = await setUp();
    const entries = [
      { ...one, tag: "1" },
      { ...one, tag: "2" },
      { ...one, tag: "latest" },
      { ...other, tag: "latest" },
    ];
    await addToLayout(join(world.root, "app"), entries, [...one.blobs, ...other.blobs]);
    assert.deepEqual(await tagsOf(world.registry, "app"), ["1", "2", "latest"]);
    assert.equal(await manifestOf(world.registry, "app", "latest"), other.digest);
    assert.equal(await manifestOf(world.registry, "app", "2"), one.digest);
  });

  test("a blob that one place of a repository lacks is had from another", async () => {
    await using world = await setUp();
    await addToLayout(join(world.root, "app"), [{ ...one, tag: "1" }]);
    await writeDir(join(world.root, "app:2"), one);
    for (const reference of ["1", "2"]) {
      assert.equal(await manifestOf(world.registry, "app", reference), one.digest);
      for (const { digest, bytes } of one.blobs) assert.deepEqual(await blobOf(world.registry, "app", digest), bytes);
    }
  });

  test("a manifest that a layout lists and does not have is not given out because another one has it", async () => {
    await using world = await setUp();
    await addToLayout(join(world.root, "secret"), [{ ...one, tag: "1" }], one.blobs);
    await mkdir(join(world.root, "guess"));
    await writeIndex(join(world.root, "guess"), [descriptorOf({ ...one, tag: "1" })]);
    assert.equal(await manifestOf(world.registry, "secret", "1"), one.digest);
    assert.equal(await manifestOf(world.registry, "guess", "1"), undefined);
  });

  test("skopeo#1513: an entry without a name is reached by its digest", async () => {
    await using world = await setUp();
    await addToLayout(join(world.root, "app"), [one], one.blobs);
    assert.equal(await manifestOf(world.registry, "app", one.digest), one.digest);
    assert.deepEqual(await tagsOf(world.registry, "app"), []);
  });

  test("an entry whose name no repository can have is told, and reached by its digest at its place", async () => {
    await using world = await setUp();
    await addToLayout(join(world.root, "app"), [{ ...one, tag: "localhost:5000/app:1" }], one.blobs);
    assert.equal(await manifestOf(world.registry, "app", one.digest), one.digest);
    assert.deepEqual(await tagsOf(world.registry, "app"), []);
    assert.match(world.told.problems[0] ?? "", /"localhost:5000\/app" is no repository's name/);
  });

  test("inspektor-gadget#5494: entries with an empty architecture, and attestations, are passed on as they are", async () => {
    await using world = await setUp();
    const { digest, bytes } = one;
    const document = {
      schemaVersion: 2,
      mediaType: mediaTypes.index,
      manifests: [
        { mediaType: mediaTypes.manifest, digest, size: bytes.length, platform: { os: "linux", architecture: "" } },
        {
          mediaType: mediaTypes.manifest,
          digest,
          size: bytes.length,
          platform: { os: "unknown", architecture: "unknown" },
        },
      ],
    };
    const index = documentOf(document, mediaTypes.index);
    await addToLayout(join(world.root, "app"), [{ ...index, tag: "1" }], [one, ...one.blobs]);
    const found = await world.registry.manifest(parseRepository("app"), parseReference("1"));
    assert.deepEqual(found?.value.bytes, index.bytes);
  });

  test("what refers to a manifest is listed, of one type where that is asked for, a page at a time", async () => {
    await using world = await setUp();
    const subject = descriptorOf({ digest: one.digest, bytes: one.bytes, mediaType: one.mediaType });
    const signatures = ["a", "b", "c"].map((seed) =>
      imageOf(seed, { subject, artifactType: `test/${seed === "c" ? "c" : "x"}` }),
    );
    const entries = [{ ...one, tag: "1" }, ...signatures];
    await addToLayout(join(world.root, "app"), entries, [...one.blobs, ...signatures.flatMap(({ blobs }) => blobs)]);
    const list = async (query: string) =>
      (await world.registry.referrers(parseRepository("app"), one.digest, query))?.value ?? assert.fail();
    const digestsOf = ({ document }: { document: Record<string, unknown> }) =>
      (document["manifests"] as { digest: Digest }[]).map(({ digest }) => digest);
    const sorted = signatures.map(({ digest }) => digest).toSorted();
    assert.deepEqual(digestsOf(await list("")), sorted);
    const filtered = await list("artifactType=test%2Fc");
    assert.deepEqual([digestsOf(filtered), filtered.filtersApplied], [[signatures[2]?.digest], "artifactType"]);
    const first = await list("n=2");
    assert.deepEqual(digestsOf(first), sorted.slice(0, 2));
    assert.deepEqual(digestsOf(await list(first.nextQuery ?? assert.fail())), sorted.slice(2));
    assert.deepEqual(
      digestsOf((await world.registry.referrers(parseRepository("none"), one.digest, ""))?.value ?? assert.fail()),
      [],
    );
  });
});

describe("what is broken", () => {
  test("one broken image never hides the others, and each problem is told once", async () => {
    await using world = await setUp();
    await addToLayout(join(world.root, "fine"), [{ ...one, tag: "1" }], one.blobs);
    await mkdir(join(world.root, "broken"));
    await writeFile(join(world.root, "broken/index.json"), "{");
    await mkdir(join(world.root, "future"));
    await writeIndex(join(world.root, "future"), []);
    await writeFile(join(world.root, "future/oci-layout"), '{"imageLayoutVersion":"2.0.0"}');
    await mkdir(join(world.root, "folder/index.json"), { recursive: true });
    await writeDir(join(world.root, "lonely"), other);
    await writeDir(join(world.root, `lying@${one.digest}`), other);
    await addToLayout(join(world.root, "Upper"), [{ ...one, tag: "1" }], one.blobs);
    for (let time = 0; time < 2; time++) {
      assert.equal(await manifestOf(world.registry, "fine", "1"), one.digest);
      assert.deepEqual(world.told.problems.map((problem) => problem.slice(0, problem.indexOf(":"))).toSorted(), [
        "Upper",
        "broken",
        "future",
        "lonely",
        `lying@sha256`,
      ]);
    }
  });

  test("a manifest that is not what its digest says is not given out, nor one of another size", async () => {
    await using world = await setUp();
    const folder = join(world.root, "app");
    await addToLayout(
      folder,
      [
        { ...one, tag: "1" },
        { ...other, tag: "2" },
      ],
      [...one.blobs, ...other.blobs],
    );
    const wrong = Buffer.from(one.bytes);
    wrong[10] = (wrong[10] ?? 0) ^ 1;
    await writeFile(join(folder, layoutBlobKey("", one.digest)), wrong);
    await writeFile(join(folder, layoutBlobKey("", other.digest)), "short");
    for (const reference of ["1", one.digest, "2"])
      assert.equal(await manifestOf(world.registry, "app", reference), undefined);
    assert.match(world.told.damaged[0] ?? "", /^app: sha256:\w+: it does not have its digest$/);
    assert.match(world.told.damaged.at(-1) ?? "", /it has 5 bytes, not/);
  });

  test("of a blob that is not what its digest says the end is never given out, whole or in ranges", async () => {
    await using world = await setUp();
    const folder = join(world.root, "app");
    await addToLayout(folder, [{ ...one, tag: "1" }], one.blobs);
    const [, layer] = one.blobs;
    const { digest, bytes } = layer ?? assert.fail();
    const wrong = Buffer.from(bytes);
    wrong[5] = (wrong[5] ?? 0) ^ 1;
    await writeFile(join(folder, layoutBlobKey("", digest)), wrong);
    await assert.rejects(blobOf(world.registry, "app", digest), StoreError);
    const blob = (await world.registry.openBlob(parseRepository("app"), digest)) ?? assert.fail();
    await assert.rejects(async () => {
      for await (const _chunk of blob.value.read({ start: 0, end: 10 }, never()));
    }, StoreError);
    await blob.value.close();
    await writeFile(join(folder, layoutBlobKey("", digest)), "short");
    assert.equal(await blobOf(world.registry, "app", digest), undefined);
    assert.equal(world.told.damaged.length, 3);
  });

  test("a range of a file that was replaced by a sound one since is not taken for sound", async () => {
    await using world = await setUp();
    const folder = join(world.root, "app");
    await addToLayout(folder, [{ ...one, tag: "1" }], one.blobs);
    const { digest, bytes } = one.blobs[1] ?? assert.fail();
    const path = join(folder, layoutBlobKey("", digest));
    await writeFile(path, Buffer.alloc(bytes.length));
    const blob = (await world.registry.openBlob(parseRepository("app"), digest)) ?? assert.fail();
    await writeFile(`${path}.new`, bytes);
    await rename(`${path}.new`, path);
    await assert.rejects(async () => {
      for await (const _chunk of blob.value.read({ start: 0, end: 10 }, never()));
    }, StoreError);
    await blob.value.close();
    assert.deepEqual(await blobOf(world.registry, "app", digest), bytes);
  });

  test("moby/moby#47065: a manifest that cannot be used is refused alone, and told why", async () => {
    await using world = await setUp();
    const none = documentOf({ schemaVersion: 2 });
    await addToLayout(
      join(world.root, "app"),
      [
        { ...none, tag: "1" },
        { ...one, tag: "2" },
      ],
      one.blobs,
    );
    assert.equal(await manifestOf(world.registry, "app", "1"), undefined);
    assert.equal(await manifestOf(world.registry, "app", "2"), one.digest);
    assert.match(world.told.damaged[0] ?? "", /neither an index .* nor an image/);
  });

  test("moby/moby#47210: layers that are null are none", async () => {
    await using world = await setUp();
    const config = contentOf(Buffer.from("{}"));
    const described = { mediaType: "application/vnd.oci.image.config.v1+json", digest: config.digest, size: 2 };
    const image = documentOf({ schemaVersion: 2, config: described, layers: null });
    await addToLayout(join(world.root, "app"), [{ ...image, tag: "1" }], [config]);
    assert.equal(await manifestOf(world.registry, "app", "1"), image.digest);
  });

  test("links that lead elsewhere, and pipes, are not followed", async () => {
    await using world = await setUp();
    await using elsewhere = await createTemporaryDirectory();
    await addToLayout(join(elsewhere.path, "secret"), [{ ...one, tag: "1" }], one.blobs);
    await symlink(join(elsewhere.path, "secret"), join(world.root, "linked"));
    await mkdir(join(world.root, "piped"));
    execFileSync("mkfifo", [join(world.root, "piped/index.json"), join(world.root, "piped.tar")]);
    assert.deepEqual(await world.layouts.repositories(), []);
    const borrowing = join(world.root, "borrowing");
    await mkdir(borrowing);
    await writeIndex(borrowing, [descriptorOf({ ...one, tag: "1" })]);
    await symlink(join(elsewhere.path, "secret/blobs"), join(borrowing, "blobs"));
    assert.equal(await manifestOf(world.registry, "borrowing", "1"), undefined);
  });
});

test("behind a thousand blobs of a layout the listing goes on, whatever else lies among them", async () => {
  await using world = await setUp();
  const blobs = Array.from({ length: 1_100 }, (_, number) => contentOf(Buffer.from(`blob ${number}`)));
  await addToLayout(join(world.root, "a"), [{ ...one, tag: "1" }], [...blobs, ...one.blobs]);
  await addToLayout(join(world.root, "b"), [{ ...other, tag: "1" }], other.blobs);
  // Names by which a listing would be led back and forth.
  const led = join(world.root, "a/blobs/sha256/~d/blobs/sha256");
  await mkdir(led, { recursive: true });
  for (let number = 0; number < 1_000; number++) {
    await writeFile(join(led, String(number)), "");
    await writeFile(join(world.root, `a/blobs/sha256/~e${number}`), "");
  }
  for (const name of ["~", "~~", "\uffff", "\u{10ffff}"]) await writeFile(join(world.root, "a/blobs/sha256", name), "");
  assert.equal(await manifestOf(world.registry, "a", "1"), one.digest);
  assert.equal(await manifestOf(world.registry, "b", "1"), other.digest);
});

describe("changes", () => {
  test("a tag that moved, a layout that came and one that went are seen by the next question", async () => {
    await using world = await setUp();
    const folder = join(world.root, "app");
    assert.equal(await manifestOf(world.registry, "app", "1"), undefined);
    await addToLayout(folder, [{ ...one, tag: "1" }], one.blobs);
    assert.equal(await manifestOf(world.registry, "app", "1"), one.digest);
    await addToLayout(folder, [{ ...other, tag: "1" }], other.blobs);
    assert.equal(await manifestOf(world.registry, "app", "1"), other.digest);
    await rename(folder, join(world.root, "moved"));
    assert.equal(await manifestOf(world.registry, "app", "1"), undefined);
    assert.equal(await manifestOf(world.registry, "moved", "1"), other.digest);
    await rm(join(world.root, "moved"), { recursive: true });
    assert.deepEqual(await world.layouts.repositories(), []);
  });

  test("a blob that is being read goes on when its layout is removed", async () => {
    await using world = await setUp();
    await addToLayout(join(world.root, "app"), [{ ...one, tag: "1" }], one.blobs);
    const [, layer] = one.blobs;
    const blob =
      (await world.registry.openBlob(parseRepository("app"), layer?.digest ?? assert.fail())) ?? assert.fail();
    await rm(join(world.root, "app"), { recursive: true });
    const chunks: Buffer[] = [];
    for await (const chunk of blob.value.read(undefined, never())) chunks.push(Buffer.from(chunk));
    await blob.value.close();
    assert.deepEqual(Buffer.concat(chunks), layer?.bytes);
  });

  test("what was found counts for a while; what is asked for and not there is looked for at once, by one look for all", async () => {
    await using folder = await createTemporaryDirectory();
    const files = await filesOf(folder.path);
    let now = 1_000;
    const clock = { now: () => now, monotonic: () => now, wait: async () => undefined };
    await using world = openLayouts(files, { refreshMs: 10_000, clock });
    const registry = world.layouts.registry();
    await addToLayout(join(folder.path, "app"), [{ ...one, tag: "1" }], one.blobs);
    await Promise.all(Array.from({ length: 20 }, () => manifestOf(registry, "app", "1")));
    assert.equal(world.told.looks, 1);
    await addToLayout(join(folder.path, "app"), [{ ...other, tag: "1" }], other.blobs);
    now += 9_999;
    assert.equal(await manifestOf(registry, "app", "1"), one.digest);
    now += 1;
    assert.equal(await manifestOf(registry, "app", "1"), other.digest);
    assert.equal(world.told.looks, 2);
    await addToLayout(join(folder.path, "app"), [{ ...one, tag: "2" }], []);
    assert.equal(await manifestOf(registry, "app", "2"), undefined, "it was looked at in this very moment");
    now += 1_000;
    const answers = await Promise.all(Array.from({ length: 20 }, () => manifestOf(registry, "app", "2")));
    assert.deepEqual(new Set(answers), new Set([one.digest]));
    assert.equal(world.told.looks, 3);
  });

  test("a source that cannot be read any more is told, and what is known of it goes on", async () => {
    await using folder = await createTemporaryDirectory();
    await addToLayout(join(folder.path, "app"), [{ ...one, tag: "1" }], one.blobs);
    const files = await filesOf(folder.path);
    let isAway = false;
    const watched: LayoutFiles = {
      async *list(...listed) {
        if (isAway) throw new StoreError("it is away", undefined);
        yield* files.list(...listed);
      },
      get: (key) => files.get(key),
    };
    await using world = openLayouts(watched);
    const registry = world.layouts.registry();
    assert.equal(await manifestOf(registry, "app", "1"), one.digest);
    isAway = true;
    assert.equal(await manifestOf(registry, "app", "1"), one.digest);
    assert.deepEqual(world.told.unreachable, ["it is away"]);
    await using stranger = openLayouts(watched);
    await assert.rejects(manifestOf(stranger.layouts.registry(), "app", "1"), StoreError);
  });

  test("a source whose folder goes away, or a part of which cannot be listed, is not taken for empty", async () => {
    await using world = await setUp();
    await addToLayout(join(world.root, "app"), [{ ...one, tag: "1" }], one.blobs);
    assert.equal(await manifestOf(world.registry, "app", "1"), one.digest);
    await rename(world.root, `${world.root}-away`);
    assert.equal(await manifestOf(world.registry, "app", "1"), one.digest, "from memory");
    assert.equal(world.told.unreachable.length, 1);
    await assert.rejects(manifestOf(world.registry, "app", "2"), StoreError, "it may be there");
    await rename(`${world.root}-away`, world.root);
    assert.equal(await manifestOf(world.registry, "app", "2"), undefined);

    const files = await filesOf(world.root);
    let isUnreadable = false;
    await using other = openLayouts({
      async *list(prefix, options) {
        if (isUnreadable) options?.onUnreadable?.(new StoreError("app could not be listed", undefined));
        else yield* files.list(prefix, options);
      },
      get: (key) => files.get(key),
    });
    const registry = other.layouts.registry();
    assert.equal(await manifestOf(registry, "app", "1"), one.digest);
    isUnreadable = true;
    assert.equal(await manifestOf(registry, "app", "1"), one.digest);
    assert.deepEqual(other.told.problems, [".: app could not be listed"]);
  });

  test("an index that is just being written in place hides nothing of what it had", async () => {
    await using world = await setUp();
    const folder = join(world.root, "app");
    await addToLayout(folder, [{ ...one, tag: "1" }], one.blobs);
    assert.equal(await manifestOf(world.registry, "app", "1"), one.digest);
    const index = await readFile(join(folder, "index.json"));
    for (const text of ["", index.subarray(0, 50)]) {
      await writeFile(join(folder, "index.json"), text);
      assert.equal(await manifestOf(world.registry, "app", "1"), one.digest);
    }
    assert.match(world.told.problems[0] ?? "", /^app: it is not JSON/);
    await writeIndex(folder, [descriptorOf({ ...other, tag: "1" })]);
    await addToLayout(folder, [], [other, ...other.blobs]);
    assert.equal(await manifestOf(world.registry, "app", "1"), other.digest);
  });

  test("an index that was changed in place is seen, though its size and time are the same", async () => {
    await using world = await setUp();
    const folder = join(world.root, "app");
    await addToLayout(folder, [{ ...one, tag: "1" }], [other, ...one.blobs, ...other.blobs]);
    assert.equal(await manifestOf(world.registry, "app", "1"), one.digest);
    const path = join(folder, "index.json");
    const { atime, mtime, size } = await stat(path);
    const text = (await readFile(path, "utf8")).replace(one.digest, other.digest);
    await writeFile(path, text);
    await utimes(path, atime, mtime);
    assert.equal((await stat(path)).size, size);
    assert.equal(await manifestOf(world.registry, "app", "1"), other.digest);
  });

  test("whoever asks for what is known waits for a slow source together with all others, and who closes does not", async () => {
    await using folder = await createTemporaryDirectory();
    await addToLayout(join(folder.path, "app"), [{ ...one, tag: "1" }], one.blobs);
    const files = await filesOf(folder.path);
    let hangs = false;
    const watched: LayoutFiles = {
      async *list(...listed) {
        if (hangs) await new Promise(() => undefined);
        yield* files.list(...listed);
      },
      get: (key) => files.get(key),
    };
    let now = 0;
    await using world = openLayouts(watched, { clock: { ...systemClock, monotonic: () => now } });
    const registry = world.layouts.registry();
    assert.equal(await manifestOf(registry, "app", "1"), one.digest);
    hangs = true;
    const waiting = manifestOf(registry, "app", "1");
    now += 3_000;
    assert.equal(await manifestOf(registry, "app", "1"), one.digest);
    assert.equal(await manifestOf(registry, "app", "none"), undefined);
    assert.equal(await waiting, one.digest);
  });

  test("what has not changed is not read again", async () => {
    await using folder = await createTemporaryDirectory();
    await addToLayout(join(folder.path, "app"), [{ ...one, tag: "1" }], one.blobs);
    const files = await filesOf(folder.path);
    const read: string[] = [];
    const watched: LayoutFiles = {
      list: (...listed) => files.list(...listed),
      get: (key) => {
        read.push(key);
        return files.get(key);
      },
    };
    await using world = openLayouts(watched);
    const registry = world.layouts.registry();
    for (let time = 0; time < 3; time++) assert.equal(await manifestOf(registry, "app", "1"), one.digest);
    assert.deepEqual(read, ["app/index.json", "app/oci-layout", layoutBlobKey("app", one.digest)]);
    assert.equal((await readFile(join(folder.path, "app/index.json"), "utf8")).length > 0, true);
  });
});
