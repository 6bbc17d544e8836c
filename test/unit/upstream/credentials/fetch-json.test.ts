import assert from "node:assert/strict";
import { test } from "node:test";
import { createFetchJson } from "../../../../src/upstream/credentials/fetch-json.ts";
import { answer, never, startServer } from "../scripted.ts";

test("it posts, and reads JSON or nothing, whatever the status", async (context) => {
  const server = await startServer(context, (request, response) => {
    const parts: Buffer[] = [];
    request.on("data", (part: Buffer) => parts.push(part));
    request.on("end", () =>
      answer(response, request.url === "/json" ? 200 : 500, Buffer.concat(parts).toString("utf8")),
    );
  });
  const fetchJson = createFetchJson();
  const post = (path: string, body: string): ReturnType<typeof fetchJson> =>
    fetchJson({ method: "POST", url: new URL(path, server.url), headers: { "x-test": "1" }, body }, never());
  assert.deepEqual(await post("/json", '{"a":1}'), { status: 200, body: { a: 1 } });
  assert.deepEqual(await post("/page", "<html>"), { status: 500, body: undefined });
  assert.deepEqual(
    server.requests.map(({ headers }) => headers["x-test"]),
    ["1", "1"],
  );
});

test("no redirect is followed, as what is sent is secret", async (context) => {
  const server = await startServer(context, (_request, response) =>
    answer(response, 307, "", { location: `${server.url}/elsewhere` }),
  );
  const got = await createFetchJson()(
    { method: "POST", url: new URL(server.url), headers: {}, body: "s3cret" },
    never(),
  );
  assert.equal(got.status, 307);
  assert.deepEqual(server.asked, ["POST /"]);
});

test("an answer that is too large is given up", async (context) => {
  const server = await startServer(context, (_request, response) =>
    answer(response, 200, Buffer.alloc(1024 * 1024 + 1, " ")),
  );
  await assert.rejects(
    createFetchJson()({ method: "POST", url: new URL(server.url), headers: {}, body: "" }, never()),
    { name: "AnswerTooLargeError" },
  );
});
