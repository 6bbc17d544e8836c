import assert from "node:assert/strict";
import { mkdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import "../support/network.ts";
import { createBarrier } from "../support/barrier.ts";
import { pseudoRandomBytes } from "../support/content.ts";
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
  const [told] = complaints(mirror);
  assert.equal(told?.["level"], 50);
  assert.match(JSON.stringify(told), /cannot be written.*ENOTDIR/);
  assert.equal((await mirror.get("/readyz")).status, 503);
  assert.equal((await mirror.get("/healthz")).status, 200);
  for (const name of ["first", "second"]) await expectPulls(mirror.url, upstream, name);
});

describe("a folder that goes bad while the mirror runs:", () => {
  const stages: Record<string, { readonly folders: readonly string[]; readonly ready: number }> = {
    "unfinished files cannot be written": { folders: ["tmp"], ready: 503 },
    "content cannot be moved to its place": { folders: ["blobs"], ready: 200 },
    "records cannot be written": { folders: ["repositories"], ready: 200 },
    "nothing can be written": { folders: ["tmp", "blobs", "repositories"], ready: 503 },
  };
  for (const [what, { folders, ready }] of Object.entries(stages)) {
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
      assert.equal((await mirror.get("/readyz")).status, ready);
      // What is in memory is served from there.
      const warm = await mirror.get(path);
      assert.deepEqual([warm.status, warm.headers["docker-content-digest"]], [200, before.digest]);
      const line = await mirror.logged({ msg: "the blob was passed on but not stored" });
      assert.match(JSON.stringify(line["err"]), /ENOTDIR/);

      // It recovers by itself.
      for (const undo of clear) await undo();
      assert.equal((await mirror.get("/readyz")).status, 200);
      const after = upstream.addBlob(Buffer.from("after"));
      assert.equal((await mirror.get(`/v2/library/after/blobs/${after}`)).status, 200);
      await mirror.close();
      const stored = await inspectStorage(folder.path);
      assert.ok(stored.blobs.includes(after));
      assert.deepEqual(stored.temporary, []);
    });
  }
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
  assert.ok(told.length >= 2);
  for (const line of told) assert.match(JSON.stringify(line), /EFBIG/);
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
