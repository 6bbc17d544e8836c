/* Pushes as nobody should send them: what they are answered, and what they leave. */
import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { connect } from "node:net";
import { test } from "node:test";
import { digestOf } from "../../src/oci/digest.ts";
import { parseNamespace } from "../../src/oci/reference.ts";
import { until } from "../support/event-loop.ts";
import { bytesOf, codeOf, digestOfDocument, Pusher, startHosted } from "../support/hosted.ts";
import { failFiles } from "../support/failing-files.ts";
import { request } from "../support/http.ts";
import type { Mirror } from "../support/mirror.ts";
import { plainHosted } from "../support/mirror.ts";
import { openFilesBelow } from "../support/open-files.ts";
import { Sending } from "../support/sending.ts";

const content = Buffer.from("0123456789");
const digest = digestOf(content);
const repository = "/v2/apps/team/web";

/** Sends bytes on a connection of their own; what comes until it ends, or until it has all of what is awaited. */
async function exchange(mirror: Mirror, bytes: string, awaited?: RegExp): Promise<string> {
  const socket = connect(Number(new URL(mirror.url).port), "127.0.0.1");
  socket.on("error", () => undefined);
  socket.write(bytes);
  let got = "";
  for await (const chunk of socket) {
    got += String(chunk);
    if (awaited?.test(got)) break;
  }
  socket.destroy();
  return got;
}

/** The statuses of the answers in what came. */
function statusesIn(text: string): string[] {
  return [...text.matchAll(/^HTTP\/1\.1 (\d{3})/gm)].map(([, status = ""]) => status);
}

test("a chunk's place is one or is refused, and nothing is stored of what is refused", async () => {
  await using mirror = await startHosted();
  const pusher = new Pusher(mirror);
  const location = await pusher.open();
  const bad = [
    "x",
    "",
    "0-",
    "-9",
    "9-0",
    "0-9-",
    "a-b",
    "0-9, 20-29",
    "bytes=0-9",
    "0x0-0x9",
    "-1-8",
    "0-9999999999999999",
  ];
  for (const range of [...bad, " ", "0 - 9", "0-9/x", "items 0-9"]) {
    const refused = await pusher.ask(location, { method: "PATCH", headers: { "content-range": range }, body: content });
    assert.deepEqual([refused.status, codeOf(refused)], [400, "BLOB_UPLOAD_INVALID"], JSON.stringify(range));
  }
  for (const range of ["0-8", "0-10", "0-999999999999999"]) {
    const headers = { "content-range": range, "content-length": "10" };
    const refused = await pusher.ask(location, { method: "PATCH", headers, body: content });
    assert.deepEqual([refused.status, codeOf(refused)], [400, "SIZE_INVALID"], range);
  }
  for (const range of ["1-10", "999999999999990-999999999999999"]) {
    const headers = { "content-range": range, "content-length": "10" };
    const refused = await pusher.ask(location, { method: "PATCH", headers, body: content });
    assert.deepEqual([refused.status, refused.headers.range], [416, "0-0"], range);
    assert.equal(refused.headers.location, location);
  }
  assert.deepEqual(await readdir(`${mirror.root}/hosted`), ["state"]);
  // As other protocols write it.
  const taken = await pusher.ask(location, {
    method: "PATCH",
    headers: { "content-range": "bytes 0-9/*" },
    body: content,
  });
  assert.deepEqual([taken.status, taken.headers.range], [202, "0-9"]);
});

