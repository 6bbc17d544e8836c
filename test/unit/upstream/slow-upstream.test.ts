import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer, type Socket } from "node:net";
import { describe, test, type TestContext } from "node:test";
import type { Body } from "../../../src/upstream/body.ts";
import { anyAsk, failure, fakeBody, repository, startUpstream, tag } from "./scripted.ts";

/** A body whose chunks take their time to come, and what times it. */
function respond(chunks: readonly { readonly bytes: number; readonly ms: number }[]): {
  readonly body: Body;
  /** Lets time pass without any byte that is wanted. */
  readonly pass: (ms: number) => void;
} {
  let time = 0;
  async function* pieces(): AsyncGenerator<Buffer> {
    for (const { bytes, ms } of chunks) {
      time += ms;
      yield Buffer.alloc(bytes);
    }
  }
  return { body: fakeBody(pieces(), () => time), pass: (ms) => void (time += ms) };
}

const times = (count: number, bytes: number, ms: number): { bytes: number; ms: number }[] =>
  Array.from({ length: count }, () => ({ bytes, ms }));

async function drain(body: Body, between: () => void = () => undefined): Promise<number> {
  let bytes = 0;
  for await (const chunk of body.chunks(undefined)) {
    bytes += chunk.length;
    between();
  }
  return bytes;
}

describe("a body that is waited for", () => {
  const rows: Readonly<Record<string, { chunks: { bytes: number; ms: number }[]; cutAfter?: number }>> = {
    "drips a byte every two seconds": { chunks: times(100, 1, 2_000), cutAfter: 15 },
    "drips a byte a minute, as a long idle time-out lets it": { chunks: times(100, 1, 60_000), cutAfter: 4 },
    "is fast, and then drips": { chunks: [{ bytes: 1e6, ms: 10 }, ...times(100, 1, 2_000)], cutAfter: 31 },
    "brings a little less than 1 KiB a second": { chunks: times(100, 1_023, 1_000), cutAfter: 30 },
    "brings 1 KiB a second": { chunks: times(100, 1_024, 1_000) },
    "pauses for two minutes, as a long idle time-out lets it": {
      chunks: [{ bytes: 1e6, ms: 10 }, { bytes: 1_000, ms: 120_000 }, ...times(10, 65_536, 10)],
    },
  };
  for (const [what, { chunks, cutAfter }] of Object.entries(rows)) {
    test(`${what}: ${cutAfter === undefined ? "it goes on" : "it is given up"}`, async () => {
      const { body } = respond(chunks);
      if (cutAfter === undefined) {
        assert.equal(
          await drain(body),
          chunks.reduce((sum, { bytes }) => sum + bytes, 0),
        );
      } else {
        let taken = 0;
        await assert.rejects(
          drain(body, () => taken++),
          failure("timeout", /too slowly/),
        );
        assert.equal(taken, cutAfter - 1);
      }
    });
  }
});

test("a reader that takes a byte every two seconds is not the upstream's fault", async () => {
  const { body, pass } = respond(times(100, 1, 1));
  assert.equal(await drain(body, () => pass(2_000)), 100);
});

test("a document has a minute, however fast it comes for a slow one", async () => {
  const quick = respond(times(59, 2_000, 1_000));
  assert.equal((await quick.body.read(1e6)).length, 118_000);
  const slow = respond(times(62, 2_000, 1_000));
  await assert.rejects(slow.body.read(1e6), failure("timeout", /more than 60000 ms/));
});

test("an upstream that sends 1xx for ever gets no more time for its headers by that", async (context) => {
  const { address, closed } = await startRaw(context, (socket) => {
    socket.write("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n".repeat(17));
  });
  const { upstream } = startUpstream(context, address, { headerTimeoutMs: 600_000 });
  await assert.rejects(upstream.manifest(repository, tag, anyAsk()), failure("invalid", /1xx/));
  await closed;
});

/** A server that answers each request's first bytes with what is not quite HTTP. */
async function startRaw(
  context: TestContext,
  answer: (socket: Socket) => void,
): Promise<{ readonly address: string; readonly closed: Promise<unknown> }> {
  const { promise: closed, resolve } = Promise.withResolvers<void>();
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    socket.once("close", () => resolve());
    socket.once("data", () => answer(socket));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  context.after(() => server.close());
  const address = server.address();
  return { address: `127.0.0.1:${typeof address === "object" ? address?.port : ""}`, closed };
}
