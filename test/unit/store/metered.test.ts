import assert from "node:assert/strict";
import { test } from "node:test";
import { MemoryStore } from "../../../src/store/memory.ts";
import { meterMoves, meterStore } from "../../../src/store/metered.ts";
import { type Key, type ObjectStore, StoreError, type Version } from "../../../src/store/object-store.ts";

const key = "blobs/a" as Key;

/** A store that fails in everything; `get` gives an object whose bytes cannot be read when `opens` is set. */
function failing(error: Error, opens = false): ObjectStore {
  const fail = (): Promise<never> => Promise.reject(error);
  return {
    head: fail,
    get: opens
      ? async () => ({
          sizeBytes: 10,
          version: "1" as Version,
          async *read() {
            yield Buffer.from("first");
            throw error;
          },
          close: async () => undefined,
        })
      : fail,
    put: fail,
    delete: fail,
    list: () => assert.fail("nothing is listed here"),
    close: async () => undefined,
  };
}

test("each failed operation is told once, with its name, and thrown", async () => {
  const error = new StoreError("the disk failed", Object.assign(new Error("io"), { code: "EIO" }));
  const told: unknown[] = [];
  const tell = (operation: string, failure: StoreError): unknown => told.push([operation, failure.code]);
  const store = meterStore(failing(error), tell);
  await assert.rejects(store.head(key), error);
  await assert.rejects(store.get(key), error);
  await assert.rejects(store.put(key, Buffer.from("")), error);
  const moves = meterMoves({ caretaker: new MemoryStore(), move: () => Promise.reject(error) }, tell);
  await assert.rejects(moves.move(key, key), error);
  await assert.rejects(store.delete(key), error);
  assert.deepEqual(told, [
    ["head", "EIO"],
    ["get", "EIO"],
    ["put", "EIO"],
    ["move", "EIO"],
    ["delete", "EIO"],
  ]);
});

test("a read that fails midway is told, after its bytes", async () => {
  const error = new StoreError("the disk failed", undefined);
  const told: unknown[] = [];
  const store = meterStore(failing(error, true), (operation, failure) => told.push([operation, failure]));
  const object = await store.get(key);
  let seen = "";
  await assert.rejects(async () => {
    for await (const chunk of object?.read({ start: 0, end: 10 }) ?? []) seen += Buffer.from(chunk).toString();
  }, error);
  assert.equal(seen, "first");
  assert.deepEqual(told, [["read", error]]);
});

test("what succeeds, what is absent and what is not the store's failure are not told", async () => {
  const told: unknown[] = [];
  const objects = new MemoryStore();
  const memory = meterStore(objects, (operation) => told.push(operation));
  const { move } = meterMoves(objects, (operation) => told.push(operation));
  await memory.put(key, Buffer.from("x"));
  assert.equal((await memory.head(key))?.sizeBytes, 1);
  assert.equal(await memory.get("blobs/b" as Key), undefined);
  assert.equal(await move(key, "blobs/c" as Key), true);
  assert.equal(await move(key, "blobs/c" as Key), false);
  await memory.delete("blobs/c" as Key);
  const broken = meterStore(failing(new TypeError("a bug")), (operation) => told.push(operation));
  await assert.rejects(broken.head(key), TypeError);
  assert.deepEqual(told, []);
});

test("everything is passed on as it was asked", async () => {
  const asked: unknown[][] = [];
  const note =
    (what: string) =>
    async (...parameters: unknown[]): Promise<never> => {
      asked.push([what, ...parameters]);
      return undefined as never;
    };
  const store = meterStore(
    {
      head: note("head"),
      get: note("get"),
      put: note("put"),
      delete: note("delete"),
      list: (...parameters) => {
        asked.push(["list", ...parameters]);
        return new MemoryStore().list(key);
      },
      close: note("close"),
    },
    () => assert.fail("nothing fails here"),
  );
  const bytes = Buffer.from("bytes");
  const options = { durable: false };
  const condition = { if: "1" as Version };
  const listing = { onUnreadable: (): void => undefined };
  await store.head(key);
  await store.get(key);
  await store.put(key, bytes, options);
  await store.delete(key, condition);
  for await (const info of store.list(key, listing)) assert.fail(info.key);
  await store.close();
  assert.deepEqual(asked, [
    ["head", key],
    ["get", key],
    ["put", key, bytes, options],
    ["delete", key, condition],
    ["list", key, listing],
    ["close"],
  ]);
});
