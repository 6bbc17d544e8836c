/*
 * Hosted repositories, driven at random: whatever is pushed, mounted, found by HEAD, deleted, collected and started again
 * in whatever order, also at the same time, what was answered with success and not deleted is there; and what nothing
 * reaches goes when the grace has passed.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Collection } from "../../src/hosted/collect.ts";
import type { HostedInstance } from "../support/hosted-world.ts";
import { openHosted, readRepository } from "../support/hosted-world.ts";
import type { Digest } from "../../src/oci/digest.ts";
import type { Namespace, Tag } from "../../src/oci/reference.ts";
import type { ManifestContent } from "../../src/registry/registry.ts";
import { readWhole } from "../../src/store/read-whole.ts";
import { type DatedStore, StoreError } from "../../src/store/object-store.ts";
import { never } from "../support/event-loop.ts";
import { type Blob, blobOf, imageOf, indexOf, pushOf, referrerOf, repositoryId } from "../support/hosted-content.ts";
import { bucketPlace, folderPlace, type HostedPlace, memoryPlace } from "../support/hosted-stores.ts";
import { chooseSeed } from "../support/random.ts";
import { all } from "../support/s3-store.ts";
import { soaks } from "../support/soak.ts";
import { type StoreCall, SteppedStore } from "../support/stepped-store.ts";

const graceMs = 3_600_000;
const repositories = [repositoryId("team/app"), repositoryId("other")] as const;
const blobs = Array.from({ length: 5 }, (_, index) => blobOf(`blob ${index}`));
const images = [0, 1, 2].map((index) => imageOf([blobAt(index), blobAt(index + 1), blobAt(index + 2)]));
const index = indexOf(images.slice(0, 2));
const nested = indexOf([index, imageAt(2)]);
const signature = referrerOf(imageAt(0), blobAt(4));
const manifests: readonly ManifestContent[] = [
  ...images,
  index,
  nested,
  signature,
  referrerOf(index, blobAt(3)),
  referrerOf(signature, blobAt(0)),
  indexOf([signature], { subject: imageAt(1).descriptor }),
];
const contents = new Map<Digest, ManifestContent | Blob>([
  ...blobs.map((blob): [Digest, Blob] => [blob.digest, blob]),
  ...manifests.map((each): [Digest, ManifestContent] => [each.descriptor.digest, each]),
]);

function blobAt(place: number): Blob {
  return blobs[place % blobs.length] ?? assert.fail();
}

function imageAt(place: number): ManifestContent {
  return images[place] ?? assert.fail();
}

function childrenOf(digest: Digest): readonly Digest[] {
  const content = contents.get(digest);
  return content !== undefined && "parsed" in content ? content.parsed.children.map((child) => child.digest) : [];
}

function subjectOf(digest: Digest): Digest | undefined {
  const content = contents.get(digest);
  return content !== undefined && "parsed" in content ? content.parsed.subject?.digest : undefined;
}

const place = fc.nat(1);
const manifest = fc.nat(manifests.length - 1);
const tag = fc.constantFrom<string[]>("a", "b", "c");
const client = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("push" as const),
      place,
      manifest,
      tag: fc.option(tag, { nil: undefined }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("blob" as const), place, blob: fc.nat(4) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("mount" as const), place, blob: fc.nat(4) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("head" as const), place, manifest }) },
);
const action = fc.oneof(
  { weight: 10, arbitrary: client },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("untag" as const), place, tag }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("delete" as const), place, manifest }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("delete blob" as const), place, blob: fc.nat(4) }) },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("pass" as const), parts: fc.integer({ min: 1, max: 9 }) }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant("collect" as const) }) },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("during" as const),
      acts: fc.array(client, { minLength: 1, maxLength: 4 }),
      collections: fc.integer({ min: 1, max: 2 }),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("crash" as const), writes: fc.nat(12) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("restart" as const) }) },
);
type Client = typeof client extends fc.Arbitrary<infer Value> ? Value : never;
type Action = typeof action extends fc.Arbitrary<infer Value> ? Value : never;

/** When something was written at the earliest, and at the latest, as far as that must be known. */
interface Written {
  low: number;
  high: number;
}

/** What is known of a repository. */
interface Known {
  readonly tags: Map<string, Digest>;
  readonly links: Map<Digest, Written>;
  /** What was deleted, and may be missing of what refers to it. */
  readonly deleted: Set<Digest>;
}

