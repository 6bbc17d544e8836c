import assert from "node:assert/strict";
import { mkdir, readdir, readFile, utimes, writeFile } from "node:fs/promises";
import { dirname, join, relative } from "node:path";
import { type JobState, type StepCounts } from "../../../src/jobs/job.ts";
import { Jobs } from "../../../src/jobs/jobs.ts";
import { verifySteps } from "../../../src/jobs/verify.ts";
import type { VerifyTools } from "../../../src/jobs/verify-scrub.ts";
import type { Digest } from "../../../src/oci/digest.ts";
import { parseNamespace, parseRepository, parseTag, type Tag } from "../../../src/oci/reference.ts";
import { Content } from "../../../src/registry/content.ts";
import { blobKey, type RepositoryId } from "../../../src/store/layout.ts";
import { FilesystemStore } from "../../../src/store/filesystem.ts";
import { HashPool } from "../../../src/store/hashing.ts";
import { createBooks, type SimpleBooks } from "../../support/books.ts";
import { holdEventLoop } from "../../support/event-loop.ts";
import { type BuiltImage, buildImage, manifestContent, mediaTypes } from "../../support/image.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";

export const id: RepositoryId = { namespace: parseNamespace("docker.io"), repository: parseRepository("library/a") };
export const latest: Tag = parseTag("latest");

/** A store in a folder that holds an image: its manifest, a configuration, two layers, a link to each, and a tag. */
export interface ScrubWorld extends AsyncDisposable {
  readonly root: string;
  readonly image: BuiltImage;
  readonly layer: Digest;
  readonly store: FilesystemStore;
  readonly content: Content;
  readonly books: SimpleBooks;
  readonly jobs: Jobs;
  readonly tools: VerifyTools;
  /** The path of an object, or of anything else below the root. */
  path(key: string): string;
  /** Writes a file as nobody but an enemy or a power failure would. */
  plant(key: string, bytes: string | Uint8Array): Promise<void>;
  /** Makes a file look last written so long ago. */
  age(key: string, ms: number): Promise<void>;
  /** Scrubs an hour from now, so that nothing is too young. */
  scrub(repair: boolean, tools?: Partial<VerifyTools>): Promise<JobState>;
  /** All files and folders, with their bytes. */
  snapshot(): Promise<ReadonlyMap<string, string>>;
}

/** Opens a new world. */
export async function openWorld(): Promise<ScrubWorld> {
  const folder = await createTemporaryDirectory();
  const root = folder.path;
  const hold = holdEventLoop();
  const store = await FilesystemStore.open(root);
  const books = createBooks();
  const content = new Content(store, books, undefined, undefined, store);
  const hashes = new HashPool(1);
  const jobs = new Jobs({ started: () => undefined, stepEnded: () => undefined, ended: () => undefined });
  const tools: VerifyTools = {
    reader: store.caretaker,
    content,
    ledger: undefined,
    hashes,
    files: store,
    now: () => Date.now() + 3_600_000,
  };
  const image = buildImage();
  // By another one, so that what is planted is not hidden by what `content` has in its memory.
  await storeImage(new Content(store, books), store, image);
  const layer = image.platforms[0]?.layers[0];
  assert.ok(layer !== undefined);
  const path = (key: string): string => join(root, key);
  return {
    root,
    image,
    layer,
    store,
    content,
    books,
    jobs,
    tools,
    path,
    async plant(key, bytes) {
      await mkdir(dirname(path(key)), { recursive: true });
      await writeFile(path(key), bytes);
    },
    async age(key, ms) {
      const time = new Date(Date.now() - ms);
      await utimes(path(key), time, time);
    },
    scrub: (repair, other = {}) =>
      jobs.start(
        "verify",
        { dryRun: !repair },
        verifySteps({ ...tools, ...other }, { repair, bytesPerSecond: undefined }),
      ).ended,
    async snapshot() {
      const found = new Map<string, string>();
      for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
        const file = join(entry.parentPath, entry.name);
        if (entry.name.startsWith("lock")) continue;
        found.set(relative(root, file), entry.isDirectory() ? "folder" : await readFile(file, "base64"));
      }
      return found;
    },
    async [Symbol.asyncDispose]() {
      await jobs.close();
      await hashes.close();
      await store.close();
      hold[Symbol.dispose]();
      await folder[Symbol.asyncDispose]();
    },
  };
}

async function storeImage(content: Content, store: FilesystemStore, image: BuiltImage): Promise<void> {
  for (const [digest, bytes] of image.blobs) {
    await store.put(blobKey(digest), bytes);
    await content.addLink(id, digest, { mediaType: mediaTypes.layer, sizeBytes: bytes.length });
  }
  const { digest, mediaType, bytes } = image.root;
  await content.storeManifest(id, manifestContent(bytes, mediaType), []);
  await content.setTag(id, latest, { digest, mediaType, size: bytes.length, checkedAt: 1 });
}

/** The counts of one step. */
export function countsOf(job: JobState, name: string): StepCounts | undefined {
  return job.steps.find((step) => step.name === name)?.counts;
}