test("lengths that are no lengths are refused, and those that lie store what came", async () => {
  await using mirror = await startHosted();
  const pusher = new Pusher(mirror);
  const location = await pusher.open();
  const patch = (fields: string, body: string): string =>
    `PATCH ${location} HTTP/1.1\r\nHost: a\r\n${fields}\r\n\r\n${body}`;
  for (const fields of [
    "Content-Length: x",
    "Content-Length: -1",
    "Content-Length: 99999999999999999999999",
    "Content-Length: 5\r\nContent-Length: 6",
    "Content-Length: 5\r\nTransfer-Encoding: chunked",
  ]) {
    assert.deepEqual(statusesIn(await exchange(mirror, patch(fields, "01234"))), ["400"], fields);
  }
  assert.equal((await pusher.ask(location)).headers.range, "0-0");
  // Less than was said, then nothing: what came is there.
  const short = connect({ port: Number(new URL(mirror.url).port), host: "127.0.0.1" });
  short.on("error", () => undefined);
  short.write(patch("Content-Length: 10", "01234"));
  await until(async () => (await pusher.ask(location)).headers.range === "0-4");
  short.destroy();
  // What comes behind the body is another request, and no part of it.
  const more = await exchange(mirror, `${patch("Content-Length: 2\r\nConnection: close", "56")}789`);
  assert.deepEqual(statusesIn(more), ["202"]);
  // Without a length it is as long as it is.
  const chunked = patch("Transfer-Encoding: chunked\r\nConnection: close", "2\r\n78\r\n1\r\n9\r\n0\r\n\r\n");
  assert.match(await exchange(mirror, chunked), /^HTTP\/1\.1 202 [^]*\r\nRange: 0-9\r\n/);
  assert.equal((await pusher.put(location, digest)).status, 201);
});

test("who waits for 100 Continue gets it, and its blob is taken", async () => {
  await using mirror = await startHosted();
  const pusher = new Pusher(mirror);
  const location = await pusher.open();
  const socket = connect(Number(new URL(mirror.url).port), "127.0.0.1");
  socket.write(
    `PUT ${location}?digest=${digest} HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n`,
  );
  let got = "";
  for await (const chunk of socket) {
    got += String(chunk);
    if (got.endsWith("100 Continue\r\n\r\n")) socket.write(content);
    else if (/ 201 /.test(got)) break;
  }
  socket.destroy();
  assert.deepEqual(statusesIn(got), ["100", "201"]);
});

test("who still sends a hundred megabytes is told why they are not wanted, and the server does not keep them", async () => {
  await using mirror = await startHosted({ hosted: { maxBlobBytes: 1_000_000 } });
  const pusher = new Pusher(mirror);
  const begun = await pusher.open();
  await pusher.patch(begun, content);
  const [large, piece] = [100 * 1024 * 1024, Buffer.alloc(1024 * 1024)];
  const unknown = `${begun.slice(0, -1)}${begun.endsWith("0") ? "1" : "0"}`;
  const cases: [string, string, Record<string, string | number>, number][] = [
    ["PATCH", begun, { "content-length": large }, 413],
    ["PATCH", begun, {}, 413],
    ["PATCH", begun, { "content-range": `5-${large + 4}` }, 416],
    ["PATCH", unknown, {}, 404],
    ["PUT", `${unknown}?digest=${digest}`, { "content-length": large }, 404],
    ["PUT", `${begun}?digest=sha256:00`, {}, 400],
    ["PUT", `${repository}/manifests/1`, {}, 413],
    ["POST", `${repository}/manifests/1`, {}, 405],
    ["POST", "/v2/docker.io/library/a/blobs/uploads/", {}, 405],
  ];
  const before = process.memoryUsage();
  let most = 0;
  for (const [method, path, headers, status] of cases) {
    using sending = new Sending(mirror.url, path, method, headers);
    let answered = false;
    sending.answer.then(
      () => (answered = true),
      () => (answered = true),
    );
    for (let sent = 0; sent < large && !answered; sent += piece.length) {
      await Promise.race([sending.send(piece).catch(() => undefined), sending.answer]);
      most = Math.max(most, process.memoryUsage().arrayBuffers);
    }
    assert.equal((await sending.answer).status, status, `${method} ${path}`);
  }
  assert.ok(most - before.arrayBuffers < 50 * 1024 * 1024, `${most - before.arrayBuffers} bytes`);
  assert.deepEqual(await readdir(`${mirror.root}/tmp`), []);
  await until(() => openFilesBelow(`${mirror.root}/hosted`).length === 0);
});

