import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { parseRange, resolveRange } from "../../src/oci/range.ts";
import { parseTag } from "../../src/oci/reference.ts";
import { pseudoRandomBytes } from "../support/content.ts";
import { never, turn, until } from "../support/event-loop.ts";
import {
  a,
  b,
  blobOf,
  cannotTell,
  type Capabilities,
  collect,
  documentOf,
  emptyBlob,
  manifestOf,
  open,
  read,
  type SetUp,
  sizeOf,
  type Subject,
  twice,
  valueOf,
  storeBlobOf,
} from "./registry-subject.ts";

const MiB = 1024 * 1024;
/** More than is ever kept in memory of one blob. */
const large = blobOf(pseudoRandomBytes(3 * MiB + 12_345, "large"));

async function isThere(subject: Subject, repository: typeof a, { digest, bytes }: typeof large): Promise<void> {
  const given = await read(subject, repository, digest);
  assert.ok(given.equals(bytes), `${digest}: ${given.length} bytes for ${bytes.length}`);
  assert.equal(await sizeOf(subject, repository, digest), bytes.length);
}

async function isAbsent({ registry }: Subject, repository: typeof a, digest: Digest): Promise<void> {
  assert.equal(await registry.statBlob(repository, digest), undefined);
  assert.equal(await registry.openBlob(repository, digest), undefined);
}