/** A place where things are hosted, and what must be there. */
class Model {
  readonly #place: HostedPlace;
  #instance: HostedInstance;
  #now = 0;
  /** When each content was written or relied upon for the last time. */
  readonly #written = new Map<Digest, number>();
  readonly known: readonly Known[] = repositories.map(() => ({
    tags: new Map(),
    links: new Map(),
    deleted: new Set(),
  }));

  constructor(hostedPlace: HostedPlace) {
    this.#place = hostedPlace;
    this.#instance = this.#open();
  }

  async act(each: Action): Promise<void> {
    switch (each.kind) {
      case "pass":
        this.#now += (each.parts * graceMs) / 8;
        await this.#place.pass((each.parts * graceMs) / 8);
        this.#instance = this.#open();
        break;
      case "restart":
        this.#instance = this.#open();
        break;
      case "collect":
        await this.collect();
        break;
      case "crash":
        await this.#crash(each.writes);
        break;
      case "during": {
        // Where several processes may have the place, the collections are others' than the clients'.
        const collector = this.#place.isShared ? this.#open() : this.#instance;
        const collections = Array.from({ length: each.collections }, () => this.#run(collector));
        const lives = this.known.map((known) => this.#mustBe(known));
        await Promise.all([...each.acts.map((act) => this.#ask(act)), ...collections]);
        await this.#compare(false, lives);
        break;
      }
      case "untag": {
        const { id, known } = this.#at(each.place);
        const isRemoved = await this.#instance.repositories.removeTag(id, each.tag as Tag, () => undefined);
        assert.equal(isRemoved, known.tags.delete(each.tag));
        break;
      }
      case "delete": {
        const { id, known } = this.#at(each.place);
        const { digest } = manifestAt(each.manifest).descriptor;
        const isRemoved = await this.#instance.repositories.removeManifest(id, digest, () => undefined);
        assert.equal(isRemoved, known.links.delete(digest));
        known.deleted.add(digest);
        for (const [name, of] of known.tags) if (of === digest) known.tags.delete(name);
        break;
      }
      case "delete blob": {
        const { id, known } = this.#at(each.place);
        const { digest } = blobAt(each.blob);
        assert.equal(await this.#instance.repositories.removeBlob(id, digest), known.links.delete(digest));
        known.deleted.add(digest);
        break;
      }
      case "push":
      case "blob":
      case "mount":
      case "head":
        await this.#ask(each);
        break;
    }
  }

  async collect(): Promise<void> {
    await this.#run(this.#instance);
    await this.#compare(true);
  }

  /** Removes everything, in the end. */
  async empty(): Promise<void> {
    for (const [index, { tags }] of this.known.entries()) {
      for (const name of tags.keys()) await this.act({ kind: "untag", place: index, tag: name });
    }
    await this.act({ kind: "pass", parts: 16 });
    await this.collect();
    assert.deepEqual(await all(this.#place.bytes.list()), []);
    assert.deepEqual(await all(this.#instance.repositories.list("apps" as Namespace)), []);
  }

  #open(store: DatedStore = this.#place.store): HostedInstance {
    const { isShared, bytes } = this.#place;
    return openHosted(store, { isShared, graceMs, bytes });
  }

  #at(index: number): { readonly id: (typeof repositories)[number]; readonly known: Known } {
    return { id: repositories[index] ?? assert.fail(), known: this.known[index] ?? assert.fail() };
  }

  async #run({ repositories: hosted, bytes }: HostedInstance, store: DatedStore = this.#place.store): Promise<void> {
    const namespaces = [{ namespace: "apps" as Namespace, retention: [], immutableTags: [], expiryMs: graceMs }];
    const options = { store, bytes, repositories: hosted, namespaces, graceMs, isPinned: () => false };
    const collection = new Collection({ ...options, acquire: undefined, monotonic: () => 0 }, { dryRun: false });
    for (const step of ["tags", "links", "content", "uploads"] as const) {
      await collection[step]({ count: () => undefined, note: () => undefined }, never());
    }
  }

  /** A process collects, and ends before it has written so much more. */
  async #crash(writes: number): Promise<void> {
    let left = writes;
    const before = ({ verb }: StoreCall): void => {
      if (verb !== "get" && verb !== "head" && verb !== "list" && left-- <= 0)
        throw new StoreError("it ended", undefined);
    };
    const store = new SteppedStore(this.#place.store, { before });
    await this.#run(this.#open(store), store).catch((error: unknown) => assert.ok(error instanceof StoreError));
    this.#instance = this.#open();
    await this.#compare(false);
  }

  async #ask(each: Client): Promise<void> {
    const { id, known } = this.#at(each.place);
    const hosted = this.#instance.repositories;
    switch (each.kind) {
      case "push": {
        const pushed = manifestAt(each.manifest);
        await this.#pushTree(each.place, pushed);
        await hosted.putManifest(id, pushOf(pushed, ...(each.tag === undefined ? [] : [each.tag])));
        this.#note(known, pushed.descriptor.digest, "written");
        if (each.tag !== undefined) known.tags.set(each.tag, pushed.descriptor.digest);
        break;
      }
      case "blob":
        await this.#pushBlob(each.place, blobAt(each.blob));
        break;
      case "mount": {
        const { digest } = blobAt(each.blob);
        const from = this.#at(1 - each.place);
        if ((await hosted.rely(from.id, digest)) === undefined) break;
        this.#note(from.known, digest, "relied");
        assert.equal(await hosted.mountBlob(id, digest), true);
        this.#note(known, digest, "written");
        break;
      }
      case "head": {
        const { digest } = manifestAt(each.manifest).descriptor;
        if ((await hosted.rely(id, digest)) !== undefined) this.#note(known, digest, "relied");
        break;
      }
    }
  }

  /** Pushes what a manifest refers to, but for what is found by HEAD. */
  async #pushTree(index: number, pushed: ManifestContent): Promise<void> {
    const { id, known } = this.#at(index);
    for (const child of childrenOf(pushed.descriptor.digest)) {
      if ((await this.#instance.repositories.rely(id, child)) !== undefined) {
        this.#note(known, child, "relied");
        continue;
      }
      const content = contents.get(child) ?? assert.fail();
      if ("parsed" in content) {
        await this.#pushTree(index, content);
        await this.#instance.repositories.putManifest(id, pushOf(content));
        this.#note(known, child, "written");
      } else {
        await this.#pushBlob(index, content);
      }
    }
  }

  async #pushBlob(index: number, { digest, bytes }: Blob): Promise<void> {
    const { id, known } = this.#at(index);
    const session = `upload-${Math.random()}`;
    const sent = (async function* () {
      yield bytes;
    })();
    await this.#instance.bytes.append(session, "sha256", {
      bytes: sent,
      sizeBytes: undefined,
      signal: never(),
    });
    assert.equal(await this.#instance.bytes.commit(session, digest), bytes.length);
    assert.equal(await this.#instance.repositories.addBlob(id, digest, bytes.length), true);
    this.#note(known, digest, "written");
  }

  #note(known: Known, digest: Digest, how: "written" | "relied"): void {
    const before = known.links.get(digest)?.low ?? -Infinity;
    const low = how === "written" ? this.#now : Math.max(before, this.#now - graceMs / 2);
    known.links.set(digest, { low, high: this.#now });
    this.#written.set(digest, this.#now);
    if (how === "written") known.deleted.delete(digest);
    for (const child of how === "written" ? childrenOf(digest) : []) {
      if (known.links.has(child)) this.#note(known, child, "relied");
    }
  }

  /** What of a repository must be there: what tags reach, and what was surely written within the grace. */
  #mustBe({ tags, links }: Known, lives?: ReadonlySet<Digest>): Set<Digest> {
    return reached(links, [...tags.values(), ...this.#young(links, "low")], lives);
  }

  #young(links: Known["links"], of: "low" | "high"): Digest[] {
    return [...links].filter(([, written]) => this.#now - written[of] < graceMs).map(([digest]) => digest);
  }

  /**
   * What is there is what must be, and `isDone` nothing else.
   *
   * @param lives What surely was there all the time: others may have been collected, with their referrers, before they
   *   were pushed anew.
   */
  async #compare(isDone: boolean, lives?: readonly ReadonlySet<Digest>[]): Promise<void> {
    const content = new Set<Digest>();
    for (const [index, { tags, links, deleted }] of this.known.entries()) {
      const found = await readRepository(this.#open(), this.#at(index).id);
      assert.deepEqual(found.tags, tags);
      const must = this.#mustBe({ tags, links, deleted }, lives?.[index]);
      const may = reached(links, [...tags.values(), ...this.#young(links, "high")]);
      for (const digest of links.keys()) {
        if (must.has(digest)) assert.ok(found.links.has(digest), `${name(digest)} is gone`);
        if (isDone && !may.has(digest)) assert.ok(!found.links.has(digest), `${name(digest)} is there still`);
        if (!found.links.has(digest)) links.delete(digest);
      }
      for (const digest of found.links.keys()) {
        assert.ok(links.has(digest), `${name(digest)} was never pushed, or was deleted`);
        const object = await this.#place.bytes.open(digest);
        const bytes = object && (await readWhole(object, Infinity));
        assert.deepEqual(bytes, contents.get(digest)?.bytes, `the content of ${name(digest)}`);
        content.add(digest);
        for (const child of childrenOf(digest)) {
          assert.ok(found.links.has(child) || deleted.has(child), `${name(digest)} lacks ${name(child)}`);
        }
      }
      const referring = [...found.links.keys()].filter((digest) => subjectOf(digest) !== undefined);
      // A process that ended may have left more.
      for (const digest of isDone ? found.referrers.keys() : []) assert.ok(referring.includes(digest));
      for (const digest of referring) assert.equal(found.referrers.get(digest), subjectOf(digest));
      assert.ok(found.isNamed || found.links.size === 0);
    }
    const stored = new Set((await all(this.#place.bytes.list())).map(({ digest }) => digest));
    assert.deepEqual(content.difference(stored), new Set());
    if (!isDone) return;
    for (const digest of stored.difference(content)) {
      // What a repository had until it was deleted there is as young as before.
      const age = this.#now - (this.#written.get(digest) ?? assert.fail());
      assert.ok(age < graceMs, `${name(digest)} is stored still`);
    }
  }
}

function manifestAt(place: number): ManifestContent {
  return manifests[place] ?? assert.fail();
}

/** What lives with what is kept, found in the plainest way. */
function reached(
  links: ReadonlyMap<Digest, unknown>,
  roots: readonly Digest[],
  lives: { has(subject: Digest): boolean } = links,
): Set<Digest> {
  const kept = new Set(roots);
  for (let before = -1; before !== kept.size;) {
    before = kept.size;
    for (const digest of links.keys()) {
      const subject = subjectOf(digest);
      if (subject !== undefined && kept.has(subject) && links.has(subject) && lives.has(subject)) kept.add(digest);
      if (kept.has(digest)) for (const child of childrenOf(digest)) kept.add(child);
    }
  }
  return kept;
}

function name(digest: Digest): string {
  return `${[...contents.keys()].indexOf(digest)} (${digest})`;
}

const places: Record<string, { readonly open: () => Promise<HostedPlace>; readonly runs: number }> = {
  "in memory": { open: () => memoryPlace(false), runs: 150 },
  "in memory, by several processes": { open: () => memoryPlace(true), runs: 150 },
  "in a bucket": { open: bucketPlace, runs: 60 },
  "in a folder": { open: folderPlace, runs: 6 },
};
for (const [where, { open, runs }] of Object.entries(places)) {
  test(
    `what is hosted ${where} stays in order under random use`,
    { timeout: 120_000 + (soaks ? 3_600_000 : 0) },
    async (context) => {
      const seed = chooseSeed(context);
      const tally: Record<string, number> = {};
      await fc.assert(
        fc.asyncProperty(fc.array(action, { minLength: 10, maxLength: 40 }), async (actions) => {
          await using hostedPlace = await open();
          const model = new Model(hostedPlace);
          for (const [step, each] of actions.entries()) {
            tally[each.kind] = (tally[each.kind] ?? 0) + 1;
            try {
              await model.act(each);
            } catch (error) {
              throw new Error(`at action ${step}, ${JSON.stringify(each)}`, { cause: error });
            }
          }
          await model.empty();
        }),
        { seed, numRuns: soaks ? runs * 30 : runs, endOnFailure: process.env["HOSTED_MODEL_SHRINK"] === undefined },
      );
      context.diagnostic(JSON.stringify(tally));
    },
  );
}