test("a thousand uploads that are opened and not used leave nothing", async () => {
  await using mirror = await startHosted();
  const pusher = new Pusher(mirror);
  const locations = new Set<string>();
  for (let count = 0; count < 1_000; count += 50) {
    for (const location of await Promise.all(Array.from({ length: 50 }, () => pusher.open()))) locations.add(location);
  }
  assert.equal(locations.size, 1_000);
  assert.deepEqual(await readdir(`${mirror.root}/hosted`), ["state"]);
  assert.equal((await pusher.ask("/tags/list")).status, 404);
});

test("manifests and tags that are none are refused, and the largest manifest is taken", async () => {
  await using mirror = await startHosted();
  const pusher = new Pusher(mirror);
  const image = await pusher.imageDocument("image");
  const sized = (size: number): object => {
    const spare = size - bytesOf({ ...image, annotations: { x: "" } }).length;
    return { ...image, annotations: { x: "x".repeat(spare) } };
  };
  assert.equal(codeOf(await pusher.manifest("1", sized(4 * 1024 * 1024 + 1))), "CONTENT_TOO_LARGE");
  assert.equal((await pusher.manifest("1", sized(4 * 1024 * 1024))).status, 201);
  for (const body of ["", "{", "[]", "null", "{}", '{"schemaVersion":1}', "\u0000", "[".repeat(100_000)]) {
    const refused = await pusher.ask("/manifests/1", {
      method: "PUT",
      headers: { "content-type": "application/json" },
      body,
    });
    assert.deepEqual([refused.status, codeOf(refused)], [400, "MANIFEST_INVALID"], body.slice(0, 20));
  }
  const known = digestOfDocument(image);
  for (const query of [
    "tag=",
    "tag=-a",
    "tag=a/b",
    "tag=..",
    "tag=a%20b",
    `tag=${"a".repeat(129)}`,
    "tag=ok&tag=%00",
  ]) {
    const refused = await pusher.manifest(`${known}?${query}`, image);
    assert.deepEqual([refused.status, codeOf(refused)], [400, "TAG_INVALID"], query);
  }
  assert.deepEqual(await pusher.tags(), ["1"]);
  for (const other of [
    "sha384:00",
    "md5:d41d8cd98f00b204e9800998ecf8427e",
    `sha256:${"A".repeat(64)}`,
    "sha256:",
    ":",
  ]) {
    for (const [method, path] of [
      ["PUT", `/manifests/${other}`],
      ["DELETE", `/blobs/${other}`],
      ["POST", `/blobs/uploads/?mount=${other}`],
      ["POST", `/blobs/uploads/?digest=${other}`],
    ] as const) {
      const { status } = await pusher.ask(path, { method, body: bytesOf(image) });
      assert.ok(status === 400 || status === 404, `${method} ${path}: ${status}`);
    }
  }
});

