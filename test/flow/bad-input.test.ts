import assert from "node:assert/strict";
import { once } from "node:events";
import { readdir } from "node:fs/promises";
import { connect } from "node:net";
import { after, before, describe, test } from "node:test";
import "../support/network.ts";
import { type Mirror, startMirror } from "../support/mirror.ts";
import { createUpstream, type ScriptedUpstream } from "../support/upstream.ts";

const hex = "0123456789abcdef".repeat(4);
const digest = `sha256:${hex}`;
const name = "library/test";

interface Refusal {
  readonly status: number;
  readonly code: string;
}

const nameInvalid: Refusal = { status: 400, code: "NAME_INVALID" };
const manifestUnknown: Refusal = { status: 404, code: "MANIFEST_UNKNOWN" };
const digestInvalid: Refusal = { status: 400, code: "DIGEST_INVALID" };
const rangeInvalid: Refusal = { status: 416, code: "RANGE_INVALID" };
const nameUnknown: Refusal = { status: 404, code: "NAME_UNKNOWN" };
const notFound: Refusal = { status: 404, code: "NOT_FOUND" };
const unsupported: Refusal = { status: 405, code: "UNSUPPORTED" };

/** What must be refused, by the request's target. */
const targets: readonly (readonly [refusal: Refusal, targets: readonly string[]])[] = [
  [
    nameInvalid,
    [
      ..."UPPER|library/Test|-a|a-|a..b|a.|.a|_a|a_|a___b|a b|a@b|a:b|tést|library//test|library/|/test|..|../..|a/../b|."
        .split("|")
        .map((each) => `/v2/${encodeURI(each)}/manifests/1`),
      "/v2/%2e%2e/%2e%2e/etc/manifests/passwd",
      "/v2/a/%2e%2e/%2E%2E/b/blobs/" + digest,
      "/v2/a%2Fb/manifests/1",
      "/v2/a%2fb/manifests/1",
      "/v2/a%5Cb/manifests/1",
      "/v2/a\\b/manifests/1",
      "/v2/a%00b/manifests/1",
      "/v2/a%0d%0aX-Injected:1/manifests/1",
      "/v2/a%252fb/manifests/1",
      "/v2/a%E2%80%AEb/manifests/1",
      // Malformed percent-encoding, and encodings of what is not UTF-8.
      "/v2/a%/manifests/1",
      "/v2/a%zz/manifests/1",
      "/v2/a%4/manifests/1",
      "/v2/%C0%AE%C0%AE/manifests/1",
      "/v2/%E2%82/manifests/1",
      "/v2/%ff/tags/list",
      "/v2/library/_tags/manifests/1",
      "/v2/library/_links/sha256/blobs/" + digest,
      `/v2/${"a".repeat(256)}/manifests/1`,
      `/v2/${"a/".repeat(127)}aa/manifests/1`,
      `/v2/docker.io/${"a".repeat(256)}/manifests/1`,
      `/v2/${name}/`,
      // Before the root.
      "/UPPER/v2/library/test/manifests/1",
      "/../v2/library/test/manifests/1",
      "/%2e%2e/v2/library/test/manifests/1",
      "/a%2fb/v2/library/test/manifests/1",
      "//v2/library/test/manifests/1",
    ],
  ],
  [
    manifestUnknown,
    [".hidden", "-x", "..", "a%20b", "a%0Ab", "a%00", "t%C3%A4g", "a%2Fb", "%2e%2e%2fx", "a".repeat(129)].map(
      (tag) => `/v2/${name}/manifests/${tag}`,
    ),
  ],
  [
    digestInvalid,
    [
      "sha256:",
      "sha256:abc",
      `sha256:${hex.toUpperCase()}`,
      `SHA256:${hex}`,
      `sha256:${hex}0`,
      `sha256:${hex.slice(1)}`,
      `sha256:${hex.slice(1)}g`,
      `sha512:${hex}`,
      "md5:d41d8cd98f00b204e9800998ecf8427e",
      `sha256:..%2f${hex.slice(5)}`,
      `sha256:${hex}%00`,
      `:${hex}`,
      `sha256:${hex}:x`,
    ].flatMap((bad) => ["blobs", "manifests", "referrers"].map((kind) => `/v2/${name}/${kind}/${bad}`)),
  ],
  [digestInvalid, [`/v2/${name}/blobs/latest`, `/v2/${name}/blobs/..`, `/v2/${name}/referrers/1`]],
  [
    nameInvalid,
    [
      "../x",
      "a%20b",
      "a%2Fb",
      "http://example.com",
      "example.com/x",
      "user@example.com",
      "example.com:0",
      "example.com:65536",
      "example.com:x",
      "-a.example.com",
      "a..example.com",
      "_a.example.com",
      "t%C3%A4g.example.com",
      "%zz",
      "%00",
      "2130706433",
      "127.1",
      "0x7f.1",
      "127.0.0.01",
      "[::1",
      "[fe80::1%25eth0]",
      "a".repeat(256),
      "docker.io&ns=quay.io",
    ].flatMap((ns) => [`/v2/${name}/manifests/1?ns=${ns}`, `/v2/${name}/blobs/${digest}?ns=${ns}`]),
  ],
  [
    // Well-formed, but nothing that a mirror may be made to ask.
    nameUnknown,
    [
      "localhost",
      "localhost:5000",
      "localhost.localdomain.localhost",
      "127.0.0.1",
      "127.0.0.1:443",
      "10.0.0.1:5000",
      "169.254.169.254",
      "[::1]",
      "[::ffff:127.0.0.1]:443",
      "[2001:db8::1]",
      "metadata",
      "registry.example.com:8443",
    ].flatMap((ns) => [`/v2/${name}/manifests/1?ns=${ns}`, `/v2/${name}/tags/list?ns=${ns}`]),
  ],
  [nameUnknown, ["/v2/127.0.0.1/x/manifests/1", "/127.0.0.1/v2/x/manifests/1", "/v2/localhost/x/tags/list"]],
  [nameInvalid, ["last=%zz", "last=%C0%AE", "%=1", "n=1&last=%"].map((query) => `/v2/${name}/tags/list?${query}`)],
  [
    { status: 400, code: "PAGINATION_NUMBER_INVALID" },
    ["x", "-1", "1e3", "0x1", ""].map((n) => `/v2/${name}/tags/list?n=${n}`),
  ],
  [
    notFound,
    ["/v1/_ping", "/v3/", "/v2/_catalog", "/v2/x", `/v2/${name}`, "/etc/passwd", "/favicon.ico", "/v2/manifests/1"],
  ],
  [
    { status: 414, code: "URI_TOO_LONG" },
    [`/v2/${"a".repeat(5000)}/manifests/1`, `/v2/${name}/tags/list?last=${"a".repeat(5000)}`],
  ],
];

