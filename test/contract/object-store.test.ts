import assert from "node:assert/strict";
import { access, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import fc from "fast-check";
import { BufferPool } from "../../src/store/buffers.ts";
import { FilesystemStore } from "../../src/store/filesystem.ts";
import { MemoryStore } from "../../src/store/memory.ts";
import { meterStore } from "../../src/store/metered.ts";
import type { FileReader, LocalUpkeep } from "../../src/store/local-upkeep.ts";
import {
  type Condition,
  type Key,
  type ObjectStore,
  type OpenObject,
  PreconditionFailed,
  type Span,
  StoreError,
  type Version,
} from "../../src/store/object-store.ts";
import { S3Store } from "../../src/store/s3.ts";
import type { S3Options } from "../../src/store/s3-options.ts";
import { pseudoRandomBytes } from "../support/content.ts";
import { turn } from "../support/event-loop.ts";
import { FakeS3 } from "../support/fake-s3.ts";
import { RemoteStore, stagedAt, stagedFile } from "../support/object-stores.ts";
import { openFilesBelow } from "../support/open-files.ts";
import { createTemporaryDirectory, type TemporaryDirectory } from "../support/temporary.ts";

/** A store, as a driver sets it up. */
interface Driven<Store> {
  readonly store: Store;
  /** Run at the end, when nothing may be open any more. */
  readonly check?: () => void | Promise<void>;
  /** Whether two writes of the same bytes may have one version. */
  readonly versionsTellBytes?: boolean;
}

/** A store for one test, and a folder beside it. */
interface Subject<Store> extends Driven<Store>, AsyncDisposable {
  readonly folder: string;
}

/** How a driver is set up. */
type Setup<Store = ObjectStore> = (folder: TemporaryDirectory) => Promise<Driven<Store>>;

/** Those whose objects are files of this machine, or as good as that. */
const localDrivers: Readonly<Record<string, Setup<ObjectStore & FileReader & Pick<LocalUpkeep, "move">>>> = {
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
async function bucketOf(server: FakeS3, options: Partial<S3Options> = {}): Promise<Driven<ObjectStore>> {
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

const one = "blobs/sha256/00/01" as Key;
const two = "blobs/sha256/00/02" as Key;

async function setUp<Store extends ObjectStore>(setup: Setup<Store>): Promise<Subject<Store>> {
  const folder = await createTemporaryDirectory();
  const driven = await setup(folder);
  return {
    ...driven,
    folder: folder.path,
    async [Symbol.asyncDispose]() {
      await driven.check?.();
      await driven.store.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}

async function open(store: ObjectStore, key: Key): Promise<OpenObject> {
  const object = await store.get(key);
  assert.ok(object !== undefined, `${key} is absent`);
  return object;
}

async function collect(object: OpenObject, span: Span = { start: 0, end: object.sizeBytes }): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of object.read(span)) {
    const copy = Buffer.from(chunk);
    await turn();
    assert.ok(copy.equals(chunk), "a chunk changed before the next one was asked for");
    chunks.push(copy);
  }
  return Buffer.concat(chunks);
}

async function read(store: ObjectStore, key: Key): Promise<Buffer> {
  const object = await open(store, key);
  try {
    return await collect(object);
  } finally {
    await object.close();
  }
}

async function list(store: ObjectStore, prefix: string): Promise<string[]> {
  const found: string[] = [];
  for await (const info of store.list(prefix as Key)) {
    assert.deepEqual(info, await store.head(info.key));
    found.push(info.key);
  }
  assert.deepEqual(found, found.toSorted(), "out of order");
  return found;
}

for (const [name, setup] of Object.entries(drivers)) {
  describe(`object store: ${name}`, () => {
    test("what is not there is absent, and may be deleted", async () => {
      await using subject = await setUp(setup);
      const { store } = subject;
      assert.equal(await store.head(one), undefined);
      assert.equal(await store.get(one), undefined);
      assert.deepEqual(await list(store, "blobs"), []);
      await store.delete(one);
      await store.put(one, Buffer.from("object"));
      for (const key of ["blobs", "blobs/sha256/00", `${one}/part`]) {
        assert.equal(await store.head(key as Key), undefined, key);
        assert.equal(await store.get(key as Key), undefined, key);
        await store.delete(key as Key);
      }
      assert.equal((await read(store, one)).toString(), "object");
    });

    test("bytes are stored as they were when they were given", async () => {
      await using subject = await setUp(setup);
      const { store } = subject;
      const bytes = Buffer.from("exact bytes");
      await store.put(one, bytes);
      bytes.fill(0);
      const { key, sizeBytes } = (await store.head(one)) ?? {};
      assert.deepEqual({ key, sizeBytes }, { key: one, sizeBytes: 11 });
      assert.equal(
        await open(store, one).then(async (object) => {
          await object.close();
          return object.sizeBytes;
        }),
        11,
      );
      assert.equal((await read(store, one)).toString(), "exact bytes");
      await store.put(two, Buffer.from("not durable"), { durable: false });
      assert.equal((await read(store, two)).toString(), "not durable");
    });

    test("an empty object is there and yields nothing", async () => {
      await using subject = await setUp(setup);
      await subject.store.put(one, new Uint8Array(0));
      assert.equal((await subject.store.head(one))?.sizeBytes, 0);
      assert.equal((await read(subject.store, one)).length, 0);
    });

    test("a staged file is stored, and can be read until its owner gives it up", async () => {
      await using subject = await setUp(setup);
      const { store, folder } = subject;
      const path = join(folder, "finished");
      await writeFile(path, "the content");
      const staged = await stagedFile(path);
      const opened = await staged.open();
      await store.put(one, staged);
      await store.put(
        two,
        { ...staged, open: async () => ({ ...opened, close: async () => undefined }) },
        { durable: false },
      );
      for (const key of [one, two]) assert.equal((await read(store, key)).toString(), "the content");
      assert.equal((await collect(opened)).toString(), "the content");
      await opened.close();
    });

    test("each write of an object has a version of its own, which all ways to it tell", async () => {
      await using subject = await setUp(setup);
      const { store } = subject;
      const versions = new Set<Version>();
      for (const text of ["same", "same", "other"]) {
        const version = await store.put(one, Buffer.from(text));
        versions.add(version);
        assert.equal((await store.head(one))?.version, version);
        const object = await open(store, one);
        assert.equal(object.version, version);
        await object.close();
        await list(store, "blobs");
      }
      assert.equal(versions.size, subject.versionsTellBytes === true ? 2 : 3);
    });

    test("a write with a condition is done where it holds, and changes nothing where it does not", async () => {
      await using subject = await setUp(setup);
      const { store } = subject;
      const refused = { name: "PreconditionFailed" };
      const first = await store.put(one, Buffer.from("first"), { if: "absent" });
      await assert.rejects(store.put(one, Buffer.from("again"), { if: "absent" }), refused);
      const second = await store.put(one, Buffer.from("second"), { if: first });
      await assert.rejects(store.put(one, Buffer.from("late"), { if: first }), refused);
      await assert.rejects(store.delete(one, { if: first }), refused);
      await assert.rejects(store.put(two, Buffer.from("nothing there"), { if: first }), refused);
      await assert.rejects(store.delete(two, { if: first }), refused);
      assert.equal((await read(store, one)).toString(), "second");
      assert.deepEqual(await list(store, "blobs"), [one]);
      await store.delete(one, { if: second });
      assert.equal(await store.head(one), undefined);
    });

    test("of writes with one condition one is done, also among others", async () => {
      await using subject = await setUp(setup);
      const { store } = subject;
      let version: Condition = "absent";
      for (let round = 0; round < 20; round++) {
        const done: string[] = [];
        const races = Array.from({ length: 4 }, async (_, index) => {
          const text = `round ${round}, ${index}`;
          try {
            version = await store.put(one, Buffer.from(text), { if: version });
            done.push(text);
          } catch (error) {
            assert.ok(error instanceof PreconditionFailed);
          }
        });
        await Promise.all(races);
        assert.deepEqual(done, [(await read(store, one)).toString()]);
      }
      const [removed, written] = await Promise.allSettled([
        store.delete(one, { if: version as Version }),
        store.put(one, Buffer.from("last"), { if: version }),
      ]);
      assert.notEqual(removed.status, written.status);
      assert.equal(await store.head(one).then((info) => info !== undefined), written.status === "fulfilled");
    });

    test("a span gives exactly its bytes, from any place to any other", async () => {
      await using subject = await setUp(setup);
      const { store } = subject;
      const size = 3 * 1024 * 1024 + 12_345;
      const bytes = pseudoRandomBytes(size, "object");
      await store.put(one, bytes);
      const object = await open(store, one);
      const position = fc.oneof(
        fc.nat({ max: size }),
        fc.constantFrom(0, 1, 65_535, 65_536, 65_537, 1_048_576, 2_097_152, size - 1, size),
      );
      await fc.assert(
        fc.asyncProperty(position, position, async (first, second) => {
          const span = { start: Math.min(first, second), end: Math.max(first, second) };
          assert.ok((await collect(object, span)).equals(bytes.subarray(span.start, span.end)));
        }),
        { numRuns: 30 },
      );
      await object.close();
    });

    test("readers of one object do not disturb each other, and may leave early", async () => {
      await using subject = await setUp(setup);
      const { store } = subject;
      const bytes = pseudoRandomBytes(2 * 1024 * 1024, "shared");
      await store.put(one, bytes);
      const object = await open(store, one);
      const leave = async (): Promise<void> => {
        for await (const chunk of object.read({ start: 0, end: bytes.length })) {
          if (chunk.length > 0) return;
        }
      };
      const whole = Array.from({ length: 8 }, async () => assert.ok((await collect(object)).equals(bytes)));
      await Promise.all([...whole, ...Array.from({ length: 8 }, leave)]);
      await object.close();
    });

    test("what is open stays readable when it is replaced or deleted", async () => {
      await using subject = await setUp(setup);
      const { store } = subject;
      await store.put(one, Buffer.from("the old one"));
      const object = await open(store, one);
      await store.put(one, Buffer.from("a new one"));
      assert.equal((await collect(object)).toString(), "the old one");
      assert.equal((await read(store, one)).toString(), "a new one");
      await store.delete(one);
      assert.equal((await collect(object)).toString(), "the old one");
      await object.close();
      assert.equal(await store.head(one), undefined);
      assert.equal(await store.get(one), undefined);
    });

    test("readers see an old object or a new one whole, whoever writes", async () => {
      await using subject = await setUp(setup);
      const { store } = subject;
      const versions = [11, 200_000, 70_000, 1].map((size, index) => Buffer.alloc(size, index + 65));
      const [first = Buffer.alloc(0)] = versions;
      await store.put(one, first);
      let writing = true;
      const readers = Array.from({ length: 4 }, async () => {
        let count = 0;
        while (writing) {
          const seen = await read(store, one);
          assert.ok(
            versions.some((version) => version.equals(seen)),
            `${seen.length} bytes that nobody wrote`,
          );
          count++;
        }
        return count;
      });
      for (let round = 0; round < 10; round++) {
        await Promise.all(versions.map((version) => store.put(one, version, { durable: false })));
      }
      writing = false;
      assert.ok((await Promise.all(readers)).every((count) => count > 0));
      assert.deepEqual(await list(store, "blobs"), [one]);
    });

    test("a put that fails throws StoreError, and leaves what was there", async () => {
      await using subject = await setUp(setup);
      const { store, folder } = subject;
      const missing = stagedAt(join(folder, "missing"), 3);
      await assert.rejects(store.put(one, missing), StoreError);
      assert.equal(await store.head(one), undefined);
      await store.put(one, Buffer.from("kept"));
      await assert.rejects(store.put(one, missing), (error: unknown) => {
        assert.ok(error instanceof StoreError);
        assert.equal(error.code, "ENOENT");
        return true;
      });
      assert.equal((await read(store, one)).toString(), "kept");
      assert.deepEqual(await list(store, "blobs"), [one]);
    });

    test("list goes by whole parts, at any depth", async () => {
      await using subject = await setUp(setup);
      const { store } = subject;
      const keys = ["a/b/c", "a/b/d/e", "a/bc", "a/b.c", "ab/c", "a/b/_x/y"];
      for (const key of keys) await store.put(key as Key, Buffer.from(key));
      assert.deepEqual(await list(store, "a/b"), ["a/b/_x/y", "a/b/c", "a/b/d/e"]);
      assert.deepEqual(await list(store, "a"), ["a/b.c", "a/b/_x/y", "a/b/c", "a/b/d/e", "a/bc"]);
      assert.deepEqual(await list(store, "a/b/d"), ["a/b/d/e"]);
      assert.deepEqual(await list(store, "a/b/c"), [], "an object has nothing below it");
      assert.deepEqual(await list(store, "none"), []);
      await store.delete("a/b/c" as Key);
      assert.deepEqual(await list(store, "a/b"), ["a/b/_x/y", "a/b/d/e"]);
      for await (const found of store.list("a" as Key)) {
        assert.ok(found.sizeBytes > 0);
        break;
      }
    });

    test("a listing is in the order of the keys, and goes on behind any", async () => {
      await using subject = await setUp(setup);
      const { store } = subject;
      const part = fc.constantFrom("a", "a-b", "a.b", "a0", "ab", "b", "A", "_a");
      const shape = fc.uniqueArray(fc.array(part, { minLength: 2, maxLength: 3 }), { maxLength: 12, selector: String });
      await fc.assert(
        fc.asyncProperty(shape, part, async (paths, stranger) => {
          // What lies below another object cannot be there in a folder.
          const keys = paths
            .map((path) => `p/${path.join("/")}`)
            .filter((key, _, all) => !all.some((other) => key.startsWith(`${other}/`)));
          for (const key of keys) await store.put(key as Key, Buffer.from(key), { durable: false });
          const sorted = keys.toSorted();
          assert.deepEqual(await list(store, "p"), sorted);
          for (const after of [...keys, `p/${stranger}`, `p/${stranger}/a/z`, "o", "p", "q"]) {
            const found: Key[] = [];
            for await (const { key } of store.list("p" as Key, { after: after as Key })) found.push(key);
            assert.deepEqual(
              found,
              sorted.filter((key) => key > after),
              `after ${after}`,
            );
          }
          for (const key of keys) await store.delete(key as Key);
        }),
        { numRuns: 30 },
      );
    });

    test("a source that is a file elsewhere may be as large as it likes", async () => {
      await using subject = await setUp(setup);
      const { store, folder } = subject;
      const bytes = pseudoRandomBytes(1_500_000, "file");
      const path = join(folder, "large");
      await writeFile(path, bytes);
      await store.put(one, await stagedFile(path));
      assert.ok((await read(store, one)).equals(bytes));
      await access(path);
    });
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
