/* Two instances on one bucket, to each of which each request of a push can come. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { digestOf } from "../../src/oci/digest.ts";
import { MemoryBucket } from "../support/bucket.ts";
import { bucketConfig } from "../support/bucket-config.ts";
import { pseudoRandomBytes } from "../support/content.ts";
import { turn } from "../support/event-loop.ts";
import { FakeS3 } from "../support/fake-s3.ts";
import { digestOfDocument, type HostedOptions, Pusher, startHosted } from "../support/hosted.ts";
import type { Mirror } from "../support/mirror.ts";
import { Sending } from "../support/sending.ts";

const MiB = 1024 * 1024;
const bytes = pseudoRandomBytes(7 * MiB + 123, "replicas");
const digest = digestOf(bytes);

/** What two instances share. */
interface Shared extends AsyncDisposable {
  readonly options: HostedOptions;
}

const grounds: Readonly<Record<string, () => Promise<Shared>>> = {
  async "a bucket in memory"() {
    const bucket = new MemoryBucket();
    return {
      options: { bucketStore: bucket },
      async [Symbol.asyncDispose]() {
        assert.equal(bucket.open, 0);
      },
    };
  },
  async "an S3 server"() {
    const s3 = await FakeS3.start();
    return { options: { storage: { s3: bucketConfig(s3) } }, [Symbol.asyncDispose]: () => s3[Symbol.asyncDispose]() };
  },
};

/** Cuts bytes where chunks end. */
function cut(...ends: readonly number[]): Buffer[] {
  return ends.map((end, index) => bytes.subarray(ends[index - 1] ?? 0, end));
}

async function isWhole(pushers: readonly Pusher[]): Promise<void> {
  for (const pusher of pushers) {
    assert.equal(
      (await pusher.ask(`/blobs/${digest}`, { method: "HEAD" })).headers["content-length"],
      `${bytes.length}`,
    );
    assert.ok((await pusher.ask(`/blobs/${digest}`)).body.equals(bytes));
    const range = await pusher.ask(`/blobs/${digest}`, { headers: { range: `bytes=${MiB - 5}-${3 * MiB}` } });
    assert.ok(range.body.equals(bytes.subarray(MiB - 5, 3 * MiB + 1)));
  }
}

