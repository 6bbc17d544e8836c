import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import type { HostedBytes, StoredContent, UploadBytes } from "../../src/hosted/bytes.ts";
import { type Algorithm, type Digest, digestOf } from "../../src/oci/digest.ts";
import { readWhole } from "../../src/store/read-whole.ts";
import { pseudoRandomBytes } from "../support/content.ts";
import { never } from "../support/event-loop.ts";
import { all, chunksOf, streamOf } from "../support/s3-store.ts";

/** Where hosted bytes are kept, for one test. */
export interface BytesSubject extends AsyncDisposable {
  /** A driver on it: of several each is like another process, or another replica. */
  driver(): HostedBytes;
  /** Whatever lies in it. */
  keys(): Promise<readonly string[]>;
  /** From here on it takes nothing, until this is disposed of. */
  fill(): Disposable;
}

export type BytesSetup = () => Promise<BytesSubject>;

const small = pseudoRandomBytes(1_000, "small");
const large = pseudoRandomBytes(3 * 1024 * 1024 + 5, "large");

/** Bytes that come in chunks of so many, in memory that is used again. */
export function chunk(bytes: Buffer, chunkBytes = 64 * 1024, sizeBytes?: number): UploadBytes {
  return { bytes: streamOf(chunksOf(bytes, chunkBytes)), sizeBytes, signal: never() };
}

/** An upload of some bytes, all at once. */
export async function receive(
  bytes: HostedBytes,
  session: string,
  content: Buffer,
  algorithm: Algorithm = "sha256",
): Promise<number> {
  return bytes.append(session, algorithm, chunk(content, undefined, content.length));
}

/** The bytes of content; `undefined` where there is none. */
export async function contentOf(bytes: HostedBytes, digest: Digest): Promise<Buffer | undefined> {
  const object = await bytes.open(digest);
  return object && (await readWhole(object, Infinity));
}

async function stored(bytes: HostedBytes, digest: Digest): Promise<StoredContent> {
  return (await bytes.stat(digest)) ?? assert.fail(`${digest} is not stored`);
}

