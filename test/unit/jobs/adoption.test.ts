import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import type { ForeignReader } from "../../../src/store/foreign-folder.ts";
import { numbersOf, openAdoptWorld } from "../../support/adopt-world.ts";
import { addEarlierImage, envelopeOf, type MemoryReader } from "../../support/earlier-cache.ts";
import { buildImage } from "../../support/image.ts";
import { inspectStorage } from "../../support/storage.ts";

const lately = Math.floor(Date.now() / 1000) * 1000 - 24 * 3_600_000;
const image = buildImage({ platforms: 2 });

describe("a source that is far away", () => {
  /** It, with what is done at a time; each opening waits until as many are under way as may be, or nothing more comes. */
  function far(source: MemoryReader, atOnce: number): { readonly reader: ForeignReader; readonly most: () => number } {
    let opening = 0;
    let most = 0;
    const reader: ForeignReader = {
      atOnce,
      list: (prefix) => source.list(prefix),
      async get(key) {
        most = Math.max(most, ++opening);
        for (let turns = 0; turns < 100 && opening < atOnce; turns++) await turn();
        opening--;
        return source.get(key);
      },
    };
    return { reader, most: () => most };
  }

  test("is read several objects at a time, and no more, with the same outcome", async () => {
    await using world = await openAdoptWorld();
    const images = Array.from({ length: 6 }, (_, index) => buildImage({ seed: `${index}` }));
    for (const [index, each] of images.entries()) {
      addEarlierImage(world.cache, each, `docker.io/library/a${index}`, "1", lately);
    }
    const { reader, most } = far(world.source, 3);
    const job = await world.run({ source: reader });
    assert.deepEqual([job.state, numbersOf(job)["blobs"]], ["succeeded", [18, 0, {}]]);
    assert.equal(most(), 3);
    const stored = await inspectStorage(world.root);
    assert.deepEqual(stored.blobs, images.flatMap((each) => [each.root.digest, ...each.blobs.keys()]).toSorted());
    assert.deepEqual(stored.temporary, []);
  });

  test("keeps a tag's later check, whichever of the repository's names comes first", async () => {
    for (const [first, second] of [
      [lately, lately - 1_000],
      [lately - 1_000, lately],
    ] as const) {
      await using world = await openAdoptWorld();
      const [one, other] = [buildImage({ seed: "one" }).root, buildImage({ seed: "other" }).root];
      const put = (name: string, { bytes, mediaType }: typeof one, writtenAt: number): void =>
        void world.cache.set(`manifests/docker.io/${name}/1`, { bytes: envelopeOf(bytes, mediaType), writtenAt });
      put("a", one, first);
      put("library/a", other, second);
      await world.run({ source: far(world.source, 2).reader });
      const expected = first > second ? one.digest : other.digest;
      const record = await world.tag("docker.io/library/a", "1");
      assert.deepEqual([record?.digest, record?.checkedAt], [expected, lately]);
    }
  });

  test("that is lost ends the run with its reason, and what was begun is finished", async () => {
    await using world = await openAdoptWorld();
    addEarlierImage(world.cache, image, "docker.io/library/a", "1", lately);
    const { reader } = far(world.source, 2);
    let blobs = 0;
    const lost: ForeignReader = {
      ...reader,
      async get(key) {
        if (key.startsWith("blobs/") && ++blobs > 2) throw new Error("the source is lost");
        return reader.get(key);
      },
    };
    const job = await world.run({ source: lost });
    assert.deepEqual([job.state, job.error], ["failed", "the source is lost"]);
    assert.deepEqual(numbersOf(job)["blobs"], [2, 0, {}]);
    assert.ok(blobs <= 4, "nothing more is asked for but what was under way");
    assert.deepEqual((await inspectStorage(world.root)).temporary, []);
    assert.deepEqual(numbersOf(await world.run())["blobs"], [4, 2, {}]);
  });

  test("is interrupted when the run is cancelled", async () => {
    await using world = await openAdoptWorld();
    addEarlierImage(world.cache, image, "docker.io/library/a", "1", lately);
    const interrupted = Promise.withResolvers<never>();
    let cancel = (): void => undefined;
    const source: ForeignReader = {
      // More than there are, so that all have been listed by then.
      atOnce: 10,
      list: (prefix) => world.source.list(prefix),
      get() {
        cancel();
        return interrupted.promise;
      },
      async interrupt() {
        interrupted.reject(new Error("interrupted"));
      },
    };
    const job = await world.run({
      source,
      onState: (store, { id }) => (cancel = () => void store.administration.cancel(id)),
    });
    assert.equal(job.state, "cancelled");
  });
});
