import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { BucketBytes } from "../../src/hosted/bucket-bytes.ts";
import { FolderBytes } from "../../src/hosted/folder-bytes.ts";
import { HostedFiles } from "../../src/hosted/hosted-files.ts";
import { BufferPool } from "../../src/store/buffers.ts";
import { FilesystemStore } from "../../src/store/filesystem.ts";
import { HashPool } from "../../src/store/hashing.ts";
import { hostedPrefix } from "../../src/store/hosted-layout.ts";
import { MemoryStore } from "../../src/store/memory.ts";
import { StoreError } from "../../src/store/object-store.ts";
import { endlessSpace } from "../support/books.ts";
import { MemoryBucket } from "../support/bucket.ts";
import { until } from "../support/event-loop.ts";
import { MemoryBytes } from "../support/memory-bytes.ts";
import { openFilesBelow } from "../support/open-files.ts";
import { all } from "../support/s3-store.ts";
import { type StoreCall, SteppedStore } from "../support/stepped-store.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";
import { type BytesSetup, hostedBytesSuite } from "./hosted-bytes.ts";

const folderSetup: BytesSetup = async () => {
  const folder = await createTemporaryDirectory();
  const pool = new BufferPool();
  const store = await FilesystemStore.open(folder.path, pool);
  const hashes = new HashPool(1);
  let isFull = false;
  let reservedBytes = 0;
  const files = new HostedFiles(store, {
    acquire: async (namespace, bytes) => {
      if (isFull) return undefined;
      const room = await endlessSpace.acquire(namespace, bytes);
      reservedBytes += bytes;
      return room && { ...room, bytes, release: () => (reservedBytes -= bytes) };
    },
  });
  await files.count();
  return {
    driver: () => new FolderBytes({ files, hashes, pool }),
    keys: async () => (await all(files.list(hostedPrefix))).map(({ key }) => key),
    fill() {
      isFull = true;
      return { [Symbol.dispose]: () => (isFull = false) };
    },
    async [Symbol.asyncDispose]() {
      assert.equal(pool.lentBytes, 0);
      assert.equal(reservedBytes, 0);
      assert.equal(files.bytes, 0);
      assert.deepEqual(await readdir(store.temporaryPath), []);
      // A thread closes what it has read to when it hears that no more is wanted.
      await until(() => openFilesBelow(folder.path).every((path) => path.includes("/lock")));
      await hashes.close();
      await files.close();
      await store.close();
      await folder[Symbol.asyncDispose]();
    },
  };
};

const memorySetup: BytesSetup = async () => {
  const memory = new MemoryStore();
  let isFull = false;
  const before = ({ verb }: StoreCall): void => {
    if (isFull && verb === "put") throw new StoreError("it is full", undefined);
  };
  return {
    driver: () => new MemoryBytes(new SteppedStore(memory, { before })),
    keys: async () => (await all(memory.list(hostedPrefix))).map(({ key }) => key),
    fill() {
      isFull = true;
      return { [Symbol.dispose]: () => (isFull = false) };
    },
    [Symbol.asyncDispose]: () => memory.close(),
  };
};

const bucketSetup: BytesSetup = async () => {
  const store = new MemoryBucket();
  const hashes = new HashPool(1);
  return {
    driver: () => new BucketBytes({ store, hashes }),
    keys: async () => (await all(store.list(hostedPrefix))).map(({ key }) => key),
    fill() {
      store.failure = new StoreError("the bucket is full", undefined);
      return { [Symbol.dispose]: () => (store.failure = undefined) };
    },
    async [Symbol.asyncDispose]() {
      assert.equal(store.open, 0);
      await hashes.close();
    },
  };
};

hostedBytesSuite("a folder", folderSetup);
hostedBytesSuite("memory, for tests", memorySetup);
hostedBytesSuite("a bucket in memory", bucketSetup);
