/* Informational answers (1xx) that nobody asked for, and that are to be read past all the same (RFC 9110 §15.2). */
import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { test, type TestContext } from "node:test";
import type { Upstream } from "../../../src/upstream/upstream.ts";
import { digestOf } from "../../../src/oci/digest.ts";
import {
  collect,
  failure,
  indexBytes,
  indexType,
  anyAsk,
  repository,
  someDigest,
  startUpstream,
  tag,
} from "./scripted.ts";

const heads: Readonly<Record<number, string>> = {
  100: "HTTP/1.1 100 Continue\r\n\r\n",
  101: "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
  102: "HTTP/1.1 102 Processing\r\n\r\n",
  103: "HTTP/1.1 103 Early Hints\r\nLink: </100>; rel=preload\r\nX-Quote: HTTP/1.1 100 \r\n\r\n",
  110: "HTTP/1.1 110 Unknown\r\nA: b\r\n\r\n",
};

/** A registry that says so before each answer; a client of it; how many connections there were. */
async function startTalkative(
  context: TestContext,
  before: string,
  send: (socket: Socket, bytes: Buffer) => void = (socket, bytes) => void socket.write(bytes),
  body: Buffer = indexBytes,
): Promise<{ upstream: Upstream; connections: Set<Socket> }> {
  const connections = new Set<Socket>();
  const server = createServer((socket) => {
    connections.add(socket);
    socket.on("error", () => {});
    socket.on("data", (request) => {
      const fields = [
        `Content-Type: ${indexType}`,
        `Content-Length: ${body.length}`,
        `Docker-Content-Digest: ${digestOf(body)}`,
      ];
      const head = Buffer.from(`${before}HTTP/1.1 200 OK\r\n${fields.join("\r\n")}\r\n\r\n`);
      send(socket, request.toString().startsWith("HEAD") ? head : Buffer.concat([head, body]));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  context.after(() => {
    for (const socket of connections) socket.destroy();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return { connections, ...startUpstream(context, `127.0.0.1:${port}`) };
}

for (const statuses of [[100], [102], [103], [110], [100, 100, 100], [103, 100, 102, 100]]) {
  test(`${statuses.join(", ")} before the answer to GET and HEAD is read past, on one connection`, async (context) => {
    const before = statuses.map((status) => heads[status]).join("");
    const { upstream, connections } = await startTalkative(context, before);
    for (let round = 0; round < 3; round++) {
      assert.deepEqual((await upstream.manifest(repository, tag, anyAsk()))?.bytes, indexBytes);
      const told = await upstream.resolve(repository, tag, anyAsk());
      assert.ok(told !== undefined && "size" in told && told.size === indexBytes.length);
    }
    assert.ok(connections.size <= 2, "a request ends some ticks before its connection is free");
  });
}

test("in whatever pieces it comes", async (context) => {
  const byByte = (socket: Socket, bytes: Buffer): void => {
    const [next = 0, rest] = [bytes[0], bytes.subarray(1)];
    socket.setNoDelay(true);
    socket.write(Buffer.of(next), () => rest.length > 0 && setImmediate(byByte, socket, rest));
  };
  const { upstream } = await startTalkative(context, `${heads[100]}${heads[103]}${heads[100]}`, byByte);
  assert.deepEqual((await upstream.manifest(repository, tag, anyAsk()))?.bytes, indexBytes);
});

test("what looks like one in a body or a header is left as it is", async (context) => {
  const body = Buffer.from(`\r\n\r\n${heads[100]}${heads[100]}`);
  const { upstream } = await startTalkative(context, `${heads[100]}`, undefined, body);
  const opened = await upstream.blob(repository, someDigest, { offset: 0 }, anyAsk());
  assert.equal(opened && (await collect(opened.body)), body.toString());
});

test("a 101 that nobody asked for is none of them, nor are 1xx without end", async (context) => {
  const switching = await startTalkative(context, heads[101] ?? "");
  await assert.rejects(switching.upstream.manifest(repository, tag, anyAsk()), failure("unreachable"));
  const endless = await startTalkative(context, (heads[100] ?? "").repeat(1_000));
  await assert.rejects(endless.upstream.manifest(repository, tag, anyAsk()), failure("invalid"));
});
