import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, test } from "node:test";
import { BufferPool } from "../../src/store/buffers.ts";
import { FilesystemStore } from "../../src/store/filesystem.ts";
import type { FileReader, LocalUpkeep } from "../../src/store/local-upkeep.ts";
import { MemoryStore } from "../../src/store/memory.ts";
import { meterStore } from "../../src/store/metered.ts";
import { type DatedStore, type Key, PreconditionFailed } from "../../src/store/object-store.ts";
import type { S3Options } from "../../src/store/s3-options.ts";
import { S3Store } from "../../src/store/s3.ts";
import { FakeS3 } from "../support/fake-s3.ts";
import { RemoteStore } from "../support/object-stores.ts";
import { openFilesBelow } from "../support/open-files.ts";
import {
  collect,
  type Driven,
  list,
  objectStoreSuite,
  one,
  open,
  read,
  type Setup,
  setUp,
  two,
} from "./object-store.ts";

/** Those whose objects are files of this machine, or as good as that. */
const localDrivers: Readonly<Record<string, Setup<DatedStore & FileReader & Pick<LocalUpkeep, "move" | "renew">>>> = {
  filesystem: async (folder) => {
    const pool = new BufferPool();
    const root = join(folder.path, "root");
    const store = await FilesystemStore.open(root, pool);
    return {
      store,
      check: () => {
        assert.equal(pool.lentBytes, 0);
        assert.deepEqual(
          openFilesBelow(root).filter((path) => !path.includes("/lock")),
          [],
        );
      },
    };
  },
  memory: async () => ({ store: new MemoryStore() }),
};

const drivers: Readonly<Record<string, Setup>> = {
  ...localDrivers,
  remote: async () => ({ store: new RemoteStore() }),
  "memory, metered": async () => ({ store: meterStore(new MemoryStore(), () => undefined) }),
  "a bucket": async () => bucketOf(await FakeS3.start(), { checksums: "when_supported" }),
  "a bucket of a strict server": async () =>
    bucketOf(await FakeS3.start({ pageSize: 3, equalParts: true, refusesChecksums: true, conflicts: true })),
};

/** Its parts are small, so that all that is not, is written in parts. */
async function bucketOf(server: FakeS3, options: Partial<S3Options> = {}): Promise<Driven<DatedStore>> {
  return {
    versionsTellBytes: true,
    store: await S3Store.open(server.options({ partSizeBytes: 64 * 1024, maxSockets: 4, ...options })),
    check: async () => {
      assert.equal(server.bucket.uploads.size, 0);
      assert.deepEqual(
        [...server.bucket.objects.keys()].filter((key) => key.includes("/uploads/")),
        [],
      );
      await server[Symbol.asyncDispose]();
    },
  };
}

for (const [name, setup] of Object.entries(drivers)) objectStoreSuite(name, setup);

for (const [name, setup] of Object.entries({
  ...localDrivers,
  "a bucket": async (): Promise<Driven<DatedStore>> => bucketOf(await FakeS3.start()),
})) {
  test(`${name}: an object was written when its clock said so, by a look and by a listing`, async () => {
    await using subject = await setUp<DatedStore>(setup);
    const { store } = subject;
    await store.put(one, Buffer.from("object"));
    const found = await store.head(one);
    // Servers tell whole seconds.
    assert.ok(Math.abs(store.now() - (found?.writtenAt ?? 0)) < 60_000, `${found?.writtenAt}`);
    for await (const listed of store.list("blobs" as Key)) assert.equal(listed.writtenAt, found?.writtenAt);
  });
}

for (const [name, setup] of Object.entries(localDrivers)) {
  describe(`upkeep of files: ${name}`, () => {
    test("an object's last use is a time in whole milliseconds, at least about when it was written", async () => {
      await using subject = await setUp(setup);
      const { store } = subject;
      const files: FileReader = store;
      const before = Date.now();
      await store.put(one, Buffer.from("object"));
      const usedAt = (await files.head(one))?.usedAt ?? 0;
      // A file system's clock ticks some times a second only.
      assert.ok(usedAt >= before - 1_000 && usedAt <= Date.now() + 1_000, `${usedAt}, written at ${before}`);
      assert.ok(Number.isInteger(usedAt));
      await store.move(one, two);
      assert.equal((await files.head(two))?.usedAt, usedAt);
    });

    test("an object that is renewed is another version of the same bytes, and as young as one that is written", async () => {
      await using subject = await setUp(setup);
      const { store } = subject;
      const before = await store.put(one, Buffer.from("object"));
      assert.equal(await store.renew(one), true);
      const renewed = await store.head(one);
      assert.ok(renewed !== undefined && renewed.version !== before);
      await assert.rejects(store.delete(one, { if: before }), PreconditionFailed);
      assert.equal((await read(store, one)).toString(), "object");
      assert.ok(Math.abs(store.now() - renewed.writtenAt) < 60_000, `${renewed.writtenAt}`);
      assert.equal(await store.renew(two), false);
      assert.equal(await store.head(two), undefined);
    });

    test("a move gives an object another key, and replaces what is there", async () => {
      await using subject = await setUp(setup);
      const { store } = subject;
      const elsewhere = "quarantine/sha256/x" as Key;
      await store.put(one, Buffer.from("moved"));
      assert.equal(await store.move(one, elsewhere), true);
      assert.equal(await store.head(one), undefined);
      assert.equal((await read(store, elsewhere)).toString(), "moved");
      await store.put(two, Buffer.from("replaced"));
      const object = await open(store, two);
      assert.equal(await store.move(elsewhere, two), true);
      assert.equal((await read(store, two)).toString(), "moved");
      assert.equal((await collect(object)).toString(), "replaced");
      await object.close();
      assert.deepEqual(await list(store, "blobs"), [two]);
      assert.deepEqual(await list(store, "quarantine"), []);
      assert.equal(await store.move(two, two), true);
      assert.equal((await read(store, two)).toString(), "moved");
    });

    test("what is absent is not moved, and leaves what is at the other key", async () => {
      await using subject = await setUp(setup);
      const { store } = subject;
      await store.put(two, Buffer.from("kept"));
      for (const key of [one, "blobs", "blobs/sha256/00", `${two}/part`]) {
        assert.equal(await store.move(key as Key, two), false, key);
      }
      assert.equal((await read(store, two)).toString(), "kept");
      assert.deepEqual(await list(store, "blobs"), [two]);
    });

    test("of several moves of one object, one succeeds; readers see it whole throughout", async () => {
      await using subject = await setUp(setup);
      const { store } = subject;
      const keys = [one, two, "quarantine/sha256/x" as Key];
      await store.put(two, Buffer.from("the object"));
      for (let round = 0; round < 20; round++) {
        const from = keys[(round + 1) % 3] ?? one;
        const to = keys[(round + 2) % 3] ?? one;
        const moves = Array.from({ length: 3 }, () => store.move(from, to));
        const seen = await Promise.all(
          [from, to].map(async (key) => {
            const object = await store.get(key);
            const bytes = object && (await collect(object)).toString();
            await object?.close();
            return bytes ?? "the object";
          }),
        );
        assert.deepEqual(seen, ["the object", "the object"]);
        assert.equal((await Promise.all(moves)).filter(Boolean).length, 1);
      }
    });
  });
}
