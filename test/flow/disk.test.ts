import assert from "node:assert/strict";
import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import "../support/network.ts";
import { createBarrier } from "../support/barrier.ts";
import { pseudoRandomBytes } from "../support/content.ts";
import { failFiles } from "../support/failing-files.ts";
import { open, request } from "../support/http.ts";
import { type Mirror, startMirror } from "../support/mirror.ts";
import { startProcess } from "../support/process.ts";
import { inspectStorage } from "../support/storage.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";
import { createUpstream, type ScriptedUpstream } from "../support/upstream.ts";

const bytes = pseudoRandomBytes(5_000_000, "disk");

function complaints(mirror: Pick<Mirror, "log">): Record<string, unknown>[] {
  return mirror.log().filter(({ level, msg }) => Number(level) >= 40 && msg !== "request");
}

const passedOn = "the storage fails: content is passed on but not cached";
const fetched = "the storage fails: content is fetched although it is cached";

/** What `/readyz?verbose` tells of the storage. */
async function storageState(mirror: Mirror): Promise<{ writable: boolean; reason?: string }> {
  const { status, body } = await mirror.get("/readyz?verbose");
  assert.equal(status, 200);
  return (JSON.parse(body.toString()) as { storage: { writable: boolean; reason?: string } }).storage;
}

/** The operations and codes of the log's lines about the storage. */
function storageLines(mirror: Mirror, message: string): string[] {
  const lines = mirror.log().filter(({ msg }) => msg === message);
  return lines.map(({ operation, code }) => `${String(operation)} ${String(code)}`).toSorted();
}

/** Pulls an image and a large blob, by several clients at once, whole and in part, slow and quick. */
async function expectPulls(url: string, upstream: ScriptedUpstream, name: string): Promise<void> {
  const repository = `/v2/library/${name}`;
  const image = upstream.addImage(`library/${name}`, "1");
  for (const path of ["manifests/1", `manifests/${image.digest}`, ...image.blobs.map((digest) => `blobs/${digest}`)]) {
    const { status, headers } = await request(`${url}${repository}/${path}`);
    assert.equal(status, 200);
    if (path === "manifests/1") assert.equal(headers["docker-content-digest"], image.digest);
  }
  const digest = upstream.addBlob(bytes);
  const path = `${repository}/blobs/${digest}`;
  const everybody = createBarrier();
  // Much sooner than a client that takes nothing would be given up (10 s): nobody is to be waited for here.
  const signal = AbortSignal.timeout(8_000);
  upstream.when({ path, times: 1 }, { stallAfterBytes: 300_000, stallAt: everybody });
  const whole = await Promise.all([open(`${url}${path}`, { signal }), open(`${url}${path}`, { signal })]);
  const part = await open(`${url}${path}`, { signal, headers: { range: "bytes=2000000-2999999" } });
  const end = await open(`${url}${path}`, { signal, headers: { range: "bytes=-1000" } });
  assert.deepEqual([part.status, end.status], [206, 206]);
  everybody.release();
  const [first, second, middle, last] = await Promise.all([...whole, part, end].map((each) => each.rest()));
  assert.ok(first?.equals(bytes) && second?.equals(bytes));
  assert.ok(middle?.equals(bytes.subarray(2_000_000, 3_000_000)));
  assert.ok(last?.equals(bytes.subarray(-1000)));
}

/** Puts a file in the place of a folder of the storage; what is returned takes it back. */
async function obstruct(root: string, name: string): Promise<() => Promise<void>> {
  const path = join(root, name);
  await mkdir(path, { recursive: true });
  await rename(path, `${path}.away`);
  await writeFile(path, "");
  return async () => {
    await rm(path);
    await rename(`${path}.away`, path);
  };
}

test("with a storage folder that cannot be written, pulls go through and the log says why nothing is cached", async () => {
  await using folder = await createTemporaryDirectory();
  const file = `${folder.path}/file`;
  await writeFile(file, "");
  await using upstream = await createUpstream();
  // Also root cannot make a folder in a file.
  await using mirror = await startMirror(upstream.host, { root: `${file}/root` });
  assert.deepEqual((await storageState(mirror)).writable, false);
  const [told] = complaints(mirror);
  assert.equal(told?.["level"], 50);
  assert.match(JSON.stringify(told), /cannot be written.*ENOTDIR/);
  assert.equal((await mirror.get("/readyz")).status, 200);
  for (const name of ["first", "second"]) await expectPulls(mirror.url, upstream, name);
});