const ranges = [
  "bytes=",
  "bytes=-",
  "bytes=x-",
  "bytes=1",
  "bytes=--1",
  "bytes=1-x",
  "bytes=0x1-2",
  "bytes=1 - 2",
  "bytes=0-1,x",
];

/** What is not HTTP, or not to be read: the bytes that are sent, and the status. */
const malformed: Record<string, readonly [status: number, text: string]> = {
  "not HTTP": [400, "\u0016\u0003\u0001 hello\r\n\r\n"],
  "an unknown method": [400, "BREW /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"],
  "a control character in the target": [400, "GET /v2/a\u0001/manifests/1 HTTP/1.1\r\nHost: x\r\n\r\n"],
  "a header's name with a space": [400, "GET /v2/ HTTP/1.1\r\nHost: x\r\nA b: c\r\n\r\n"],
  "two lengths": [400, "POST /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"],
  "a length and chunks": [
    400,
    "POST /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
  ],
  "a header that is too large": [431, `GET /v2/ HTTP/1.1\r\nHost: x\r\nA: ${"a".repeat(20_000)}\r\n\r\n`],
  "headers that are too large together": [
    431,
    `GET /v2/ HTTP/1.1\r\nHost: x\r\n${"A: aaaaaaaaaaaaaaaaaaaa\r\n".repeat(1000)}\r\n`,
  ],
  "a target that is too large": [431, `GET /v2/${"a".repeat(20_000)}/manifests/1 HTTP/1.1\r\nHost: x\r\n\r\n`],
};

let upstream: ScriptedUpstream;
let mirror: Mirror;
let tree: string[];

/** All that is on disk, folders too. */
async function readTree(): Promise<string[]> {
  return (await readdir(mirror.root, { recursive: true })).filter((path) => !/^(?:lock|ledger)/.test(path)).toSorted();
}

