/* Several requests for one upload, blob or tag, at once and after one another, as clients that lose connections send them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { digestOf } from "../../src/oci/digest.ts";
import { pseudoRandomBytes } from "../support/content.ts";
import { until } from "../support/event-loop.ts";
import { codeOf, Pusher, startHosted } from "../support/hosted.ts";
import type { WholeResponse } from "../support/http.ts";
import type { Mirror } from "../support/mirror.ts";
import { Sending } from "../support/sending.ts";

const bytes = pseudoRandomBytes(300_000, "races");
const digest = digestOf(bytes);

/** Begins a request with a body of `bytes`, of which so many come; resolves when they are stored. */
async function begin(mirror: Mirror, location: string, method: "PATCH" | "PUT", sent: number): Promise<Sending> {
  const pusher = new Pusher(mirror);
  const path = method === "PUT" ? `${location}?digest=${digest}` : location;
  const sending = new Sending(mirror.url, path, method, { "content-length": bytes.length });
  await sending.send(bytes.subarray(0, sent));
  await until(async () => (await pusher.ask(location)).headers.range === `0-${sent - 1}`);
  return sending;
}

function statuses(answers: readonly WholeResponse[]): number[] {
  return answers.map(({ status }) => status).toSorted((a, b) => a - b);
}

test("one PUT that comes twice at once is a blob, and told so to one at least; again it is 201", async () => {
  await using mirror = await startHosted();
  const pusher = new Pusher(mirror);
  for (let round = 0; round < 20; round++) {
    const content = pseudoRandomBytes(1 + round * 10_000, `twice ${round}`);
    const location = await pusher.open();
    const put = (): Promise<WholeResponse> => pusher.put(location, digestOf(content), content);
    const answers = await Promise.all([put(), put()]);
    assert.equal(statuses(answers)[0], 201, String(answers.map(({ status, body }) => `${status} ${body.toString()}`)));
    assert.equal((await put()).status, 201);
    assert.ok((await pusher.ask(`/blobs/${digestOf(content)}`)).body.equals(content));
  }
});

test("a PUT that was broken off is repeated whole, also before the server knows that it was", async () => {
  await using mirror = await startHosted();
  const pusher = new Pusher(mirror);
  for (const isKnown of [true, false]) {
    const location = await pusher.open();
    using first = await begin(mirror, location, "PUT", 100_000);
    if (isKnown) {
      first.break();
      await mirror.logged({ method: "PUT", status: 0 });
    }
    assert.equal((await pusher.put(location, digest, bytes)).status, 201, `known: ${isKnown}`);
    assert.ok((await pusher.ask(`/blobs/${digest}`)).body.equals(bytes));
    assert.equal((await pusher.ask(`/blobs/${digest}`, { method: "DELETE" })).status, 202);
  }
});

test("a PUT whose connection breaks after the last byte is a blob all the same, and 201 when it is repeated", async () => {
  await using mirror = await startHosted();
  const pusher = new Pusher(mirror);
  const location = await pusher.open();
  const put = new Sending(mirror.url, `${location}?digest=${digest}`, "PUT", { "content-length": bytes.length });
  await put.send(bytes);
  put.break();
  assert.equal((await pusher.put(location, digest, bytes)).status, 201);
  assert.ok((await pusher.ask(`/blobs/${digest}`)).body.equals(bytes));
});

test("a PATCH that is cut again and again goes on where it was, until the blob is there", async () => {
  await using mirror = await startHosted();
  const pusher = new Pusher(mirror);
  const location = await pusher.open();
  let received = 0;
  for (let round = 1; received < bytes.length; round++) {
    const rest = bytes.subarray(received);
    const range = { "content-range": `${received}-${bytes.length - 1}`, "content-length": rest.length };
    using patch = new Sending(mirror.url, location, "PATCH", range);
    await patch.send(rest.subarray(0, 1 + round * 7_000));
    // Not all of it needs to have come.
    patch.break();
    const state = await pusher.ask(location);
    assert.equal(state.status, 204);
    const told = Number(String(state.headers.range).slice(2)) + 1;
    // Of nothing at all it is said as of one byte.
    if (told === 1) continue;
    assert.ok(told >= received, `${told} after ${received}`);
    received = told;
  }
  assert.equal((await pusher.put(location, digest)).status, 201);
  assert.ok((await pusher.ask(`/blobs/${digest}`)).body.equals(bytes));
});

test("of chunks for one place that come at once one is stored, and the others are told where to go on", async () => {
  await using mirror = await startHosted();
  const pusher = new Pusher(mirror);
  for (let round = 0; round < 20; round++) {
    const location = await pusher.open();
    const chunk = bytes.subarray(0, 50_000);
    const answers = await Promise.all(Array.from({ length: 4 }, () => pusher.patch(location, chunk, 0)));
    const codes = answers.filter(({ status }) => status !== 202).map((answer) => `${answer.status} ${codeOf(answer)}`);
    for (const code of codes) assert.match(code, /^(?:416 RANGE_INVALID|400 BLOB_UPLOAD_INVALID)$/);
    let state = Number(String((await pusher.ask(location)).headers.range).slice(2)) + 1;
    // One that was told to end may have stored a part before.
    if (state === 1) state = 0;
    assert.equal((await pusher.patch(location, bytes.subarray(state), state)).status, 202);
    assert.equal((await pusher.put(location, digest)).status, 201);
  }
});

test("PATCH, PUT and DELETE of one upload at once leave a blob that is whole, or none", async () => {
  await using mirror = await startHosted();
  const pusher = new Pusher(mirror);
  for (let round = 0; round < 30; round++) {
    const content = pseudoRandomBytes(20_000, `at once ${round}`);
    const location = await pusher.open();
    const requests = [
      () => pusher.patch(location, content, 0),
      () => pusher.put(location, digestOf(content)),
      () => pusher.ask(location, { method: "DELETE" }),
    ];
    const order = round % 3;
    const [, put] = await Promise.all([...requests.slice(order), ...requests.slice(0, order)].map((ask) => ask())).then(
      (answers) => requests.map((_, index) => answers[(index + 3 - order) % 3] as WholeResponse),
    );
    const blob = await pusher.ask(`/blobs/${digestOf(content)}`);
    if (put?.status === 201) assert.ok(blob.body.equals(content));
    else assert.equal(blob.status, 404, `${put?.status} ${put?.body.toString()}`);
    const state = await pusher.ask(location);
    assert.ok([204, 404].includes(state.status));
  }
});

test("blobs of the same bytes that come at once, and tags that are set at once, are all there", async () => {
  await using mirror = await startHosted();
  const pushers = Array.from({ length: 8 }, (_, index) => new Pusher(mirror, `same/${index % 2}`));
  await Promise.all(pushers.map((pusher) => pusher.blob(bytes)));
  const digests = await Promise.all(pushers.map((pusher, index) => pusher.image(`tag-${index}`, "same")));
  assert.equal(new Set(digests).size, 1);
  const [even, odd] = pushers;
  assert.deepEqual(await even?.tags(), ["tag-0", "tag-2", "tag-4", "tag-6"]);
  assert.deepEqual(await odd?.tags(), ["tag-1", "tag-3", "tag-5", "tag-7"]);
});