describe("a folder that goes bad while the mirror runs:", () => {
  const stages: Record<string, readonly string[]> = {
    "unfinished files cannot be written": ["tmp"],
    "content cannot be moved to its place": ["blobs"],
    "records cannot be written": ["repositories"],
    "nothing can be written": ["tmp", "blobs", "repositories"],
  };
  for (const [what, folders] of Object.entries(stages)) {
    test(what, async () => {
      await using folder = await createTemporaryDirectory();
      await using upstream = await createUpstream();
      const before = upstream.addImage("library/before", "1");
      const path = "/v2/library/before/manifests/1";
      {
        await using earlier = await startMirror(upstream.host, { root: folder.path });
        assert.equal((await earlier.get(path)).status, 200);
      }
      await using mirror = await startMirror(upstream.host, { root: folder.path });
      assert.equal((await mirror.get(path)).status, 200);
      const clear = await Promise.all(folders.map((name) => obstruct(folder.path, name)));
      await expectPulls(mirror.url, upstream, "during");
      assert.equal((await mirror.get("/readyz")).status, 200);
      assert.equal((await storageState(mirror)).writable, !folders.includes("tmp"));
      // What is in memory is served from there.
      const warm = await mirror.get(path);
      assert.deepEqual([warm.status, warm.headers["docker-content-digest"]], [200, before.digest]);
      const line = await mirror.logged({ msg: passedOn });
      assert.match(JSON.stringify(line["err"]), /ENOTDIR/);

      // It recovers by itself.
      for (const undo of clear) await undo();
      assert.deepEqual(await storageState(mirror), { writable: true });
      const after = upstream.addBlob(Buffer.from("after"));
      assert.equal((await mirror.get(`/v2/library/after/blobs/${after}`)).status, 200);
      await mirror.logged({ msg: "the storage can be written again", level: 30 });
      await mirror.close();
      const stored = await inspectStorage(folder.path);
      assert.ok(stored.blobs.includes(after));
      assert.deepEqual(stored.temporary, []);
    });
  }
});

describe("a disk that takes nothing: pulls go through, it is told once, and when it takes something again it is used:", () => {
  for (const code of ["ENOSPC", "EIO", "EROFS", "EMFILE"]) {
    test(code, async () => {
      await using upstream = await createUpstream();
      const clock = { now: Date.now() };
      await using mirror = await startMirror(upstream.host, { now: () => clock.now });
      {
        using _ = failFiles(mirror.root, code, ["write"]);
        for (const name of ["first", "second"]) await expectPulls(mirror.url, upstream, name);
        await mirror.app.idle();
        assert.equal((await mirror.get("/readyz")).status, 200);
        const { writable, reason } = await storageState(mirror);
        assert.equal(writable, false);
        assert.match(String(reason), new RegExp(code));
        assert.deepEqual(storageLines(mirror, passedOn), [`put ${code}`, `spool ${code}`]);
        assert.equal(complaints(mirror).length, 2, "and of nothing else");
        assert.ok((await mirror.metric("entrepot_storage_errors_total", { operation: "spool", code })) >= 4);
        assert.ok((await mirror.metric("entrepot_storage_errors_total", { operation: "put", code })) >= 2);
        clock.now += 60_000;
        await expectPulls(mirror.url, upstream, "third");
        await mirror.app.idle();
        assert.equal(complaints(mirror).length, 4);
      }
      await expectPulls(mirror.url, upstream, "after");
      await mirror.app.idle();
      await mirror.logged({ msg: "the storage can be written again" });
      assert.deepEqual(await storageState(mirror), { writable: true });
      const { blobs, temporary } = await inspectStorage(mirror.root);
      assert.equal(blobs.length, 5, "an image's manifest, configuration and layers, and the large one");
      assert.deepEqual(temporary, []);
    });
  }
});

describe("a disk that can neither be read nor written: its content comes from the upstream, once for all who ask:", () => {
  for (const code of ["EIO", "EMFILE", "EACCES"]) {
    test(code, async () => {
      await using folder = await createTemporaryDirectory();
      await using upstream = await createUpstream();
      const image = upstream.addImage("library/a", "1");
      const large = upstream.addBlob(bytes);
      const paths = ["manifests/1", `manifests/${image.digest}`, `blobs/${large}`].map(
        (each) => `/v2/library/a/${each}`,
      );
      const root = folder.path;
      {
        await using earlier = await startMirror(upstream.host, { root });
        for (const path of paths) assert.equal((await earlier.get(path)).status, 200);
        await earlier.app.idle();
      }
      await using mirror = await startMirror(upstream.host, { root });
      const before = upstream.requests.length;
      {
        using _ = failFiles(root, code, ["read", "write"]);
        const everybody = createBarrier();
        upstream.when(
          { path: `/v2/library/a/blobs/${large}`, times: 1 },
          { stallAfterBytes: 1_000, stallAt: everybody },
        );
        const begun = await Promise.all(
          Array.from({ length: 10 }, () => open(`${mirror.url}/v2/library/a/blobs/${large}`)),
        );
        everybody.release();
        for (const each of begun) {
          assert.equal(each.status, 200);
          assert.match(String(each.headers["cache-status"]), /^entrepot; fwd=uri-miss/);
          assert.ok((await each.rest()).equals(bytes));
        }
        assert.equal(upstream.requests.length, before + 1);
        const [tag, manifest] = await Promise.all(paths.slice(0, 2).map((path) => mirror.get(path)));
        assert.deepEqual([tag?.status, manifest?.status], [200, 200]);
        assert.match(String(tag?.headers["cache-status"]), /^entrepot; fwd=uri-miss/);
        assert.equal((await mirror.get("/readyz")).status, 200);
        assert.ok(storageLines(mirror, fetched).includes(`get ${code}`));
        await mirror.app.idle();
      }
      const asked = upstream.requests.length;
      const { headers, body } = await mirror.get(`/v2/library/a/blobs/${large}`);
      assert.equal(headers["cache-status"], "entrepot; hit");
      assert.ok(body.equals(bytes));
      assert.equal(upstream.requests.length, asked);
    });
  }
});

