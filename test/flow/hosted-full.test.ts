/* What becomes of pushes when there is no room: on the disk, at each step of a push, or within `max_size`. */
import assert from "node:assert/strict";
import { readdir, rm } from "node:fs/promises";
import { test } from "node:test";
import { digestOf } from "../../src/oci/digest.ts";
import { pseudoRandomBytes } from "../support/content.ts";
import { until } from "../support/event-loop.ts";
import { failFiles } from "../support/failing-files.ts";
import { codeOf, digestOfDocument, Pusher, startHosted } from "../support/hosted.ts";
import type { WholeResponse } from "../support/http.ts";
import { fillUp, megabyte, mountSmall } from "../support/small-disk.ts";
import { createUpstream } from "../support/upstream.ts";

const bytes = pseudoRandomBytes(3 * megabyte, "full");
const digest = digestOf(bytes);

function assertFull({ status, body }: WholeResponse): void {
  const [error] = (JSON.parse(body.toString()) as { errors: { code: string; message: string }[] }).errors;
  assert.deepEqual([status, error?.code, error?.message], [503, "UNAVAILABLE", "the storage is full"]);
}

test("a disk that is full in the middle of a chunk: what has come of it stays, and it goes on when there is room", async () => {
  await using disk = await mountSmall(12);
  await using mirror = await startHosted({ root: `${disk.path}/root` });
  const pusher = new Pusher(mirror);
  const kept = await pusher.image("kept");
  const filler = `${disk.path}/filler`;
  const location = await pusher.open();
  assert.equal((await pusher.patch(location, bytes.subarray(0, megabyte), 0)).status, 202);
  await fillUp(filler);
  assertFull(await pusher.patch(location, bytes.subarray(megabyte), megabyte));
  assertFull(await pusher.put(await pusher.open(), digest, bytes));
  assertFull(
    await pusher.manifest("other", await pusher.imageDocument("kept", { annotations: { large: "x".repeat(9_000) } })),
  );
  assert.equal(await pusher.digest("kept"), kept);
  assert.deepEqual(await pusher.tags(), ["kept"]);
  await rm(filler);
  // The volume is looked at again within a second.
  await until(async () => {
    const told = Number(String((await pusher.ask(location)).headers.range).slice(2)) + 1;
    assert.ok(told >= megabyte, `${told} bytes`);
    return (await pusher.patch(location, bytes.subarray(told), told)).status === 202;
  });
  assert.equal((await pusher.put(location, digest)).status, 201);
  assert.ok((await pusher.ask(`/blobs/${digest}`)).body.equals(bytes));
});

// A step of a push: what it writes to, below the folder of what is hosted.
for (const step of ["blobs", "repositories/apps/team/web/_links", "names"]) {
  test(`a blob that finds no room at the step ${step} is not promised, and the same request is done when there is room`, async () => {
    await using mirror = await startHosted();
    const pusher = new Pusher(mirror);
    const locations = [await pusher.open(), await pusher.open(), await pusher.open()] as const;
    const requests = [
      () => pusher.put(locations[0], digestOf(Buffer.from("whole")), Buffer.from("whole")),
      () => pusher.put(locations[1], digestOf(Buffer.from("streamed"))),
      () =>
        pusher.put(locations[2], digestOf(bytes), bytes.subarray(megabyte), {
          "content-range": `${megabyte}-${bytes.length - 1}`,
        }),
    ];
    await pusher.patch(locations[1], Buffer.from("streamed"));
    await pusher.patch(locations[2], bytes.subarray(0, megabyte));
    {
      using _ = failFiles(`${mirror.root}/hosted/${step}`, "ENOSPC", ["write"]);
      for (const ask of requests) assertFull(await ask());
    }
    for (const content of [Buffer.from("whole"), Buffer.from("streamed"), bytes]) {
      assert.equal((await pusher.ask(`/blobs/${digestOf(content)}`)).status, 404);
    }
    const [whole, streamed, chunked] = requests;
    assert.equal((await whole?.())?.status, 201);
    assert.equal((await streamed?.())?.status, 201);
    // Its last chunk has come.
    assert.equal((await chunked?.())?.status, step === "blobs" ? 416 : 201);
    assert.equal((await pusher.put(locations[2], digest)).status, 201);
    for (const content of [Buffer.from("whole"), Buffer.from("streamed"), bytes]) {
      assert.ok((await pusher.ask(`/blobs/${digestOf(content)}`)).body.equals(content));
    }
    assert.deepEqual(await readdir(`${mirror.root}/hosted/uploads`), []);
  });
}

