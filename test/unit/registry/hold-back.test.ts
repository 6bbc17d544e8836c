import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { holdBack } from "../../../src/registry/hold-back.ts";
import { pseudoRandomBytes } from "../../support/content.ts";
import { never, turn } from "../../support/event-loop.ts";

const heldBytes = 16 * 1024;

/** The content in pieces, from one piece of memory that is used again and again. */
async function* inPieces(content: Buffer, sizes: readonly number[]): AsyncGenerator<Uint8Array> {
  const memory = Buffer.alloc(64 * 1024);
  for (let offset = 0, index = 0; offset < content.length; index++) {
    const size = Math.min(sizes[index % sizes.length] ?? 1, content.length - offset);
    content.copy(memory, 0, offset, offset + size);
    yield memory.subarray(0, size);
    memory.fill(0xee);
    offset += size;
  }
}

const contents = fc.record({
  size: fc.oneof(
    fc.nat({ max: 80_000 }),
    fc.constantFrom(0, 1, heldBytes - 1, heldBytes, heldBytes + 1, 2 * heldBytes),
  ),
  sizes: fc.array(fc.oneof(fc.integer({ min: 1, max: 40_000 }), fc.constant(heldBytes)), {
    minLength: 1,
    maxLength: 5,
  }),
});

test("what comes out is what went in, and the last 16 KiB only after the release", async () => {
  await fc.assert(
    fc.asyncProperty(contents, async ({ size, sizes }) => {
      const content = pseudoRandomBytes(size, "held");
      const release = Promise.withResolvers<void>();
      const out: Buffer[] = [];
      let released = false;
      const reading = (async () => {
        for await (const chunk of holdBack(inPieces(content, sizes), size, release.promise, never())) {
          out.push(Buffer.from(chunk));
          const length = out.reduce((sum, part) => sum + part.length, 0);
          assert.ok(released || length <= Math.max(0, size - heldBytes), `${length} of ${size} before the release`);
        }
      })();
      await turn(50);
      assert.equal(Buffer.concat(out).length, Math.max(0, size - heldBytes), "and not less");
      released = true;
      release.resolve();
      await reading;
      assert.ok(Buffer.concat(out).equals(content));
    }),
    { numRuns: 100 },
  );
});

test("what turns out to be wrong is never complete", async () => {
  await fc.assert(
    fc.asyncProperty(contents, fc.boolean(), async ({ size, sizes }, early) => {
      const content = pseudoRandomBytes(size, "wrong");
      const error = new Error("the digest is wrong");
      const release = Promise.withResolvers<void>();
      if (early) release.reject(error);
      let length = 0;
      const reading = (async () => {
        for await (const chunk of holdBack(inPieces(content, sizes), size, release.promise, never())) {
          length += chunk.length;
        }
      })();
      release.reject(error);
      await assert.rejects(reading, error);
      assert.ok(length <= Math.max(0, size - heldBytes));
    }),
    { numRuns: 60 },
  );
});

test("of an unknown length the newest bytes wait, and so does the end", async () => {
  const content = pseudoRandomBytes(50_000, "unknown");
  const release = Promise.withResolvers<void>();
  const out: Buffer[] = [];
  const reading = (async () => {
    for await (const chunk of holdBack(inPieces(content, [9_000]), Infinity, release.promise, never())) {
      out.push(Buffer.from(chunk));
    }
  })();
  await turn(50);
  assert.ok(Buffer.concat(out).equals(content.subarray(0, content.length - 16 * 1024)));
  const error = new Error("the digest is wrong");
  release.reject(error);
  await assert.rejects(reading, error);
  const all: Buffer[] = [];
  for await (const chunk of holdBack(inPieces(content, [9_000]), Infinity, Promise.resolve(), never())) {
    all.push(Buffer.from(chunk));
  }
  assert.ok(Buffer.concat(all).equals(content));
});

test("an abort ends the wait, and an error of the content comes through", async () => {
  const controller = new AbortController();
  const reason = new Error("the client left");
  const waiting = holdBack(inPieces(Buffer.alloc(10), [10]), 10, new Promise(() => {}), controller.signal).next();
  await turn(5);
  controller.abort(reason);
  await assert.rejects(waiting, reason);
  await assert.rejects(
    holdBack(inPieces(Buffer.alloc(10), [10]), 10, Promise.resolve(), controller.signal).next(),
    reason,
  );
  const broken = new Error("the file broke");
  const failing = async function* (): AsyncGenerator<Uint8Array> {
    yield Buffer.alloc(10);
    throw broken;
  };
  await assert.rejects(async () => {
    for await (const chunk of holdBack(failing(), 100_000, Promise.resolve(), never())) assert.equal(chunk.length, 10);
  }, broken);
});

test("who leaves early ends the content too", async () => {
  let closed = false;
  const content = async function* (): AsyncGenerator<Uint8Array> {
    try {
      for (;;) yield Buffer.alloc(1_000);
    } finally {
      closed = true;
    }
  };
  for await (const chunk of holdBack(content(), 100_000, Promise.resolve(), never())) {
    assert.equal(chunk.length, 1_000);
    break;
  }
  assert.ok(closed);
});