test("a disk that cannot be read, and an upstream that is never asked: 503, and the client may come again", async () => {
  await using folder = await createTemporaryDirectory();
  await using upstream = await createUpstream();
  upstream.addImage("library/a", "1");
  const root = folder.path;
  {
    await using earlier = await startMirror(upstream.host, { root });
    assert.equal((await earlier.get("/v2/library/a/manifests/1")).status, 200);
    await earlier.app.idle();
  }
  await using mirror = await startMirror(upstream.host, { root, upstream: { offline: true } });
  {
    using _ = failFiles(root, "EIO", ["read"]);
    assert.equal((await mirror.get("/v2/library/a/manifests/1")).status, 503);
  }
  assert.equal((await mirror.get("/v2/library/a/manifests/1")).status, 200);
  assert.equal((await mirror.get("/v2/library/a/manifests/2")).status, 404);
});

test("a disk that is full in the middle of a blob: pulls go through, and what fits is still cached", async () => {
  await using folder = await createTemporaryDirectory();
  await using upstream = await createUpstream();
  const root = `${folder.path}/root`;
  // The limit of a file's size (in blocks of 512 or 1024 bytes) is a disk that is full after a part of the blob.
  const runner = ["sh", "-c", 'ulimit -f 2000 && exec "$@"', "sh"] as const;
  await using mirror = await startProcess({ root, upstream: upstream.host, runner: [...runner] });
  const url = await mirror.listening;
  await expectPulls(url, upstream, "full");
  const small = upstream.addBlob(Buffer.from("small"));
  assert.equal((await request(`${url}/v2/library/full/blobs/${small}`)).status, 200);
  // The large one is not there, and is fetched again.
  await expectPulls(url, upstream, "full");
  mirror.kill("SIGTERM");
  assert.equal((await mirror.ended).code, 0);
  const stored = await inspectStorage(root);
  assert.ok(stored.blobs.includes(small));
  assert.equal(stored.blobs.length, 5, "an image's manifest, configuration and layers, and the small one");
  assert.deepEqual(stored.temporary, []);
  const told = complaints(mirror);
  assert.deepEqual(
    told.map(({ msg, operation, code }) => [msg, operation, code]),
    [[passedOn, "spool", "EFBIG"]],
  );
});

test("a staging file that nobody can open any more is hashed through the one who has it open", async () => {
  await using upstream = await createUpstream();
  await using mirror = await startMirror(upstream.host);
  const digest = upstream.addBlob(bytes);
  const path = `/v2/library/a/blobs/${digest}`;
  const barrier = createBarrier();
  upstream.when({ path, times: 1 }, { stallAfterBytes: 300_000, stallAt: barrier });
  const client = await open(`${mirror.url}${path}`);
  const begun = await client.take(1);
  // The hashing thread opens it later, with the first MiB.
  await rm(join(mirror.root, "tmp"), { recursive: true });
  await mkdir(join(mirror.root, "tmp"));
  barrier.release();
  assert.ok(Buffer.concat([begun, await client.rest()]).equals(bytes));
  await mirror.logged({ msg: passedOn, operation: "put", code: "ENOENT" });
});

test("a second process on the same folder refuses to start, and does no harm", async () => {
  await using folder = await createTemporaryDirectory();
  await using upstream = await createUpstream();
  const root = `${folder.path}/root`;
  await using first = await startProcess({ root, upstream: upstream.host });
  const url = await first.listening;
  await using second = await startProcess({ root, upstream: upstream.host });
  await assert.rejects(second.listening);
  const { code, stderr } = await second.ended;
  assert.equal(code, 1);
  assert.match(stderr, /^entrepot: .*root is in use by another process[^\n]*\n$/);
  await expectPulls(url, upstream, "first");
  first.kill("SIGKILL");
  await first.ended;
  // The lock goes with its process, however that ended.
  await using third = await startProcess({ root, upstream: upstream.host });
  await third.listening;
});

test("a folder that is not ours is refused, and not touched", async () => {
  await using folder = await createTemporaryDirectory();
  await using upstream = await createUpstream();
  const root = `${folder.path}/root`;
  await mkdir(join(root, "blobs"), { recursive: true });
  await writeFile(join(root, "blobs/other"), "of another program");
  await using mirror = await startProcess({ root, upstream: upstream.host });
  await assert.rejects(mirror.listening);
  const { code, stderr } = await mirror.ended;
  assert.equal(code, 1);
  assert.match(stderr, /^entrepot: .*another program[^\n]*\n$/);
});