for (const step of [
  "blobs",
  "repositories/apps/team/web/_links",
  "repositories/apps/team/web/_referrers",
  "repositories/apps/team/web/_tags",
]) {
  test(`a manifest that finds no room at the step ${step} leaves its tag as it was, and is there when there is room`, async () => {
    await using mirror = await startHosted();
    const pusher = new Pusher(mirror);
    const before = await pusher.image("tag");
    const subject = { mediaType: "application/vnd.oci.image.manifest.v1+json", digest: before, size: 1 };
    const document = await pusher.imageDocument("other", { subject });
    {
      using _ = failFiles(`${mirror.root}/hosted/${step}`, "ENOSPC", ["write"]);
      assertFull(await pusher.manifest("tag", document));
      assert.equal(await pusher.digest("tag"), before);
    }
    const pushed = await pusher.manifest("tag", document);
    assert.deepEqual([pushed.status, pushed.headers["oci-subject"]], [201, before]);
    assert.equal(await pusher.digest("tag"), digestOfDocument(document));
    assert.deepEqual(
      (await pusher.referrers(before)).map((each) => each.digest),
      [digestOfDocument(document)],
    );
  });
}

test("within max_size what is cached goes for what is pushed, and what does not fit is refused and leaves nothing", async () => {
  await using upstream = await createUpstream();
  const maxSize = { kind: "bytes", bytes: 14 * megabyte } as const;
  await using mirror = await startHosted({ storage: { maxSize }, graceMs: 0 }, upstream.host);
  await mirror.logged({ msg: "the ledger is in line with the storage" });
  const cached = Array.from({ length: 12 }, (_, index) => upstream.addLargeBlob(megabyte, index));
  for (const each of cached) assert.equal((await mirror.get(`/v2/library/a/blobs/${each}`)).status, 200);
  await mirror.app.idle();
  const pusher = new Pusher(mirror);
  const large = Array.from({ length: 4 }, (_, index) => pseudoRandomBytes(3 * megabyte, `large ${index}`));
  for (const each of large) await pusher.blob(each);
  assert.ok((await mirror.metric("entrepot_evictions_total", { kind: "link" })) > 0);
  const whole = await pusher.put(await pusher.open(), digest, bytes);
  assertFull(whole);
  const location = await pusher.open();
  const patched = await pusher.patch(location, pseudoRandomBytes(5 * megabyte, "patched"));
  assertFull(patched);
  assert.equal((await pusher.ask(location, { method: "DELETE" })).status, 204);
  // Its room was given back: as much fits as before.
  const rest = pseudoRandomBytes(megabyte, "rest");
  await pusher.blob(rest);
  for (const each of [...large, rest]) assert.ok((await pusher.ask(`/blobs/${digestOf(each)}`)).body.equals(each));
  assert.equal(await mirror.metric("entrepot_storage_bytes", { kind: "reserved" }), 0);
});

test("a quota that is full does not refuse what is there already", async () => {
  await using mirror = await startHosted({ hosted: { quotaBytes: 3_000 } });
  const pusher = new Pusher(mirror);
  const document = await pusher.imageDocument("small");
  assert.equal((await pusher.manifest("1", document)).status, 201);
  const content = pseudoRandomBytes(1_800, "content");
  const location = await pusher.open();
  for (let time = 0; time < 2; time++)
    assert.equal((await pusher.put(location, digestOf(content), content)).status, 201);
  assert.equal((await pusher.manifest("2", document)).status, 201);
  const refused = await pusher.put(await pusher.open(), digestOf(bytes), bytes);
  assert.deepEqual([refused.status, codeOf(refused)], [403, "DENIED"]);
});
