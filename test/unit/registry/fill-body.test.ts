/* How a body goes on where it broke: at the upstream, and where another replica sent it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { resuming } from "../../../src/registry/fill-body.ts";
import { type UpstreamBlob, UpstreamError } from "../../../src/upstream/upstream.ts";
import { never } from "../../support/event-loop.ts";

const content = Buffer.from("0123456789");
const broke = new UpstreamError("docker.io", "unreachable", "it broke off");

/** The part of a blob that somebody sends; then it ends, or breaks. */
function part(start: number, end: number, origin?: UpstreamBlob["origin"], error?: Error): UpstreamBlob {
  async function* body(): AsyncGenerator<Buffer> {
    if (end > start) yield content.subarray(start, end);
    if (error !== undefined) throw error;
  }
  return { sizeBytes: content.length, body: body(), cancel: () => undefined, ...(origin !== undefined && { origin }) };
}

async function take(
  retries: number,
  [first, ...next]: readonly UpstreamBlob[],
): Promise<{ text: string; asked: number[] }> {
  const asked: number[] = [];
  let text = "";
  assert.ok(first !== undefined);
  const options = {
    sizeBytes: content.length,
    ask: async (offset: number) => {
      asked.push(offset);
      return next[asked.length - 1];
    },
    retries,
    host: "docker.io",
    onBreak: () => undefined,
  };
  for await (const chunk of resuming(first, options, never())) text += Buffer.from(chunk).toString();
  return { text, asked };
}

test("a replica that breaks off is no failure of the upstream: it goes on at once, also where nothing is tried again", async () => {
  for (const ends of [broke, undefined]) {
    const parts = [part(0, 3, "replica", ends), part(3, 3, "replica", ends), part(3, 10)];
    assert.deepEqual(await take(0, parts), { text: "0123456789", asked: [3, 3] });
  }
});

test("an upstream that breaks off after a replica has is tried as often as any", async () => {
  await assert.rejects(take(0, [part(0, 3, "replica", broke), part(3, 3, undefined, broke), part(3, 10)]), broke);
  const parts = [part(0, 3, "replica", broke), part(3, 3, undefined, broke), part(3, 10)];
  assert.deepEqual(await take(1, parts), { text: "0123456789", asked: [3, 3] });
});

test("what is wrong is not asked for again, whoever sent it", async () => {
  const wrong = new UpstreamError("docker.io", "invalid", "it is another one");
  await assert.rejects(take(3, [part(0, 3, "replica", wrong), part(3, 10)]), wrong);
  const left = new Error("it left");
  await assert.rejects(take(3, [part(0, 3, "replica", left), part(3, 10)]), left);
});
