/* What is not HTTP, or too much of it. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { connect } from "node:net";
import { test } from "node:test";
import { start } from "./test-server.ts";

/** Sends bytes; what comes until the connection ends. */
async function exchange(port: number, bytes: string): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  let got = "";
  socket.setEncoding("utf8").on("data", (text: string) => {
    got += text;
  });
  socket.write(bytes);
  await once(socket, "close");
  return got;
}

test("what is not HTTP gets an answer in OCI form, and the connection ends", async () => {
  await using server = await start(undefined);
  for (const [bytes, status, message] of [
    ["rubbish\r\n\r\n", "400 Bad Request", "the request is not HTTP"],
    [
      `GET /v2/ HTTP/1.1\r\nHost: x\r\nX-Long: ${"x".repeat(20_000)}\r\n\r\n`,
      "431 Request Header Fields Too Large",
      "the request's header is too large",
    ],
  ] as const) {
    const [head = "", body = ""] = (await exchange(server.port, bytes)).split("\r\n\r\n");
    assert.match(head, new RegExp(`^HTTP/1\\.1 ${status}\r\n`));
    assert.match(head, /\r\nConnection: close(\r\n|$)/);
    assert.match(head, new RegExp(`\r\nContent-Length: ${Buffer.byteLength(body)}\r\n`));
    assert.deepEqual(JSON.parse(body), { errors: [{ code: "UNSUPPORTED", message }] });
  }
});
