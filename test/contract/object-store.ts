import assert from "node:assert/strict";
import { access, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import fc from "fast-check";
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
import { pseudoRandomBytes } from "../support/content.ts";
import { turn } from "../support/event-loop.ts";
import { stagedAt, stagedFile } from "../support/object-stores.ts";
import { createTemporaryDirectory, type TemporaryDirectory } from "../support/temporary.ts";

/** A store, as a driver sets it up. */
export interface Driven<Store> {
  readonly store: Store;
  /** Run at the end, when nothing may be open any more. */
  readonly check?: () => void | Promise<void>;
  /** Whether two writes of the same bytes may have one version. */
  readonly versionsTellBytes?: boolean;
}

/** A store for one test, and a folder beside it. */
export interface Subject<Store> extends Driven<Store>, AsyncDisposable {
  readonly folder: string;
}

/** How a driver is set up. */
export type Setup<Store = ObjectStore> = (folder: TemporaryDirectory) => Promise<Driven<Store>>;

export const one = "blobs/sha256/00/01" as Key;
export const two = "blobs/sha256/00/02" as Key;

export async function setUp<Store extends ObjectStore>(setup: Setup<Store>): Promise<Subject<Store>> {
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

export async function open(store: ObjectStore, key: Key): Promise<OpenObject> {
  const object = await store.get(key);
  assert.ok(object !== undefined, `${key} is absent`);
  return object;
}

export async function collect(object: OpenObject, span: Span = { start: 0, end: object.sizeBytes }): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of object.read(span)) {
    const copy = Buffer.from(chunk);
    await turn();
    assert.ok(copy.equals(chunk), "a chunk changed before the next one was asked for");
    chunks.push(copy);
  }
  return Buffer.concat(chunks);
}

export async function read(store: ObjectStore, key: Key): Promise<Buffer> {
  const object = await open(store, key);
  try {
    return await collect(object);
  } finally {
    await object.close();
  }
}

export async function list(store: ObjectStore, prefix: string): Promise<string[]> {
  const found: string[] = [];
  for await (const info of store.list(prefix as Key)) {
    // A listing may tell more of an object.
    assert.deepEqual(info, { ...info, ...((await store.head(info.key)) ?? assert.fail(`${info.key} is not there`)) });
    found.push(info.key);
  }
  assert.deepEqual(found, found.toSorted(), "out of order");
  return found;
}

/** What every object store has to do. */
export function objectStoreSuite(name: string, setup: Setup): void {
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
