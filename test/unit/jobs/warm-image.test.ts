import assert from "node:assert/strict";
import { test } from "node:test";
import { pullImage, type WarmPlace } from "../../../src/jobs/warm-image.ts";
import { digestOf } from "../../../src/oci/digest.ts";
import { parseTag } from "../../../src/oci/reference.ts";
import { Limiter } from "../../../src/concurrency/limiter.ts";
import { createBarrier } from "../../support/barrier.ts";
import { never, turn } from "../../support/event-loop.ts";
import { mediaTypes } from "../../support/image.ts";
import { createFakePlace } from "./warm-registry.ts";

const tag = parseTag("1");

/** Pulls an image; what was counted. */
async function pull(
  place: WarmPlace,
  signal: AbortSignal = never(),
  counts: Record<string, number> = {},
): Promise<Record<string, number>> {
  const progress = {
    count: (what: string, by = 1): void => {
      counts[what] = (counts[what] ?? 0) + by;
    },
    total: () => undefined,
    advance: () => undefined,
    note: () => undefined,
  };
  await pullImage(place, tag, { platforms: [], limiter: new Limiter(4), progress, signal });
  return counts;
}

function indexOf(entries: readonly { readonly mediaType: string; readonly bytes: Buffer }[]): Buffer {
  const manifests = entries.map(({ mediaType, bytes }) => ({ mediaType, digest: digestOf(bytes), size: bytes.length }));
  return Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.index, manifests }));
}

test("a manifest that several indexes list is read once", async () => {
  const place = createFakePlace();
  const { manifest } = place.addImage("image").platforms[0] ?? assert.fail();
  const mediaType = mediaTypes.index;
  const inner = [0, 1].map((count) => ({ mediaType, bytes: indexOf(count === 0 ? [manifest] : [manifest, manifest]) }));
  for (const { bytes } of inner) place.upstream.addManifest("library/test", undefined, bytes, mediaType);
  place.upstream.addManifest("library/test", "1", indexOf([...inner, manifest]), mediaType);
  place.upstream.asked.length = 0;
  const counts = await pull(place);
  assert.equal(counts["manifests"], 4);
  assert.equal(place.upstream.asked.filter((question) => question.startsWith("manifest")).length, 4);
});

test("a pull that is cancelled ends at once, and counts nothing of what comes after that", async () => {
  const place = createFakePlace();
  place.addImage("1", { layers: 1 });
  place.hold = createBarrier();
  const cancel = new AbortController();
  const reason = new Error("cancelled");
  const counts: Record<string, number> = {};
  const pulling = pull(place, cancel.signal, counts);
  await place.hold.arrivals(2);
  cancel.abort(reason);
  await assert.rejects(pulling, reason);
  const before = { ...counts };
  place.hold.release();
  await turn(5);
  assert.equal(place.stored.size, 2, "what was on its way goes on");
  assert.deepEqual(counts, before);
});

test("an image that can be read in more than one way is not pulled, by a tag or in an index", async () => {
  const place = createFakePlace();
  const mediaType = mediaTypes.manifest;
  const { manifest } = place.addImage("sound").platforms[0] ?? assert.fail();
  const bytes = Buffer.from(manifest.bytes.toString().replace('"layers"', '"Layers":[],"layers"'));
  const ambiguous = { mediaType, bytes };
  for (const [root, type] of [
    [bytes, mediaType],
    [indexOf([ambiguous]), mediaTypes.index],
  ] as const) {
    place.upstream.addManifest("library/test", undefined, bytes, mediaType);
    place.upstream.addManifest("library/test", "1", root, type);
    await assert.rejects(pull(place), { code: "MANIFEST_INVALID" });
    assert.equal(place.stored.size, 0);
  }
});

test("it is told how many manifests were stale", async () => {
  const place = createFakePlace();
  place.addImage("1", { platforms: 2 });
  const { registry } = place;
  const stale: WarmPlace = {
    ...place,
    registry: {
      ...registry,
      manifest: async (...asked) => {
        const answer = await registry.manifest(...asked);
        return answer && { ...answer, cache: { hit: true, staleReason: "timeout" } };
      },
    },
  };
  assert.equal((await pull(stale))["stale manifests"], 3);
  assert.equal((await pull(place))["stale manifests"], undefined);
});
