/* What the steps of a scrub have in common: the walk, the reading, and what it costs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { StepProgress } from "../../../src/jobs/job.ts";
import type { Rate } from "../../../src/jobs/rate.ts";
import { Scrub, type VerifyTools } from "../../../src/jobs/verify-scrub.ts";
import { isLink } from "../../../src/store/content-records.ts";
import { blobsPrefix, linkKey } from "../../../src/store/layout.ts";
import { type OpenObject, StoreError } from "../../../src/store/object-store.ts";
import { never } from "../../support/event-loop.ts";
import { countsOf, id, openWorld, type ScrubWorld } from "./scrub-world.ts";

const objectBytes = 32 * 1024;

interface Taking {
  readonly scrub: Scrub;
  /** What was taken of the rate, in order. */
  readonly taken: number[];
}

function scrubOf(world: ScrubWorld, tools: Partial<VerifyTools> = {}): Taking {
  const taken: number[] = [];
  const rate = { take: async (bytes: number) => void taken.push(bytes) } as unknown as Rate;
  return { scrub: new Scrub({ ...world.tools, ...tools }, true, rate), taken };
}

/** A store whose object at `key` is what `change` makes of it, each time that it is opened. */
function readerWith(
  world: ScrubWorld,
  key: string,
  change: (object: OpenObject, times: number) => OpenObject,
): VerifyTools["reader"] {
  let times = 0;
  return {
    head: (wanted) => world.store.head(wanted),
    list: (prefix) => world.store.list(prefix),
    get: async (wanted) => {
      const object = await world.store.get(wanted);
      return object !== undefined && wanted === key ? change(object, ++times) : object;
    },
  };
}

test("each object counts against the rate, and each of its bytes that is read", async () => {
  await using world = await openWorld();
  const { scrub, taken } = scrubOf(world);
  for await (const { place } of scrub.walk(blobsPrefix, never())) assert.equal(place?.kind, "content");
  assert.deepEqual(taken.splice(0), [objectBytes, objectBytes, objectBytes, objectBytes]);
  const inspected = await scrub.inspect(world.layer, never());
  assert.equal(inspected?.sound, true);
  assert.equal(
    taken.reduce((sum, bytes) => sum + bytes, 0),
    inspected.sizeBytes,
  );
});

test("content that cannot be read to its end is closed, and its hash dropped", async () => {
  await using world = await openWorld();
  const error = new StoreError("the disk failed", undefined);
  let open = 0;
  let hashes = 0;
  const { scrub } = scrubOf(world, {
    reader: {
      ...world.tools.reader,
      get: async (key) => {
        const object = await world.store.get(key);
        open++;
        return (
          object && {
            ...object,
            // oxlint-disable-next-line require-yield
            async *read() {
              throw error;
            },
            close: async () => {
              open--;
              await object.close();
            },
          }
        );
      },
    },
    hashes: {
      start: (algorithm: "sha256") => {
        const hash = world.tools.hashes.start(algorithm);
        hashes++;
        const drop = (): void => {
          hashes--;
          hash.drop();
        };
        return { ...hash, drop };
      },
    } as VerifyTools["hashes"],
  });
  await assert.rejects(scrub.inspect(world.layer, never()), error);
  assert.deepEqual({ open, hashes }, { open: 0, hashes: 0 });
});

test("what fails for one object is counted; an error of the program is not taken for that", async () => {
  await using world = await openWorld();
  const { scrub } = scrubOf(world);
  const counts: string[] = [];
  const progress: StepProgress = {
    count: (what) => counts.push(what),
    total: () => undefined,
    advance: () => undefined,
    note: () => undefined,
  };
  await scrub.attempt(progress, () => Promise.reject(new StoreError("the disk failed", undefined)));
  assert.deepEqual(counts, ["failed"]);
  const bug = new TypeError("a bug");
  await assert.rejects(
    scrub.attempt(progress, () => Promise.reject(bug)),
    bug,
  );
  assert.deepEqual(counts, ["failed"]);
});

test("a link that is being written while it is read is not torn, and not removed", async () => {
  await using world = await openWorld();
  const key = linkKey(id, world.layer);
  const half = (object: OpenObject): OpenObject => ({
    ...object,
    async *read() {
      yield Buffer.alloc(object.sizeBytes, "{");
    },
  });
  const halfOnce = readerWith(world, key, (object, times) => (times === 1 ? half(object) : object));
  const { scrub } = scrubOf(world, { reader: halfOnce });
  assert.equal(typeof (await scrub.records(isLink)(key)), "object");
  const always = readerWith(world, key, half);
  assert.equal(await scrubOf(world, { reader: always }).scrub.records(isLink)(key), "torn");
  assert.equal(
    await scrub
      .records(isLink)(linkKey(id, world.image.root.digest))
      .then((link) => typeof link),
    "object",
  );
  const job = await world.scrub(true, { reader: readerWith(world, key, (o, times) => (times === 1 ? half(o) : o)) });
  assert.deepEqual(countsOf(job, "links"), { examined: 4 });
});

test("a link that is removed while its content is read is not made again", async () => {
  await using world = await openWorld();
  const key = linkKey(id, world.layer);
  await world.plant(key, JSON.stringify({ mediaType: "a/b", sizeBytes: 1 }));
  const reader: VerifyTools["reader"] = {
    head: (wanted) => world.store.head(wanted),
    list: (prefix) => world.store.list(prefix),
    get: async (wanted) => {
      const object = await world.store.get(wanted);
      if (wanted.startsWith("blobs/")) await world.content.removeLink(id, world.layer);
      return object;
    },
  };
  const job = await world.scrub(true, { reader });
  assert.equal(countsOf(job, "links")?.["wrong size"], 1);
  assert.equal(countsOf(job, "links")?.["corrected"], undefined);
  assert.equal(await world.content.link(id, world.layer), undefined);
});
