import assert from "node:assert/strict";
import { test } from "node:test";
import { digestOf } from "../../src/oci/digest.ts";
import { parseTag } from "../../src/oci/reference.ts";
import { Abandoned, type Asker } from "../../src/concurrency/interest.ts";
import { pseudoRandomBytes } from "../support/content.ts";
import { blobTests } from "./registry-blobs.ts";
import { listingTests } from "./registry-listings.ts";
import { manifestTests } from "./registry-manifests.ts";
import {
  a,
  blobOf,
  cannotTell,
  type Capabilities,
  describeRegistry,
  documentOf,
  emptyBlob,
  manifestOf,
  read,
  type SetUp,
  type Subject,
  valueOf,
  storeBlobOf,
} from "./registry-subject.ts";

/** All questions of the contract about what is in the repository `a`, or is not. */
function questions({ registry }: Subject, asker?: Asker): readonly (() => Promise<unknown>)[] {
  return [
    () => registry.resolve(a, parseTag("latest"), asker),
    () => registry.resolve(a, image.digest, asker),
    () => registry.manifest(a, parseTag("latest"), asker),
    () => registry.manifest(a, image.digest, asker),
    () => registry.statBlob(a, layer.digest, asker),
    async () => {
      const answer = await registry.openBlob(a, layer.digest, asker);
      await answer?.value.close();
      return answer;
    },
    () => registry.tags(a, "", asker),
    () => registry.referrers(a, image.digest, "", asker),
  ];
}

const layer = blobOf(pseudoRandomBytes(100_000, "layer"));
const image = manifestOf(documentOf("image", [layer]), { tag: "latest" });

/**
 * What every registry must keep that can be pulled from, whatever is behind it.
 *
 * @param setUp Makes one with nothing in it.
 */
export function registrySuite(name: string, setUp: SetUp, capabilities: Capabilities): void {
  describeRegistry(name, "manifests", () => manifestTests(setUp));
  describeRegistry(name, "blobs", () => blobTests(setUp, capabilities));
  describeRegistry(name, "listings", () => listingTests(setUp));
  describeRegistry(name, "questions", () => {
    test("what cannot be told is an error, never absence; afterwards all is as before", async () => {
      await using subject = await setUp();
      await subject.publish(a, { manifests: [image], blobs: [emptyBlob, layer] });
      subject.fail();
      for (const ask of questions(subject)) {
        const answer = ask();
        if (capabilities.remembers && (await answer.catch(() => undefined)) !== undefined) continue;
        await cannotTell(answer);
      }
      if (capabilities.warms) await cannotTell(storeBlobOf(subject)(a, layer.digest));
      await subject.settle();
      subject.mend();
      for (const ask of questions(subject)) assert.ok((await ask()) !== undefined);
      assert.ok((await read(subject, a, layer.digest)).equals(layer.bytes));
      assert.ok(valueOf(await subject.registry.manifest(a, parseTag("latest"))).bytes.equals(image.bytes));
      assert.equal(await subject.registry.openBlob(a, digestOf(Buffer.from("absent"))), undefined);
    });

    test("who has left is told what is true, or that nobody waits", async () => {
      await using subject = await setUp();
      await subject.publish(a, { manifests: [image], blobs: [emptyBlob, layer] });
      const left: Asker = { isWaiting: false, watch: () => () => undefined };
      const answers = await Promise.allSettled(questions(subject, left).map((ask) => ask()));
      for (const answer of answers) {
        if (answer.status === "fulfilled") assert.ok(answer.value !== undefined);
        else assert.ok(answer.reason instanceof Abandoned, String(answer.reason));
      }
      for (const ask of questions(subject)) assert.ok((await ask()) !== undefined, "who comes then is told all");
    });
  });
}
