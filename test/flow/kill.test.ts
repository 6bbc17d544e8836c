import assert from "node:assert/strict";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import { chooseSeed, createRandom } from "../support/random.ts";
import "../support/network.ts";
import { createHasher } from "../../src/oci/digest.ts";
import { open } from "../support/http.ts";
import { startProcess } from "../support/process.ts";
import { soaks } from "../support/soak.ts";
import { inspectStorage } from "../support/storage.ts";
import { createTemporaryDirectory, type TemporaryDirectory } from "../support/temporary.ts";
import { createUpstream, type ScriptedUpstream } from "../support/upstream.ts";

const rounds = soaks ? 200 : 16;
const lanes = 2;

/** Something that can be pulled: its path, and the digest of what must come. */
interface Item {
  readonly path: string;
  readonly digest: string;
}

interface Tally {
  complete: number;
  broken: number;
  kept: number;
}

/** New content of one round: an image with many small layers, and two large blobs. */
function addContent(upstream: ScriptedUpstream, lane: number, round: number, random: () => number): Item[] {
  const repository = `library/lane${lane}`;
  const image = upstream.addImage(repository, `r${round}`, {
    layers: 8,
    layerBytes: 1 + Math.floor(random() * 40_000),
  });
  const large = [1, 2].map((which) =>
    upstream.addLargeBlob(200_000 + Math.floor(random() * 4_000_000), (lane * (rounds + 1) + round) * 2 + which),
  );
  return [
    { path: `/v2/${repository}/manifests/r${round}`, digest: image.digest },
    { path: `/v2/${repository}/manifests/${image.digest}`, digest: image.digest },
    ...[...image.blobs, ...large].map((digest) => ({ path: `/v2/${repository}/blobs/${digest}`, digest })),
  ];
}

/** Pulls an item. A complete answer must be the right one; one that breaks off, or never comes, is what a kill does. */
async function pull(url: string, { path, digest }: Item, onEvent: () => void, tally: Tally): Promise<void> {
  const hasher = createHasher("sha256");
  let status: number;
  try {
    using response = await open(`${url}${path}`);
    ({ status } = response);
    onEvent();
    for (let chunk = await response.next(); chunk !== undefined; chunk = await response.next()) {
      hasher.update(chunk);
      onEvent();
    }
  } catch {
    tally.broken += 1;
    return;
  }
  assert.equal(status, 200, `${path}`);
  assert.equal(`sha256:${hasher.digest("hex")}`, digest, `${path}`);
  tally.complete += 1;
}

function pick<T>(from: readonly T[], count: number, random: () => number): T[] {
  return Array.from({ length: Math.min(count, from.length) }, () => from[Math.floor(random() * from.length)] as T);
}

async function runLane(
  upstream: ScriptedUpstream,
  folder: TemporaryDirectory,
  lane: number,
  random: () => number,
  tally: Tally,
): Promise<void> {
  const root = join(folder.path, `lane${lane}`);
  const options = { root, upstream: upstream.host };
  // What one has stored that ends in peace outlives all kills of the others.
  const kept = addContent(upstream, lane, rounds, random);
  {
    await using mirror = await startProcess(options);
    const url = await mirror.listening;
    for (const item of kept) await pull(url, item, () => undefined, tally);
    mirror.kill("SIGTERM");
    assert.equal((await mirror.ended).code, 0);
  }
  const old: Item[] = [...kept];
  for (let round = 0; round < rounds / lanes; round++) {
    await using mirror = await startProcess(options);
    const url = await mirror.listening;
    assert.deepEqual(await readdir(join(root, "tmp")), [], `left over in tmp`);
    const fresh = addContent(upstream, lane, round, random);
    // Late ones fall into the commits, or come when all is done.
    let left = Math.floor(random() ** 2 * 300);
    const turns = Math.floor(random() * 200);
    const killed = Promise.withResolvers<void>();
    const onEvent = (): void => {
      left -= 1;
      if (left === 0) killed.resolve();
    };
    const wanted = [...pick(old, 8, random), ...fresh, ...pick(fresh, 4, random)];
    const pulls = Promise.all(wanted.map((item) => pull(url, item, onEvent, tally)));
    await Promise.race([killed.promise, pulls]);
    for (let turn = 0; turn < turns; turn++) await setImmediate();
    mirror.kill("SIGKILL");
    await mirror.ended;
    await pulls;
    old.push(...fresh);
  }
  const stored = new Set<string>((await inspectStorage(root)).blobs);
  await using mirror = await startProcess({ ...options, upstream: "127.0.0.1:1", settings: { retries: 0 } });
  const url = await mirror.listening;
  for (const item of old) {
    using response = await open(`${url}${item.path}`);
    const { status } = response;
    const { sha256 } = await response.hash();
    if (status !== 200) {
      assert.ok(!kept.includes(item), `${item.path} was stored, and is gone`);
      continue;
    }
    assert.ok(stored.has(item.digest));
    assert.equal(`sha256:${sha256}`, item.digest, `${item.path}`);
    tally.kept += 1;
  }
}

test(`killed ${rounds} times, it never serves anything wrong`, { timeout: 600_000 }, async (context) => {
  const seed = chooseSeed(context);
  await using folder = await createTemporaryDirectory();
  await using upstream = await createUpstream();
  const tally: Tally = { complete: 0, broken: 0, kept: 0 };
  await Promise.all(
    Array.from({ length: lanes }, (_, lane) => runLane(upstream, folder, lane, createRandom(seed + lane), tally)),
  );
  context.diagnostic(JSON.stringify(tally));
  // The kills fell where something was going on.
  assert.ok(tally.broken > rounds, `${tally.broken} pulls broke`);
  assert.ok(tally.complete > rounds, `${tally.complete} pulls were complete`);
});
