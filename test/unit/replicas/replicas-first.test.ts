/* What of other replicas' answers counts, and what is asked of the upstream all the same. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { digestOf } from "../../../src/oci/digest.ts";
import { parseNamespace, parseRepository, parseTag } from "../../../src/oci/reference.ts";
import { askReplicasFirst } from "../../../src/replicas/replicas-first.ts";
import type { AnswerForm, SharedBlob, Sharing } from "../../../src/replicas/sharing.ts";
import type { Upstream } from "../../../src/upstream/upstream.ts";
import { never } from "../../support/event-loop.ts";
import { createFakeUpstream, type FakeUpstream } from "../../support/fake-upstream.ts";
import { manifestContent, mediaTypes } from "../../support/image.ts";

const namespace = parseNamespace("docker.io");
const repository = parseRepository("library/test");
const latest = parseTag("latest");
const index = manifestContent(Buffer.from('{"schemaVersion":2,"manifests":[]}'), mediaTypes.index);
const { digest, mediaType } = index.descriptor;
const base64 = index.bytes.toString("base64");
const blob = digestOf(Buffer.from("0123456789"));
const by = { signal: never() };
const second = 1_000;
const now = 1_000_000;

/** Replicas in front of an upstream; another one tells what a test says, where it says something. */
class World {
  readonly behind: FakeUpstream = createFakeUpstream();
  told: unknown;
  waitedMs = 0;
  readonly names: string[] = [];
  readonly blobs: SharedBlob[] = [];
  lastForm: AnswerForm<unknown> | undefined;
  link: { readonly sizeBytes: number } | undefined;
  readonly upstream: Upstream;

  constructor() {
    const sharing: Pick<Sharing, "answer" | "blob"> = {
      answer: async (name, ask, form) => {
        this.names.push(name);
        this.lastForm = form;
        if (this.told === undefined) return ask();
        const told = await form.read(this.told, this.waitedMs);
        return told === undefined ? ask() : told.found;
      },
      blob: async (wanted, ask) => {
        this.blobs.push(wanted);
        return ask();
      },
    };
    this.upstream = askReplicasFirst(this.behind, {
      sharing: sharing as Sharing,
      namespace,
      link: async () => this.link,
      stored: async () => undefined,
      freshMs: 10 * second,
      absentMs: 2 * second,
      now: () => now,
      mayHold: () => true,
    });
  }

  get asked(): number {
    return this.behind.asked.length;
  }
}

test("what another replica tells of a tag stands, with when it was checked, while it is fresh", async () => {
  const world = new World();
  world.told = { ageMs: 9 * second, digest, mediaType, size: 34 };
  const checked = { checkedAt: now - 9 * second, origin: "replica" };
  assert.deepEqual(await world.upstream.resolve(repository, latest, by), { digest, mediaType, size: 34, ...checked });
  world.told = { ageMs: 9 * second, digest };
  assert.deepEqual(await world.upstream.resolve(repository, latest, by), { digest, ...checked });
  world.told = { ageMs: 9 * second, digest, mediaType, bytes: base64 };
  for (const told of [
    await world.upstream.resolve(repository, latest, by),
    await world.upstream.manifest(repository, latest, by),
  ]) {
    assert.deepEqual(told, { ...index, ...checked });
  }
  assert.equal(world.asked, 0);
  assert.deepEqual(
    new Set(world.names),
    new Set(["head", "manifest"].map((kind) => `${kind} docker.io/library/test latest`)),
  );
});

test("what is too old counts where it came as the answer to this question, else not", async () => {
  for (const { ageMs, waitedMs, absent, counts } of [
    { ageMs: 10 * second, waitedMs: 0, absent: false, counts: false },
    { ageMs: 10 * second, waitedMs: 11 * second, absent: false, counts: true },
    { ageMs: second, waitedMs: 0, absent: true, counts: true },
    { ageMs: 2 * second, waitedMs: 0, absent: true, counts: false },
    { ageMs: 2 * second, waitedMs: 2 * second, absent: true, counts: true },
  ]) {
    const world = new World();
    world.told = absent ? { ageMs, absent } : { ageMs, digest, mediaType, size: 34 };
    world.waitedMs = waitedMs;
    const found = await world.upstream.resolve(repository, latest, by);
    assert.equal(world.asked, counts ? 0 : 1, JSON.stringify({ ageMs, waitedMs, absent }));
    if (counts) assert.equal(found === undefined, absent);
  }
});

test("what has a digest is the same for ever, but that it is absent", async () => {
  const world = new World();
  world.told = { ageMs: 1_000 * second, digest, mediaType, bytes: base64 };
  assert.ok((await world.upstream.manifest(repository, digest, by)) !== undefined);
  assert.equal(world.asked, 0);
  world.told = { ageMs: 1_000 * second, absent: true };
  await world.upstream.manifest(repository, digest, by);
  assert.equal(world.asked, 1);
});

test("a manifest that has not its digest is none, nor is what cannot be read", async () => {
  for (const told of [
    { ageMs: 0, digest, mediaType, bytes: Buffer.from(`${index.bytes.toString()} `).toString("base64") },
    { ageMs: 0, digest, mediaType },
    { ageMs: 0, digest: "sha256:x", bytes: base64 },
    { ageMs: 0, digest: digestOf(Buffer.from("no manifest")), bytes: Buffer.from("no manifest").toString("base64") },
    { ageMs: -1, digest, mediaType, bytes: base64 },
    { digest, mediaType, bytes: base64 },
    { ageMs: 0 },
    "nonsense",
    null,
  ]) {
    const world = new World();
    world.told = told;
    await world.upstream.manifest(repository, latest, by);
    assert.equal(world.asked, 1, JSON.stringify(told));
  }
});

test("what is told to others is what they read", async () => {
  const world = new World();
  await world.upstream.manifest(repository, latest, by);
  const form = world.lastForm;
  for (const answer of [undefined, index, { ...index, checkedAt: now - second }]) {
    const { checkedAt, ...told } = form?.write(answer) ?? assert.fail();
    const read = await form?.read({ ...told, ageMs: now - checkedAt }, 0);
    assert.deepEqual(read?.found, answer && { ...index, checkedAt, origin: "replica" });
  }
  assert.equal(form?.freshMs(undefined), 2 * second);
  assert.equal(form?.freshMs(index), 10 * second);
});

test("a blob that this replica does not know to be the repository's is asked of the upstream first", async () => {
  const world = new World();
  assert.equal(await world.upstream.blob(repository, blob, { offset: 0 }, by), undefined);
  assert.deepEqual(world.blobs, []);
  assert.equal(world.asked, 1);
  world.link = { sizeBytes: 10 };
  await world.upstream.blob(repository, blob, { offset: 3 }, by);
  await world.upstream.blob(repository, blob, { offset: 4, sizeBytes: 11 }, by);
  const id = { namespace, repository };
  assert.deepEqual(world.blobs, [
    { id, digest: blob, offset: 3, sizeBytes: 10 },
    { id, digest: blob, offset: 4, sizeBytes: 11 },
  ]);
});