/** The tests of what a registry says of blobs. */
export function blobTests(setUp: SetUp, { warms, isLiedTo, stalls }: Capabilities): void {
  test("a blob is there byte for byte, whatever its size, whether or not a manifest lists it", async () => {
    await using subject = await setUp();
    const sizes = [1, 16_384, 65_535, 65_536, 65_537, MiB, MiB + 1];
    const [listed = [], unlisted = []] = ["listed", "unlisted"].map((seed) =>
      sizes.map((size) => blobOf(pseudoRandomBytes(size, seed))),
    );
    const manifest = manifestOf(documentOf("1", listed), { tag: "latest" });
    await subject.publish(a, { manifests: [manifest], blobs: [emptyBlob, ...listed, ...unlisted, large] });
    valueOf(await subject.registry.manifest(a, manifest.digest));
    await twice(subject, async () => {
      for (const blob of [...listed, ...unlisted, large]) await isThere(subject, a, blob);
    });
  });

  test("HEAD tells a blob's size, also when it is asked for first", async () => {
    await using subject = await setUp();
    const small = blobOf(pseudoRandomBytes(20_000, "small"));
    await subject.publish(a, { blobs: [small, large] });
    await twice(subject, async () => {
      assert.equal(await sizeOf(subject, a, small.digest), 20_000);
      assert.equal(await sizeOf(subject, a, large.digest), large.bytes.length);
    });
    await isThere(subject, a, small);
  });

  test("a blob of nothing is there, and gives nothing", async () => {
    await using subject = await setUp();
    const nothing = blobOf(Buffer.alloc(0));
    const longer = blobOf(Buffer.alloc(0), "sha512");
    await subject.publish(a, { blobs: [nothing, longer] });
    await twice(subject, async () => {
      for (const { digest } of [nothing, longer]) {
        assert.equal(await sizeOf(subject, a, digest), 0);
        assert.equal((await read(subject, a, digest)).length, 0);
      }
    });
  });

  test("a blob is there by a digest of SHA-512, beside the one of SHA-256", async () => {
    await using subject = await setUp();
    const blobs = [blobOf(large.bytes, "sha512"), large];
    await subject.publish(a, { blobs });
    await twice(subject, async () => {
      for (const blob of blobs) await isThere(subject, a, blob);
    });
  });

  test("a range gives exactly its bytes: from the start, to the end, over the end, from behind", async () => {
    const size = large.bytes.length;
    const ranges: Readonly<Record<string, readonly [number, number] | undefined>> = {
      "bytes=0-0": [0, 1],
      "bytes=0-65535": [0, 65_536],
      "bytes=7-": [7, size],
      "bytes=1048575-1048576": [MiB - 1, MiB + 1],
      "bytes=-7": [size - 7, size],
      "bytes=-99999999": [0, size],
      [`bytes=${size - 1}-`]: [size - 1, size],
      [`bytes=${size - 5}-99999999`]: [size - 5, size],
      [`bytes=${size}-`]: undefined,
    };
    // Some as the first question, and all of what is there.
    for (const one of ["bytes=7-", "bytes=1048575-1048576", "bytes=-7"]) {
      await using subject = await setUp();
      await subject.publish(a, { blobs: [large] });
      await twice(subject, async (when) => {
        for (const header of when === "again" ? Object.keys(ranges) : [one]) {
          const blob = await open(subject, a, large.digest);
          const span = resolveRange(parseRange(header), blob.sizeBytes ?? Number.NaN);
          const wanted = ranges[header];
          if (wanted === undefined) assert.equal(span, "unsatisfiable");
          else {
            assert.ok(typeof span === "object");
            const bytes = await collect(blob, span);
            assert.ok(bytes.equals(large.bytes.subarray(...wanted)), `${header} ${when}: ${bytes.length} bytes`);
          }
          await blob.close();
        }
      });
    }
  });

  test("a range from any place to any other gives its bytes", async () => {
    await using subject = await setUp();
    await subject.publish(a, { blobs: [large] });
    const position = fc.nat({ max: large.bytes.length });
    await twice(subject, () =>
      fc.assert(
        fc.asyncProperty(position, position, async (first, second) => {
          const [start, end] = [Math.min(first, second), Math.max(first, second)];
          const blob = await open(subject, a, large.digest);
          assert.ok((await collect(blob, { start, end })).equals(large.bytes.subarray(start, end)));
          await blob.close();
        }),
        { numRuns: 15 },
      ),
    );
  });

  test("all who read one blob at once get all of it, each at its own speed", async () => {
    await using subject = await setUp();
    await subject.publish(a, { blobs: [large] });
    await twice(subject, async () => {
      const blobs = await Promise.all(Array.from({ length: 4 }, () => open(subject, a, large.digest)));
      const [slow, ...quick] = blobs;
      assert.ok(slow !== undefined);
      const chunks = slow.read(undefined, never())[Symbol.asyncIterator]();
      const first = Buffer.from((await chunks.next()).value as Uint8Array);
      // The slow one waits meanwhile.
      for (const bytes of await Promise.all(quick.map((blob) => collect(blob)))) assert.ok(bytes.equals(large.bytes));
      const rest = [first];
      for await (const chunk of { [Symbol.asyncIterator]: () => chunks }) rest.push(Buffer.from(chunk));
      assert.ok(Buffer.concat(rest).equals(large.bytes));
      for (const blob of blobs) await blob.close();
    });
  });

  test("who leaves early, or never reads, leaves nothing open, and others undisturbed", async () => {
    await using subject = await setUp();
    await subject.publish(a, { blobs: [large] });
    await twice(subject, async () => {
      const [unread, left, begun, whole] = await Promise.all(
        Array.from({ length: 4 }, () => open(subject, a, large.digest)),
      );
      assert.ok(unread && left && begun && whole);
      await unread.close();
      for await (const chunk of left.read(undefined, never())) {
        assert.ok(chunk.length > 0);
        break;
      }
      await left.close();
      begun.read(undefined, never());
      await begun.close();
      assert.ok((await collect(whole)).equals(large.bytes));
      await whole.close();
    });
  });

  test("who is aborted is given the reason, or all that it asked for; never less without an error", async () => {
    await using subject = await setUp();
    await subject.publish(a, { blobs: [large] });
    await twice(subject, async () => {
      for (const when of ["before", "meanwhile"]) {
        const abort = new AbortController();
        const reason = new Error("the client has left");
        const blob = await open(subject, a, large.digest);
        if (when === "before") abort.abort(reason);
        let received = 0;
        try {
          for await (const chunk of blob.read(undefined, abort.signal)) {
            received += chunk.length;
            abort.abort(reason);
          }
          assert.equal(received, large.bytes.length);
        } catch (error) {
          assert.equal(error, reason);
        } finally {
          await blob.close();
        }
      }
    });
    await isThere(subject, a, large);
  });

  if (stalls) {
    test("a blob is opened, with its size, before its bytes are here; who waits for them is let go by an abort", async () => {
      await using subject = await setUp();
      await subject.publish(a, { blobs: [large] });
      const barrier = subject.stallAfter?.(100_000);
      assert.ok(barrier !== undefined);
      const blob = await open(subject, a, large.digest);
      const other = await open(subject, a, large.digest);
      assert.equal(blob.sizeBytes, large.bytes.length);
      const abort = new AbortController();
      const reason = new Error("the client has left");
      let received = 0;
      const reading = (async () => {
        for await (const chunk of blob.read(undefined, abort.signal)) received += chunk.length;
      })();
      const refused = assert.rejects(reading, (error) => error === reason);
      await until(() => received === 100_000);
      await turn();
      abort.abort(reason);
      await refused;
      await blob.close();
      barrier.release();
      assert.ok((await collect(other)).equals(large.bytes));
      await other.close();
      await isThere(subject, a, large);
    });
  }

  if (isLiedTo) {
    test("nobody is given the whole of what has not the digest that it is published under", async () => {
      await using subject = await setUp();
      const lie = { digest: digestOf(Buffer.from("something else")), bytes: large.bytes };
      await subject.publish(a, { blobs: [lie] });
      await twice(subject, async () => {
        const blob = await open(subject, a, lie.digest);
        let received = 0;
        await cannotTell(
          (async () => {
            for await (const chunk of blob.read(undefined, never())) received += chunk.length;
          })(),
        );
        await blob.close();
        assert.ok(received < lie.bytes.length, `${received} bytes were given`);
      });
    });
  }

  test("what is not there is absent, and there as soon as it is published", async () => {
    await using subject = await setUp();
    await twice(subject, () => isAbsent(subject, a, large.digest));
    await subject.publish(a, { blobs: [emptyBlob] });
    await twice(subject, () => isAbsent(subject, a, large.digest));
    await subject.publish(a, { blobs: [large] });
    await isThere(subject, a, large);
  });

  test("a blob that another repository has is not readable", async () => {
    await using subject = await setUp();
    await subject.publish(a, { blobs: [large] });
    await twice(subject, async () => {
      await isAbsent(subject, b, large.digest);
      await isThere(subject, a, large);
      await isAbsent(subject, b, large.digest);
    });
    await subject.publish(b, { blobs: [large] });
    await isThere(subject, b, large);
  });

  test("a manifest is not a blob, unless another manifest lists its bytes as one", async () => {
    await using subject = await setUp();
    const manifest = manifestOf(documentOf("1"), { tag: "latest" });
    await subject.publish(a, { manifests: [manifest], blobs: [emptyBlob] });
    const isNoBlob = (): Promise<void> => isAbsent(subject, a, manifest.digest);
    await twice(subject, isNoBlob);
    valueOf(await subject.registry.manifest(a, parseTag("latest")));
    await twice(subject, isNoBlob);
    const lister = manifestOf(documentOf("2", [manifest]), { tag: "lister" });
    await subject.publish(a, { manifests: [lister], blobs: [manifest] });
    valueOf(await subject.registry.manifest(a, parseTag("lister")));
    await twice(subject, () => isThere(subject, a, manifest));
    assert.ok(valueOf(await subject.registry.manifest(a, manifest.digest)).bytes.equals(manifest.bytes));
  });

  if (warms) {
    test("a blob that was stored is had without what lies behind", async () => {
      await using subject = await setUp();
      const storeBlob = storeBlobOf(subject);
      await subject.publish(a, { blobs: [large, emptyBlob] });
      let received = 0;
      const store = (): ReturnType<typeof storeBlob> =>
        storeBlob(a, large.digest, (bytes) => {
          received += bytes;
        });
      assert.equal(valueOf(await store()), large.bytes.length);
      assert.equal(received, large.bytes.length);
      subject.fail();
      await isThere(subject, a, large);
      assert.equal(valueOf(await store()), large.bytes.length);
      assert.equal(received, large.bytes.length, "nothing was received for it");
      await cannotTell(storeBlob(a, emptyBlob.digest));
    });

    test("what is not there is not stored, nor what another repository has", async () => {
      await using subject = await setUp();
      const storeBlob = storeBlobOf(subject);
      await subject.publish(a, { blobs: [large] });
      assert.equal(await storeBlob(b, large.digest), undefined);
      valueOf(await storeBlob(a, large.digest));
      assert.equal(await storeBlob(b, large.digest), undefined);
      await isAbsent(subject, b, large.digest);
    });
  }
}
