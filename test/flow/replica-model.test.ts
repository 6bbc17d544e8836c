/*
 * Three real replicas on one bucket, and clients that pull at random while tags move, things are purged, replicas are
 * killed and frozen, and the bucket fails: whatever is answered is right, and nothing fails but what was taken away.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { rm } from "node:fs/promises";
import { test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import "../support/network.ts";
import { errorOf } from "../../src/store/object-store.ts";
import { S3Refusal } from "../support/fake-s3-bucket.ts";
import { FakeS3, type S3Fault } from "../support/fake-s3.ts";
import { request, type WholeResponse } from "../support/http.ts";
import { chooseSeed, createRandom } from "../support/random.ts";
import { type ReplicaProcess, startReplicaProcess } from "../support/replica-process.ts";
import { soaks } from "../support/soak.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";
import { createUpstream } from "../support/upstream.ts";

const durationMs = soaks ? 120_000 : 8_000;
const ttlMs = 1_000;
/** How late a tag's move may be seen beyond its time, and how long an answer may take, on a machine with much to do. */
const slackMs = 10_000;
const repositories = ["library/a", "library/b", "library/c", "library/d"];

interface Version {
  readonly digest: string;
  /** When it was replaced. */
  until: number;
}

/** One of the three, whichever process it is now. */
interface Seat {
  readonly root: string;
  replica: ReplicaProcess;
  /** Goes up with whatever is done to it: an answer that this came between may be broken off. */
  disturbed: number;
  isAway: boolean;
}