/** What all drivers of hosted bytes do; in the end all that is stored is removed, and nothing may be left. */
export function hostedBytesSuite(name: string, setup: BytesSetup): void {
  const check = (what: string, run: (bytes: HostedBytes, subject: BytesSubject) => Promise<void>): void => {
    test(what, async () => {
      await using subject = await setup();
      const bytes = subject.driver();
      await run(bytes, subject);
      await bytes.close();
      const cleaner = subject.driver();
      for await (const { session } of cleaner.uploads()) await cleaner.drop(session);
      for await (const content of cleaner.list()) {
        assert.equal(digestOf((await contentOf(cleaner, content.digest)) ?? Buffer.alloc(0)), content.digest);
        assert.equal(await cleaner.remove(content), true);
      }
      await cleaner.close();
      assert.deepEqual(await subject.keys(), []);
    });
  };

  describe(`hosted bytes: ${name}`, () => {
    check("what is not there is absent", async (bytes) => {
      const digest = digestOf(small);
      assert.equal(await bytes.stat(digest), undefined);
      assert.equal(await bytes.open(digest), undefined);
      assert.equal(await bytes.renew(digest, 0), false);
      assert.equal(await bytes.received("none"), undefined);
      assert.deepEqual(await all(bytes.list()), []);
      assert.deepEqual(await all(bytes.uploads()), []);
      await bytes.drop("none");
    });

    check("a document is stored, listed, read in parts, and removed", async (bytes) => {
      for (const document of [small, large.subarray(0, 300_000), Buffer.alloc(0)]) {
        const digest = digestOf(document);
        await bytes.put(digest, document);
        const found = await stored(bytes, digest);
        assert.equal(found.sizeBytes, document.length);
        assert.ok(Math.abs(bytes.now() - found.writtenAt) < 60_000);
        const [listed] = await all(bytes.list());
        assert.deepEqual([listed?.digest, listed?.version], [digest, found.version]);
        assert.ok(Math.abs(bytes.now() - (listed?.writtenAt ?? 0)) < 60_000);
        const object = (await bytes.open(digest)) ?? assert.fail("it cannot be opened");
        assert.equal(object.sizeBytes, document.length);
        const span = { start: Math.min(10, document.length), end: Math.max(0, document.length - 10) };
        const parts: Buffer[] = [];
        if (span.end > span.start) for await (const part of object.read(span)) parts.push(Buffer.from(part));
        assert.ok(Buffer.concat(parts).equals(document.subarray(span.start, span.end)));
        await object.close();
        assert.equal(await bytes.remove(listed ?? found), true);
        assert.equal(await bytes.remove(listed ?? found), false);
        assert.equal(await bytes.stat(digest), undefined);
      }
    });

    check("what was renewed since it was listed is not removed", async (bytes) => {
      const digest = digestOf(small);
      const renewals: (() => Promise<unknown>)[] = [
        () => bytes.renew(digest, 0),
        () => bytes.put(digest, small),
        async () => {
          await receive(bytes, "again", small);
          await bytes.commit("again", digest);
        },
      ];
      await bytes.put(digest, small);
      for (const renew of renewals) {
        const [listed] = await all(bytes.list());
        assert.ok(listed !== undefined);
        await renew();
        const found = await stored(bytes, digest);
        assert.notEqual(found.version, listed.version);
        assert.equal(await bytes.remove(listed), false);
        assert.ok((await contentOf(bytes, digest))?.equals(small));
      }
      const before = await stored(bytes, digest);
      assert.equal(await bytes.renew(digest, 3_600_000), true);
      assert.deepEqual(await stored(bytes, digest), before, "what is young enough need not be renewed");
    });

    check("an upload in several parts becomes content, whatever it was told of its algorithm", async (bytes) => {
      for (const content of [small, large]) {
        for (const announced of ["sha256", "sha512"] as const) {
          for (const algorithm of ["sha256", "sha512"] as const) {
            const digest = digestOf(content, algorithm);
            const cut = Math.floor(content.length / 3);
            const first = chunk(content.subarray(0, cut), 333_333);
            assert.equal(await bytes.append("upload", announced, first), cut);
            const upload = await bytes.received("upload");
            assert.equal(upload?.receivedBytes, cut);
            assert.ok(Math.abs(bytes.now() - (upload?.writtenAt ?? 0)) < 60_000);
            assert.deepEqual(await all(bytes.uploads()), [upload]);
            assert.equal(await bytes.stat(digest), undefined, "nothing can be had before it is verified");
            const rest = chunk(content.subarray(cut), Math.ceil(content.length / 1_000), content.length - cut);
            assert.equal(await bytes.append("upload", announced, rest), content.length);
            assert.equal(await bytes.commit("upload", digest), content.length);
            assert.ok((await contentOf(bytes, digest))?.equals(content));
            assert.equal((await stored(bytes, digest)).sizeBytes, content.length);
            assert.equal(await bytes.received("upload"), undefined);
            assert.deepEqual(await all(bytes.uploads()), []);
            assert.equal(await bytes.remove(await stored(bytes, digest)), true);
          }
        }
      }
    });

    check("what has another digest is not stored, and the upload has ended", async (bytes, subject) => {
      for (const content of [small, large]) {
        await receive(bytes, "upload", content);
        assert.equal(await bytes.commit("upload", digestOf(Buffer.from("another"))), undefined);
        assert.equal(await bytes.received("upload"), undefined);
        assert.deepEqual(await subject.keys(), []);
      }
    });

    check("an upload of no bytes has the digest of none", async (bytes) => {
      const nothing = Buffer.alloc(0);
      for (const algorithm of ["sha256", "sha512"] as const) {
        const digest = digestOf(nothing, algorithm);
        assert.equal(await bytes.commit("upload", digest), 0);
        assert.equal(await bytes.append("upload", "sha256", chunk(nothing)), 0);
        assert.equal(await bytes.commit("upload", digest), 0);
        assert.ok((await contentOf(bytes, digest))?.equals(nothing));
        assert.equal(await bytes.remove(await stored(bytes, digest)), true);
      }
      assert.equal(await bytes.commit("upload", digestOf(small)), undefined);
      await bytes.append("upload", "sha256", chunk(nothing));
      assert.equal(await bytes.commit("upload", digestOf(small)), undefined);
    });

    check("where a source fails, what has come is kept, and the upload goes on", async (bytes) => {
      for (const content of [small, large]) {
        const cut = content.length - 300;
        const failure = new Error("the client has gone");
        const broken = { ...chunk(content), bytes: streamOf(chunksOf(content.subarray(0, cut), 70_000), failure) };
        await assert.rejects(bytes.append("upload", "sha256", broken), failure);
        assert.equal((await bytes.received("upload"))?.receivedBytes, cut);
        assert.equal(await receive(bytes, "upload", content.subarray(cut)), content.length);
        assert.equal(await bytes.commit("upload", digestOf(content)), content.length);
        assert.ok((await contentOf(bytes, digestOf(content)))?.equals(content));
      }
    });

    check("an abort ends an append that waits for bytes, and what has come is kept", async (bytes) => {
      const leave = new AbortController();
      const waits = Promise.withResolvers<void>();
      async function* slow(): AsyncGenerator<Uint8Array> {
        yield* streamOf(chunksOf(small, 100));
        waits.resolve();
        await Promise.withResolvers<void>().promise;
      }
      const sent = { bytes: slow(), sizeBytes: undefined, signal: leave.signal };
      const appended = assert.rejects(bytes.append("upload", "sha256", sent), /taken over/);
      await waits.promise;
      leave.abort(new Error("taken over"));
      await appended;
      assert.equal((await bytes.received("upload"))?.receivedBytes, small.length);
      const late = bytes.append("upload", "sha256", { ...chunk(small), signal: leave.signal });
      await assert.rejects(late, /taken over/);
      assert.equal(await bytes.commit("upload", digestOf(small)), small.length);
    });

    check(
      "content that is there already is renewed by a commit, and nothing is left of the upload",
      async (bytes, subject) => {
        for (const content of [small, large]) {
          const digest = digestOf(content);
          await receive(bytes, "first", content);
          await bytes.commit("first", digest);
          const before = await stored(bytes, digest);
          const keys = await subject.keys();
          await receive(bytes, "second", content);
          assert.equal(await bytes.commit("second", digest), content.length);
          assert.notEqual((await stored(bytes, digest)).version, before.version);
          assert.equal((await subject.keys()).length, keys.length);
          assert.ok((await contentOf(bytes, digest))?.equals(content));
        }
      },
    );

    check("what is dropped is gone, and its name is free", async (bytes, subject) => {
      await receive(bytes, "upload", large);
      await bytes.drop("upload");
      assert.equal(await bytes.received("upload"), undefined);
      assert.deepEqual(await subject.keys(), []);
      await receive(bytes, "upload", small);
      assert.equal(await bytes.commit("upload", digestOf(small)), small.length);
    });

    check("many uploads at once, some of the same content, do not disturb each other", async (bytes) => {
      const contents = [small, large, large.subarray(5), small.subarray(5), Buffer.from("x")];
      const uploads = [...contents, ...contents].map(async (content, index) => {
        const cut = Math.floor(content.length / 2);
        await receive(bytes, `upload-${index}`, content.subarray(0, cut));
        await receive(bytes, `upload-${index}`, content.subarray(cut));
        assert.equal(await bytes.commit(`upload-${index}`, digestOf(content)), content.length);
      });
      await Promise.all(uploads);
      for (const content of contents) assert.ok((await contentOf(bytes, digestOf(content)))?.equals(content));
      assert.equal((await all(bytes.list())).length, contents.length);
    });

    check("an upload is begun by one, gone on with by a second and finished by a third", async (bytes, subject) => {
      for (const content of [small, large]) {
        const cut = content.length - 700;
        await receive(bytes, "upload", content.subarray(0, cut));
        const second = subject.driver();
        assert.equal((await second.received("upload"))?.receivedBytes, cut);
        assert.equal(await receive(second, "upload", content.subarray(cut)), content.length);
        const third = subject.driver();
        assert.equal(await third.commit("upload", digestOf(content)), content.length);
        assert.ok((await contentOf(bytes, digestOf(content)))?.equals(content));
        assert.equal(await bytes.received("upload"), undefined);
        await second.close();
        await third.close();
      }
    });

    check(
      "where there is no room nothing is lost of what was received, nor of what is stored",
      async (bytes, subject) => {
        await bytes.put(digestOf(small), small);
        const half = Math.floor(large.length / 2);
        await receive(bytes, "upload", large.subarray(0, half));
        {
          using _full = subject.fill();
          await assert.rejects(bytes.put(digestOf(large), large), { name: "StoreError" });
          await assert.rejects(receive(bytes, "upload", large.subarray(half)), { name: "StoreError" });
        }
        assert.ok((await contentOf(bytes, digestOf(small)))?.equals(small));
        const received = (await bytes.received("upload"))?.receivedBytes ?? 0;
        assert.equal(received, half);
        assert.equal(await receive(bytes, "upload", large.subarray(received)), large.length);
        assert.equal(await bytes.commit("upload", digestOf(large)), large.length);
      },
    );

    check("however an upload is cut, interrupted and handed on, its content is right", async (bytes, subject) => {
      const part = fc.record({
        bytes: fc.oneof(fc.nat(2_000), fc.nat(1_500_000)),
        chunkBytes: fc.integer({ min: 1_000, max: 300_000 }),
        breaks: fc.boolean(),
        isElsewhere: fc.boolean(),
      });
      await fc.assert(
        fc.asyncProperty(fc.array(part, { maxLength: 5 }), async (parts) => {
          const content = pseudoRandomBytes(
            parts.reduce((sum, { bytes: more }) => sum + more, 0),
            "property",
          );
          let driver = bytes;
          let received = 0;
          for (const { bytes: more, chunkBytes, breaks, isElsewhere } of parts) {
            if (isElsewhere) driver = subject.driver();
            const chunks = chunksOf(content.subarray(received, received + more), chunkBytes);
            const failure = breaks ? new Error("broken") : undefined;
            const sent = { bytes: streamOf(chunks, failure), sizeBytes: undefined, signal: never() };
            const appended = driver.append("upload", "sha256", sent);
            received += more;
            if (failure === undefined) assert.equal(await appended, received);
            else await assert.rejects(appended, failure);
          }
          assert.equal((await driver.received("upload"))?.receivedBytes ?? 0, received);
          const digest = digestOf(content);
          assert.equal(await driver.commit("upload", digest), content.length);
          assert.ok((await contentOf(bytes, digest))?.equals(content));
          assert.equal(await bytes.remove(await stored(bytes, digest)), true);
          assert.deepEqual(await subject.keys(), []);
        }),
        { numRuns: 15 },
      );
    });
  });
}
