import { type Offline, openOffline } from "../../src/app/app.ts";
import { type AdoptReport, reportAdoption } from "../../src/jobs/adopt.ts";
import type { JobState } from "../../src/jobs/job.ts";
import { parseNamespace, parseRepository, parseTag } from "../../src/oci/reference.ts";
import { BufferPool } from "../../src/store/buffers.ts";
import { isTagRecord, type TagRecord } from "../../src/store/content-records.ts";
import { FilesystemReader } from "../../src/store/filesystem-reader.ts";
import type { ForeignReader } from "../../src/store/foreign-folder.ts";
import { tagKey } from "../../src/store/layout.ts";
import { readRecord } from "../../src/store/read-record.ts";
import { type EarlierCache, type MemoryReader, readEarlier } from "./earlier-cache.ts";
import { mirrorConfig, type MirrorOptions } from "./mirror.ts";
import { createTemporaryDirectory } from "./temporary.ts";

interface RunOptions {
  readonly dryRun?: boolean;
  /** The upstreams besides docker.io. */
  readonly others?: MirrorOptions["others"];
  /** In place of the world's own. */
  readonly source?: ForeignReader;
  /** Told of each state; it may cancel the job. */
  readonly onState?: (store: Offline, job: JobState) => void;
}

/** A storage into which an earlier cache is adopted, run by run. */
export interface AdoptWorld extends AsyncDisposable {
  readonly root: string;
  readonly cache: EarlierCache;
  readonly source: MemoryReader;
  /** Adopts what is in the cache now. */
  run(options?: RunOptions): Promise<JobState & AdoptReport>;
  tag(repository: string, tag: string): Promise<TagRecord | undefined>;
}

/** Makes an empty one, with an empty cache. */
export async function openAdoptWorld(options: Pick<MirrorOptions, "storage" | "config"> = {}): Promise<AdoptWorld> {
  const folder = await createTemporaryDirectory();
  const root = `${folder.path}/root`;
  const cache: EarlierCache = new Map();
  const source = readEarlier(cache);
  const quay = [{ namespace: "quay.io", host: "quay.invalid" }];
  return {
    root,
    cache,
    source,
    async run({ dryRun = false, others = quay, source: from = source, onState = () => undefined } = {}) {
      const config = mirrorConfig("upstream.invalid", root, { others, ...options });
      const store = await openOffline(config, { version: "0.0.0-test" });
      try {
        let job = store.administration.start({ kind: "adopt", source: from, dryRun });
        for await (const state of store.administration.follow(job.id, new AbortController().signal)) {
          job = state;
          onState(store, state);
        }
        return { ...job, ...reportAdoption(job) };
      } finally {
        await store.close();
      }
    },
    async tag(repository, tag) {
      const reader = new FilesystemReader(root, new BufferPool(), { notesUse: false });
      const [namespace = "", ...name] = repository.split("/");
      const id = { namespace: parseNamespace(namespace), repository: parseRepository(name.join("/")) };
      return readRecord(reader, tagKey(id, parseTag(tag)), isTagRecord);
    },
    [Symbol.asyncDispose]: () => folder[Symbol.asyncDispose](),
  };
}

/** The numbers of a report: adopted, there already, and left, of each sort. */
export function numbersOf({ rows }: AdoptReport): Record<string, unknown> {
  return Object.fromEntries(
    rows.map(({ sort, adopted, alreadyThere, skipped }) => [
      sort,
      [adopted, alreadyThere, Object.fromEntries(skipped)],
    ]),
  );
}