for (const [ground, share] of Object.entries(grounds)) {
  /** A test with two instances, and a client of each. */
  const onTwo = (
    name: string,
    run: (pushers: readonly [Pusher, Pusher], mirrors: readonly [Mirror, Mirror]) => Promise<void>,
  ): void => {
    test(`${ground}: ${name}`, async () => {
      await using shared = await share();
      await using one = await startHosted(shared.options);
      await using two = await startHosted(shared.options);
      await run([new Pusher(one), new Pusher(two)], [one, two]);
    });
  };

  onTwo("an upload that is begun at one goes on at the other, and ends at the first", async ([one, two]) => {
    const location = await one.open();
    const [first, second, third, last] = cut(MiB, 3 * MiB, 3 * MiB + 10, bytes.length);
    assert.ok(first && second && third && last);
    assert.equal((await two.patch(location, first, 0)).headers.range, `0-${MiB - 1}`);
    assert.equal((await one.patch(location, second, MiB)).status, 202);
    assert.equal((await two.ask(location)).headers.range, `0-${3 * MiB - 1}`);
    const repeated = await two.patch(location, second, MiB);
    assert.deepEqual([repeated.status, repeated.headers.range], [416, `0-${3 * MiB - 1}`]);
    assert.equal((await two.patch(location, third)).status, 202);
    assert.equal((await one.put(location, digest, last)).status, 201);
    await isWhole([two, one]);
    // The answer was missed, and the client comes to the other one.
    assert.equal((await two.put(location, digest)).status, 201);
    assert.equal((await two.ask(location, { method: "DELETE" })).status, 204);
  });

  onTwo(
    "an upload whose instance is still receiving is taken over, and adds nothing more there",
    async (pushers, mirrors) => {
      const [one, two] = pushers;
      const location = await one.open();
      assert.equal((await one.patch(location, bytes.subarray(0, MiB))).status, 202);
      using slow = new Sending(mirrors[0].url, location, "PATCH", { "content-length": bytes.length - MiB });
      await slow.send(bytes.subarray(MiB, 2 * MiB));
      const state = await two.ask(location);
      assert.deepEqual([state.status, state.headers.range], [204, `0-${MiB - 1}`]);
      assert.equal((await two.patch(location, bytes.subarray(MiB), MiB)).status, 202);
      const late = await slow.end(bytes.subarray(2 * MiB));
      assert.notEqual(late.status, 202);
      assert.equal((await two.put(location, digest)).status, 201);
      await isWhole(pushers);
    },
  );

  onTwo("a tag that is set, or removed, at one is so at the other at once", async ([one, two]) => {
    for (let round = 0; round < 3; round++) {
      const pushed = await one.image("tag", `one ${round}`);
      assert.equal(await two.digest("tag"), pushed);
      const moved = await two.image("tag", `two ${round}`);
      assert.equal(await one.digest("tag"), moved);
      assert.deepEqual([await one.tags(), await two.tags()], [["tag"], ["tag"]]);
      assert.equal((await one.ask("/manifests/tag", { method: "DELETE" })).status, 202);
      assert.equal(await two.digest("tag"), undefined);
      assert.equal((await two.ask(`/manifests/${moved}`, { method: "DELETE" })).status, 202);
      for (const pusher of [one, two]) assert.equal((await pusher.ask(`/manifests/${moved}`)).status, 404);
      const blob = digestOf(Buffer.from(`a layer of one ${round}`));
      assert.equal((await two.ask(`/blobs/${blob}`)).status, 200);
      assert.equal((await one.ask(`/blobs/${blob}`, { method: "DELETE" })).status, 202);
      for (const method of ["GET", "HEAD"]) assert.equal((await two.ask(`/blobs/${blob}`, { method })).status, 404);
    }
  });

  onTwo(
    "what both are sent at once is there once, and of two who set a tag on a condition one has",
    async (pushers) => {
      for (let round = 0; round < 5; round++) {
        await Promise.all(pushers.map((pusher) => pusher.blob(bytes)));
        await isWhole(pushers);
        const documents = await Promise.all(pushers.map((pusher, index) => pusher.imageDocument(`${round} ${index}`)));
        const answers = await Promise.all(
          pushers.map((pusher, index) =>
            pusher.manifest(`tag-${round}`, documents[index] ?? {}, { "if-none-match": "*" }),
          ),
        );
        const statuses = answers.map(({ status }) => status);
        assert.deepEqual(
          statuses.toSorted((a, b) => a - b),
          [201, 412],
        );
        const winner = digestOfDocument(documents[statuses.indexOf(201)] ?? {});
        for (const pusher of pushers) assert.equal(await pusher.digest(`tag-${round}`), winner);
        assert.equal((await pushers[0]?.ask(`/blobs/${digest}`, { method: "DELETE" }))?.status, 202);
      }
    },
  );

  onTwo("one PUT that comes to both at once is a blob", async ([one, two]) => {
    for (let round = 0; round < 5; round++) {
      const content = pseudoRandomBytes(100_000, `${round}`);
      const location = await one.open();
      const answers = await Promise.all([one, two].map((pusher) => pusher.put(location, digestOf(content), content)));
      const told = String(answers.map(({ status, body }) => `${status} ${body.toString()}`));
      // Who lost may have been told so, and asks again.
      if (answers.every(({ status }) => status !== 201)) {
        assert.equal((await two.put(await two.open(), digestOf(content), content)).status, 201, told);
      }
      for (const pusher of [one, two]) {
        const { status, body } = await pusher.ask(`/blobs/${digestOf(content)}`);
        assert.ok(body.equals(content), `${told}, then ${status} ${body.subarray(0, 200).toString()}`);
      }
    }
  });

  onTwo("what one cancels while the other ends it is a blob that is whole, or none", async ([one, two]) => {
    for (let round = 0; round < 20; round++) {
      const content = pseudoRandomBytes(100_000, `cancelled ${round}`);
      const location = await one.open();
      const put = two.put(location, digestOf(content), content);
      await turn(round);
      const [{ status }] = await Promise.all([put, one.ask(location, { method: "DELETE" })]);
      const { body } = await two.ask(`/blobs/${digestOf(content)}`);
      assert.equal(body.equals(content), status === 201, `${round}: ${status}`);
    }
  });
}
