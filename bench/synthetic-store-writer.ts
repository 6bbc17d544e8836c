/* Writes some of a synthetic store's repositories, in a thread of its own. */
import { closeSync, futimesSync, mkdirSync, openSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { workerData } from "node:worker_threads";
import { blobKey, linkKey, tagKey } from "../src/store/layout.ts";
import { allBaseLayers, describeRepository, tag, usedAt, type WriterData } from "./synthetic-store.ts";

const { root, from, to, repositories } = workerData as WriterData;

function write(key: string, content: Uint8Array | object, usedSeconds: number): void {
  const bytes = content instanceof Uint8Array ? content : Buffer.from(JSON.stringify(content));
  const file = openSync(join(root, key), "w");
  writeSync(file, bytes);
  futimesSync(file, usedSeconds, usedSeconds);
  closeSync(file);
}

if (from === 0) {
  for (const { digest, bytes } of allBaseLayers()) write(blobKey(digest), bytes, usedAt(0, repositories));
}
for (let index = from; index < to; index++) {
  const { id, manifests, blobs, shared } = describeRepository(index);
  const used = usedAt(index, repositories);
  const [first] = manifests;
  for (const key of [linkKey(id, first.digest), tagKey(id, tag)])
    mkdirSync(dirname(join(root, key)), { recursive: true });
  for (const { digest, bytes } of [...blobs, ...manifests]) write(blobKey(digest), bytes, used);
  for (const { digest, mediaType, bytes } of [...shared, ...blobs, ...manifests]) {
    write(linkKey(id, digest), { mediaType, sizeBytes: bytes.length }, used);
  }
  const { digest, mediaType, bytes } = first;
  write(tagKey(id, tag), { digest, mediaType, size: bytes.length, checkedAt: Date.now() }, used);
}
