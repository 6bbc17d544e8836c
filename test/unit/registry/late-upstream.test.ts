/* An upstream for which nobody has to wait. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { parseRepository, parseTag } from "../../../src/oci/reference.ts";
import { turn } from "../../support/event-loop.ts";
import { mediaTypes } from "../../support/image.ts";
import { createFakeMirror } from "./fake-mirror.ts";

const a = parseRepository("library/a");
const latest = parseTag("latest");
/** Without blobs, so that it can be served whatever else is stored. */
const emptyIndex = { schemaVersion: 2, mediaType: mediaTypes.index, manifests: [] };

test("an upstream that has answered in time is not spared for being late", async (context) => {
  await using subject = await createFakeMirror({ staleWaitMs: 3_000 });
  const { mirror, upstream } = subject;
  upstream.addManifest(a, "latest", emptyIndex, mediaTypes.index);
  await mirror.manifest(a, latest);
  await subject.idle();
  context.mock.timers.enable({ apis: ["setTimeout"] });
  for (let count = 0; count < 2; count++) {
    subject.now += 60_000;
    context.mock.timers.tick(3_000);
    const answer = await mirror.manifest(a, latest);
    assert.equal(answer?.cache.staleReason, undefined);
    assert.equal(answer?.cache.forwardStatus, 200);
    await turn(20);
  }
});
