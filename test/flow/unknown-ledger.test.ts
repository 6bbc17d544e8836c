/*
 * A mirror that does not know what lies in its storage: what clients are told, and the administration.
 */
import assert from "node:assert/strict";
import { rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import "../support/network.ts";
import { digestOf } from "../../src/oci/digest.ts";
import { createBarrier } from "../support/barrier.ts";
import { adminListen } from "../support/cache-admin.ts";
import { request, type WholeResponse } from "../support/http.ts";
import { type Mirror, startMirror } from "../support/mirror.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";
import { createUpstream } from "../support/upstream.ts";

const maxSize = { kind: "bytes", bytes: 10 * 1024 * 1024 } as const;
const emptyDigest = digestOf(Buffer.alloc(0));
const failed = { msg: "the ledger could not be written or read: it is tried again" };

/** Makes a folder's ledger one that cannot be opened: the name of its log leads to itself. */
async function spoilLedger(root: string): Promise<void> {
  const log = join(root, "ledger.sqlite-wal");
  await rm(log, { force: true });
  await symlink(log, log);
}

test("nothing is said to be stored while max_size lets nothing in, as it is not known what there is", async () => {
  await using upstream = await createUpstream();
  const image = upstream.addImage("library/alpine", "3");
  const [blob = ""] = image.blobs;
  await using folder = await createTemporaryDirectory();
  const { path: root } = folder;
  await (await startMirror(upstream.host, { root })).close();
  await spoilLedger(root);
  await using mirror = await startMirror(upstream.host, { root, storage: { maxSize } });
  await mirror.logged(failed);
  const miss = "entrepot; fwd=uri-miss";
  const expected = [
    [`manifests/3`, `${miss}; fwd-status=200`],
    // From memory.
    [`manifests/${image.digest}`, "entrepot; hit"],
    [`blobs/${blob}`, miss],
    [`blobs/${blob}`, miss],
  ];
  for (const [what = "", said] of expected) {
    const { status, headers } = await mirror.get(`/v2/library/alpine/${what}`);
    assert.equal(status, 200, what);
    assert.equal(headers["cache-status"], said, what);
    await mirror.app.idle();
  }
  const other = upstream.addImage("library/alpine", "4");
  const { headers } = await mirror.get(`/v2/library/alpine/manifests/${other.digest}`);
  assert.equal(headers["cache-status"], miss);
});

/** Everything that can be asked of the administration but to warm, which asks upstreams. */
const operations: readonly (readonly [method: string, path: string, body?: object])[] = [
  ["GET", "/usage"],
  ["GET", "/namespaces"],
  ["GET", "/repositories"],
  ["GET", "/repositories?namespace=docker.io"],
  ["GET", "/tags?repository=alpine"],
  ...["docker.io/", "alpine", "alpine:3", `alpine@${emptyDigest}`, emptyDigest].flatMap((target) => [
    ["POST", "/purge", { target, dryRun: true }] as const,
    ["POST", "/purge", { target }] as const,
    ["POST", "/jobs", { kind: "purge", target }] as const,
  ]),
  ["DELETE", "/library/alpine/manifests/3"],
  ["DELETE", `/library/alpine/blobs/${emptyDigest}?ns=docker.io`],
  ["POST", "/jobs", { kind: "evict" }],
  ["POST", "/jobs", { kind: "evict", dryRun: true }],
  ["POST", "/jobs", { kind: "verify" }],
  ["GET", "/jobs"],
  ["POST", "/pins", { pattern: "quay.io/a/*:b" }],
  ["GET", "/pins"],
  ["DELETE", "/pins?pattern=quay.io/a/*:b"],
];
/** What needs no ledger. */
const alwaysDone = /^(?:GET \/jobs|POST \/jobs .*verify|\w+ \/pins)/;

/** Asks for everything; what cannot be answered now is 503, and says when to ask again. */
async function askAll(mirror: Mirror, check: (what: string, status: number) => void): Promise<void> {
  for (const [method, path, body] of operations) {
    const what = `${method} ${path} ${JSON.stringify(body ?? "")}`;
    const headers = { "Content-Type": "application/json" };
    const options = { method, ...(body !== undefined && { body: JSON.stringify(body), headers }) };
    const answer: WholeResponse = await request(`${mirror.app.addresses[1] ?? ""}/_admin${path}`, options);
    const { status } = answer;
    assert.ok(status < 500 || status === 503, `${what}: ${status} ${answer.body.toString()}`);
    if (status === 503) assert.equal(answer.headers["retry-after"], "5", what);
    check(what, status);
  }
}

test("while the ledger cannot be opened, the administration answers 503 to what it does not know, and never 500", async () => {
  await using upstream = await createUpstream();
  await using folder = await createTemporaryDirectory();
  const { path: root } = folder;
  await (await startMirror(upstream.host, { root })).close();
  await spoilLedger(root);
  await using mirror = await startMirror(upstream.host, { root, config: { adminListen } });
  await mirror.logged(failed);
  await askAll(mirror, (what, status) => assert.equal(status < 300, alwaysDone.test(what), `${what}: ${status}`));
});

test("from the first request on, and while the process stops, no operation is answered with 500", async () => {
  await using upstream = await createUpstream();
  const image = upstream.addImage("library/alpine", "3");
  const [blob = ""] = image.blobs;
  await using mirror = await startMirror(upstream.host, { config: { adminListen } });
  // The ledger is being opened, and built.
  await askAll(mirror, () => undefined);
  const barrier = createBarrier();
  upstream.when({ path: `/blobs/${blob}` }, { pauseAt: barrier });
  const pulled = mirror.get(`/v2/library/alpine/blobs/${blob}`);
  await barrier.reached;
  const closed = mirror.close();
  await askAll(mirror, (what, status) => {
    if (what.startsWith("POST /jobs")) assert.equal(status, 503, what);
  });
  barrier.release();
  await pulled;
  await closed;
});
