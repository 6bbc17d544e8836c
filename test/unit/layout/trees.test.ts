import assert from "node:assert/strict";
import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { create } from "tar";
import { type Digest, digestOf, hexOf } from "../../../src/oci/digest.ts";
import { parseReference, parseRepository } from "../../../src/oci/reference.ts";
import { never } from "../../support/event-loop.ts";
import { bytesOf, imageOf, indexOf } from "../../support/hosted.ts";
import { mediaTypes } from "../../support/image.ts";
import { addToLayout, type LayoutContent } from "../../support/layout-writer.ts";
import { filesOf, openLayouts } from "../../support/layout-world.ts";
import { chooseSeed } from "../../support/random.ts";
import { soaks } from "../../support/soak.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";

interface Content extends LayoutContent {
  readonly mediaType: string;
  /** All that it leads to: manifests and blobs. */
  readonly manifests: readonly LayoutContent[];
  readonly blobs: readonly LayoutContent[];
}

function contentOf(bytes: Buffer): LayoutContent {
  return { digest: digestOf(bytes), bytes };
}

const images = Array.from({ length: 4 }, (_, number): Content => {
  const blobs = [Buffer.from(`{"of":${number >> 1}}`), Buffer.from(`layer ${number}`)] as const;
  const document = imageOf(blobs[0], [blobs[1]]);
  return {
    ...contentOf(bytesOf(document)),
    mediaType: mediaTypes.manifest,
    manifests: [],
    blobs: blobs.map(contentOf),
  };
});
const documents = [0, 1, 2, 3].map((number) =>
  imageOf(Buffer.from(`{"of":${number >> 1}}`), [Buffer.from(`layer ${number}`)]),
);
const both: Content = {
  ...contentOf(bytesOf(indexOf(documents.slice(0, 2)))),
  mediaType: mediaTypes.index,
  manifests: images.slice(0, 2),
  blobs: images.slice(0, 2).flatMap(({ blobs }) => blobs),
};
const contents: readonly Content[] = [...images, both];

const written = fc.record({
  place: fc.constantFrom("a", "b", "a/b", "a/b/c", "b/a"),
  kind: fc.constantFrom("layout" as const, "dir" as const, "archive" as const),
  content: fc.nat(contents.length - 1),
  tag: fc.constantFrom("1", "2", "latest"),
});
type Written = typeof written extends fc.Arbitrary<infer Value> ? Value : never;

/** Writes what other programs would, each layout and archive of a place by itself. */
async function write(root: string, each: Written): Promise<void> {
  const { place, kind, tag } = each;
  const content = contents[each.content] ?? assert.fail();
  if (kind === "dir") {
    const folder = join(root, `${place}:${tag}`);
    await rm(folder, { recursive: true, force: true });
    await mkdir(folder, { recursive: true });
    for (const { digest, bytes } of content.manifests)
      await writeFile(join(folder, `${hexOf(digest)}.manifest.json`), bytes);
    for (const { digest, bytes } of content.blobs) await writeFile(join(folder, hexOf(digest)), bytes);
    await writeFile(join(folder, "manifest.json"), content.bytes);
    return;
  }
  const folder = kind === "layout" ? join(root, place) : join(`${root}-archives`, place);
  await addToLayout(folder, [{ ...content, tag }], [...content.manifests, ...content.blobs]);
  if (kind === "layout") return;
  const archive = join(root, `${place}.tar`);
  await mkdir(dirname(archive), { recursive: true });
  await create({ cwd: folder, file: `${archive}.new` }, ["."]);
  await rename(`${archive}.new`, archive);
}

/** What each repository's tags stand for: of several places the first in order counts, in one place the last entry. */
function expected(all: readonly Written[]): Map<string, Map<string, Digest>> {
  const places = new Map<string, Map<string, Digest>>();
  for (const { place, kind, tag, content } of all) {
    const path = kind === "dir" ? `${place}:${tag}` : kind === "archive" ? `${place}.tar` : place;
    const tags = places.get(path) ?? new Map<string, Digest>();
    places.set(path, tags.set(tag, (contents[content] ?? assert.fail()).digest));
  }
  const repositories = new Map<string, Map<string, Digest>>();
  for (const [path, tags] of [...places].toSorted(([one], [other]) => (one < other ? -1 : 1))) {
    const name = path.replace(/:.*$|\.tar$/, "");
    repositories.set(name, new Map([...tags, ...(repositories.get(name) ?? [])]));
  }
  return repositories;
}

test(
  "whatever was written in whatever form, it is served as it is, and nothing else",
  { timeout: 1_800_000 },
  async (context) => {
    const seed = chooseSeed(context);
    await fc.assert(
      fc.asyncProperty(fc.array(written, { minLength: 1, maxLength: 6 }), async (all) => {
        await using folder = await createTemporaryDirectory();
        const root = join(folder.path, "source");
        await mkdir(root);
        await using world = openLayouts(await filesOf(root));
        const registry = world.layouts.registry();
        for (const [step, each] of all.entries()) {
          await write(root, each);
          const repositories = expected(all.slice(0, step + 1));
          assert.deepEqual(await world.layouts.repositories(), [...repositories.keys()].toSorted());
          for (const [name, tags] of repositories) {
            const repository = parseRepository(name);
            const page = await registry.tags(repository, "");
            assert.deepEqual(page?.value.document["tags"], [...tags.keys()].toSorted());
            for (const [tag, digest] of tags) {
              const found = await registry.manifest(repository, parseReference(tag));
              assert.equal(found?.value.descriptor.digest, digest, `${name}:${tag}`);
            }
            const there = new Set<Digest>();
            for (const one of all.slice(0, step + 1)) {
              const content = contents[one.content] ?? assert.fail();
              if (one.place !== name || (one.kind === "dir" && tags.get(one.tag) !== content.digest)) continue;
              for (const { digest } of [content, ...content.manifests, ...content.blobs]) there.add(digest);
            }
            for (const { digest, bytes } of contents.flatMap(({ blobs }) => blobs)) {
              const blob = await registry.openBlob(repository, digest);
              if (blob === undefined) {
                // A tree of one tag is written anew, and what it had is gone with it.
                assert.ok(!there.has(digest), `${digest} of ${name}`);
                continue;
              }
              const chunks: Buffer[] = [];
              for await (const chunk of blob.value.read(undefined, never())) chunks.push(Buffer.from(chunk));
              await blob.value.close();
              assert.deepEqual(Buffer.concat(chunks), bytes);
            }
          }
        }
        assert.deepEqual([world.told.problems, world.told.damaged], [[], []]);
      }),
      { seed, numRuns: soaks ? 300 : 10 },
    );
  },
);