before(async () => {
  upstream = await createUpstream();
  mirror = await startMirror(upstream.host);
  tree = await readTree();
});
after(async () => {
  try {
    // Nothing was refused that late that it had left a trace.
    assert.deepEqual(await readTree(), tree);
    assert.equal(upstream.requests.length, 0);
  } finally {
    await mirror[Symbol.asyncDispose]();
    await upstream[Symbol.asyncDispose]();
  }
});

async function expectRefusal(
  refusal: Refusal,
  target: string,
  method: string,
  headers: Record<string, string> = {},
): Promise<Record<string, unknown>> {
  const answer = await mirror.get(target, { method, headers });
  assert.equal(answer.status, refusal.status, `${method} ${target}`);
  assert.equal(answer.headers["content-type"], "application/json");
  assert.equal(answer.headers["docker-distribution-api-version"], "registry/2.0");
  if (method !== "HEAD") {
    const { errors } = JSON.parse(answer.body.toString()) as { errors: { code: string; message: string }[] };
    assert.equal(errors.length, 1);
    assert.equal(errors[0]?.code, refusal.code, `${method} ${target}`);
    assert.equal(typeof errors[0]?.message, "string");
  }
  assert.deepEqual(await readTree(), tree, `${method} ${target}`);
  assert.equal(upstream.requests.length, 0, `${method} ${target}`);
  return answer.headers;
}

describe("a malformed target is refused:", () => {
  for (const [refusal, bad] of targets) {
    for (const target of bad) {
      const shown = target.length > 100 ? `${target.slice(0, 60)}… (${target.length})` : target;
      test(`${refusal.code} ${JSON.stringify(shown)}`, async () => {
        for (const method of ["GET", "HEAD"]) await expectRefusal(refusal, target, method);
      });
    }
  }
});

test("a malformed range is refused before anybody is asked", async () => {
  for (const range of ranges) await expectRefusal(rangeInvalid, `/v2/${name}/blobs/${digest}`, "GET", { range });
});

test("a Host that is a registry's has no say, nor has one that is malformed", async () => {
  for (const host of ["quay.io", "127.0.0.1", "localhost", "..", "a b", "", "x".repeat(300)]) {
    await expectRefusal(nameInvalid, "/v2/UPPER/manifests/1", "GET", { host });
  }
});

test("nothing can be changed", async () => {
  const changes = [
    ["POST", `/v2/${name}/blobs/uploads/`],
    ["POST", `/v2/${name}/blobs/uploads`],
    ["PATCH", `/v2/${name}/blobs/uploads/1`],
    ["PUT", `/v2/${name}/blobs/uploads/1?digest=${digest}`],
    ["GET", `/v2/${name}/blobs/uploads/1`],
    ["PUT", `/v2/${name}/manifests/1`],
    ["DELETE", `/v2/${name}/manifests/1`],
    ["DELETE", `/v2/${name}/blobs/${digest}`],
    ["OPTIONS", `/v2/${name}/manifests/1`],
    ["POST", "/v2/"],
  ] as const;
  for (const [method, target] of changes) {
    const headers = await expectRefusal(unsupported, target, method);
    assert.equal(headers["allow"], "GET, HEAD");
  }
});

for (const [what, [status, text]] of Object.entries(malformed)) {
  test(`${what} is answered ${status}`, async () => {
    const socket = connect({ port: Number(new URL(mirror.url).port), host: "127.0.0.1" });
    let received = "";
    socket.on("data", (chunk: Buffer) => (received += chunk.toString()));
    // What is refused while it is still being sent may end with a reset; the answer has come before.
    socket.on("error", () => undefined);
    socket.write(text, "latin1");
    await once(socket, "close");
    const [head = "", body = ""] = received.split("\r\n\r\n", 2);
    assert.ok(head.startsWith(`HTTP/1.1 ${status} `), received);
    assert.match(head, /\r\nContent-Type: application\/json\r\n/);
    assert.ok(Array.isArray((JSON.parse(body) as { errors: unknown }).errors));
  });
}

test("a namespace that was refused is not remembered: none of them shows in the metrics", async () => {
  const { body } = await mirror.get("/metrics");
  for (const trace of ["169.254", "localhost", "example.com", "UPPER", "passwd"]) {
    assert.ok(!body.includes(trace), trace);
  }
});