test("each Location leads back, by whatever name the namespace was asked for", async () => {
  const hosted = { ...plainHosted, serverNames: ["apps.example.com"] };
  const second = { ...plainHosted, namespace: parseNamespace("registry.example.com") };
  await using mirror = await startHosted({ config: { hosted: [hosted, second] } });
  const ways: [string, string, string?][] = [
    ["/v2/apps/team/web", ""],
    ["/v2/v2/apps/team/web", ""],
    ["/apps/v2/team/web", ""],
    ["/mirror/v2/apps/team/web", ""],
    ["/v2/apps/v2/team/web", ""],
    ["/v2/team/web", "ns=apps"],
    ["/v2/apps/team/web", "ns=apps"],
    ["/v2/team/web", "", "apps.example.com"],
    ["/v2/apps/team/web", "", "apps.example.com:5000"],
    ["/v2/te%61m/w%65b", "ns=%61pps"],
    ["/v2/registry.example.com/team/web", ""],
    ["/v2/team/web", "ns=registry.example.com"],
  ];
  for (const [path, query, host] of ways) {
    const ask = async (target: string, method = "GET", body?: Buffer): ReturnType<typeof request> => {
      const headers = { host: host ?? "127.0.0.1", "content-type": "application/vnd.oci.image.manifest.v1+json" };
      return request(mirror.url, { target, method, headers, ...(body && { body }) });
    };
    const what = `${path}?${query} ${host}`;
    const withQuery = (target: string, more: string): string => `${target}${target.includes("?") ? "&" : "?"}${more}`;
    const opened = await ask(`${path}/blobs/uploads/?${query}`, "POST");
    assert.equal(opened.status, 202, what);
    let location = String(opened.headers.location);
    assert.match(location, /^\/[^/]/, what);
    const patched = await ask(location, "PATCH", content);
    assert.equal(patched.status, 202, what);
    location = String(patched.headers.location);
    assert.equal((await ask(location)).headers.range, "0-9", what);
    // A proxy in front, which is asked by the whole URL.
    const put = await ask(withQuery(`http://${host ?? "mirror.example.com"}${location}`, `digest=${digest}`), "PUT");
    assert.equal(put.status, 201, what);
    const blob = await ask(String(put.headers.location));
    assert.ok(blob.body.equals(content), what);
    const document = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: "application/vnd.oci.image.manifest.v1+json",
        config: { mediaType: "application/vnd.oci.empty.v1+json", digest, size: 10 },
        layers: [],
      }),
    );
    const pushed = await ask(`${path}/manifests/1?${query}`, "PUT", document);
    assert.equal(pushed.status, 201, what);
    assert.ok((await ask(String(pushed.headers.location))).body.equals(document), what);
    const mounted = await ask(`${path}-copy/blobs/uploads/?mount=${digest}&from=team/web&${query}`, "POST");
    const isNamed = query !== "" || host !== undefined || path.startsWith("/apps/");
    assert.equal(mounted.status, isNamed ? 201 : 202, what);
    if (isNamed) assert.ok((await ask(String(mounted.headers.location))).body.equals(content), what);
  }
});

test("what is not a repository's name cannot be pushed to", async () => {
  await using mirror = await startHosted();
  for (const name of [
    "Team/web",
    "team%2Fweb",
    "team//web",
    "team/../web",
    "team/%2e%2e/web",
    "-team",
    `${"a".repeat(256)}`,
    "té",
    "a%00",
  ]) {
    const { status } = await mirror.get(`/v2/apps/${name}/blobs/uploads/`, { method: "POST" });
    assert.ok(status === 400 || status === 404, `${name}: ${status}`);
  }
  assert.equal((await mirror.get("/v2/apps/blobs/uploads/", { method: "POST" })).status >= 400, true);
  // Names that look like other paths are names.
  for (const name of ["blobs/uploads", "manifests/tags", "a/blobs/uploads/manifests", "v2", "apps"]) {
    const pusher = new Pusher(mirror, name);
    const image = await pusher.image("1");
    assert.equal(await pusher.digest("1"), image, name);
    assert.deepEqual(await pusher.tags(), ["1"], name);
  }
});

test("no log line tells by which name an upload can be gone on with", async () => {
  await using mirror = await startHosted();
  const pusher = new Pusher(mirror);
  const [location, other] = [await pusher.open(), await pusher.open()];
  const sessions = [location, other].map((each) => each.slice(each.lastIndexOf("/") + 1));
  await pusher.patch(location, content, 0);
  await pusher.patch(location, content, 3);
  await pusher.put(location, "sha256:00");
  await pusher.put(location, digestOf(Buffer.from("other")));
  await pusher.ask(location);
  await pusher.ask(location.replace("team/web", "team/other"), { method: "DELETE" });
  {
    // What the system says of a file has its path.
    using _ = failFiles(`${mirror.root}/hosted/uploads`, "EACCES", ["write"]);
    assert.equal((await pusher.patch(other, content)).status, 503);
  }
  const lines = mirror.log().map((line) => JSON.stringify(line));
  assert.ok(lines.some((line) => line.includes("EACCES")));
  for (const line of lines) for (const session of sessions) assert.ok(!line.includes(session), line);
});