test("pulls, moves of tags, purges, kills, freezes and a failing bucket at random", async (context) => {
  const random = createRandom(chooseSeed(context));
  const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)] as T;
  await using upstream = await createUpstream({ graceMs: 20_000 });
  await using s3 = await FakeS3.start();
  await using folder = await createTemporaryDirectory();

  const versions = new Map<string, Version[]>();
  const publish = (repository: string): void => {
    const known = versions.get(repository) ?? [];
    const { digest } = upstream.addImage(repository, "1", {
      layers: 2,
      layerBytes: 1 + Math.floor(random() * 1_500_000),
      seed: String(known.length),
    });
    const last = known.at(-1);
    if (last !== undefined) last.until = Date.now();
    versions.set(repository, [...known, { digest, until: Infinity }]);
  };
  for (const repository of repositories) publish(repository);

  const start = (root: string): Promise<ReplicaProcess> =>
    startReplicaProcess({
      root,
      upstream: upstream.host,
      s3,
      settings: { manifest_invalidation_time: "1s" },
      // Room for a few images, so that things are evicted.
      storage: { max_size: "16MiB" },
      config: { admin_token: "an-example-of-a-token" },
    });
  const seats: Seat[] = [];
  await using stack = new AsyncDisposableStack();
  for (const name of ["one", "two", "three"]) {
    const root = `${folder.path}/${name}`;
    const seat: Seat = { root, replica: await start(root), disturbed: 0, isAway: false };
    seats.push(seat);
    stack.defer(() => seat.replica[Symbol.asyncDispose]());
  }

  const counts = { complete: 0, broken: 0, purges: 0, kills: 0, freezes: 0, faults: 0 };
  const there = (): Seat[] => seats.filter(({ isAway }) => !isAway);

  /** Asks a replica; `undefined` where that was disturbed meanwhile, and broke off. */
  async function ask(seat: Seat, path: string): Promise<WholeResponse | undefined> {
    const { disturbed } = seat;
    const startedAt = Date.now();
    try {
      const answer = await request(`${seat.replica.url}${path}`, { signal: AbortSignal.timeout(2 * slackMs) });
      if (seat.disturbed !== disturbed && answer.status !== 200) return undefined;
      assert.equal(answer.status, 200, `${path}: ${answer.body.subarray(0, 300).toString()}`);
      if (seat.disturbed === disturbed) assert.ok(Date.now() - startedAt < slackMs, `${path} took too long`);
      return answer;
    } catch (error) {
      if (seat.disturbed === disturbed || error instanceof assert.AssertionError) throw error;
      counts.broken++;
      return undefined;
    }
  }

  async function pull(): Promise<void> {
    const repository = pick(repositories);
    const startedAt = Date.now();
    const manifest = await ask(pick(there()), `/v2/${repository}/manifests/1`);
    if (manifest === undefined) return;
    const digest = sha256(manifest.body);
    const version = versions.get(repository)?.find((each) => each.digest === digest);
    assert.ok(version !== undefined, `${repository}:1 was never ${digest}`);
    assert.ok(version.until > startedAt - ttlMs - slackMs, `${repository}:1 was moved long ago`);
    const { config, layers } = JSON.parse(manifest.body.toString()) as Record<string, { digest: string }> & {
      layers: { digest: string }[];
    };
    for (const child of [config as { digest: string }, ...layers]) {
      const blob = await ask(pick(there()), `/v2/${repository}/blobs/${child.digest}`);
      if (blob === undefined) return;
      assert.equal(sha256(blob.body), child.digest);
    }
    counts.complete++;
  }

  async function purge(): Promise<void> {
    counts.purges++;
    const seat = pick(there());
    const { disturbed } = seat;
    const headers = { authorization: "Bearer an-example-of-a-token", "content-type": "application/json" };
    const body = JSON.stringify({ target: `docker.io/${pick(repositories)}:1` });
    try {
      const { status } = await request(`${seat.replica.url}/_admin/purge`, {
        method: "POST",
        headers,
        body,
        signal: AbortSignal.timeout(2 * slackMs),
      });
      assert.ok([200, 404, 500, 503].includes(status), String(status));
    } catch (error) {
      if (seat.disturbed === disturbed) throw error;
    }
  }

  async function kill(): Promise<void> {
    if (there().length < 3) return;
    counts.kills++;
    const seat = pick(there());
    seat.isAway = true;
    seat.disturbed++;
    seat.replica.process.kill("SIGKILL");
    await seat.replica.process.ended;
    if (random() < 0.5) await rm(seat.root, { recursive: true, force: true });
    seat.replica = await start(seat.root);
    seat.isAway = false;
  }

  async function freeze(): Promise<void> {
    if (there().length < 3) return;
    counts.freezes++;
    const seat = pick(there());
    seat.isAway = true;
    seat.disturbed++;
    seat.replica.process.kill("SIGSTOP");
    await delay(200 + random() * 3_000);
    seat.replica.process.kill("SIGCONT");
    seat.isAway = false;
    // What it was asked before is answered late.
    seat.disturbed++;
  }

  async function disturbBucket(): Promise<void> {
    counts.faults++;
    if (random() < 0.3) {
      await s3.down();
      await delay(random() * 1_500);
      await s3.up();
      return;
    }
    const faults: S3Fault[] = [
      { refuse: new S3Refusal(503, "SlowDown") },
      { loseAnswer: true },
      { resetAfterBytes: 100 },
      { wait: delay(random() * 1_500) },
    ];
    const operation = pick(["GetObject", "PutObject", "UploadPart", "DeleteObject", "ListObjectsV2"] as const);
    s3.fail(operation, pick(faults), pick(faults));
  }

  const deadline = Date.now() + durationMs;
  let failure: Error | undefined;
  const repeat = async (pauseMs: number, work: () => Promise<void>): Promise<void> => {
    while (Date.now() < deadline && failure === undefined) {
      await work().catch((error: unknown) => (failure ??= errorOf(error)));
      await delay(random() * pauseMs);
    }
  };
  await Promise.all([
    ...Array.from({ length: 4 }, () => repeat(30, pull)),
    repeat(1_500, async () => publish(pick(repositories))),
    repeat(1_500, purge),
    repeat(4_000, () => (random() < 0.5 ? kill() : freeze())),
    repeat(800, disturbBucket),
  ]);
  context.diagnostic(JSON.stringify(counts));
  if (failure !== undefined) throw failure;
  assert.ok(counts.complete > 0 && counts.kills + counts.freezes > 0);

  await delay(ttlMs);
  for (const repository of repositories) {
    for (const seat of seats) {
      const answer = await ask(seat, `/v2/${repository}/manifests/1`);
      assert.equal(answer && sha256(answer.body), versions.get(repository)?.at(-1)?.digest, `${repository} is lost`);
    }
  }
  for (const [key, { bytes }] of s3.bucket.objects) {
    const [, hex] = /blobs\/sha256\/(..\/.*)$/.exec(key) ?? [];
    if (hex !== undefined)
      assert.equal(sha256(bytes), `sha256:${hex.replace("/", "")}`, `${key} is wrong in the bucket`);
  }
});

function sha256(bytes: Uint8Array): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}
