/* A bucket that goes wrong, behind a folder that is empty, full, or lost: clients do not see it, and nothing is lost. */
import assert from "node:assert/strict";
import { cp } from "node:fs/promises";
import { after, before, describe, test } from "node:test";
import "../support/network.ts";
import { digestOf } from "../../src/oci/digest.ts";
import type { S3Options } from "../../src/store/s3-options.ts";
import { pseudoRandomBytes } from "../support/content.ts";
import { until } from "../support/event-loop.ts";
import { failFiles } from "../support/failing-files.ts";
import { FakeS3, type S3Fault } from "../support/fake-s3.ts";
import { type S3Profile, S3Refusal } from "../support/fake-s3-bucket.ts";
import { type Mirror, startMirror } from "../support/mirror.ts";
import { soaks } from "../support/soak.ts";
import { inspectBucket, untriedBucket } from "../support/s3-bucket.ts";
import { createTemporaryDirectory, type TemporaryDirectory } from "../support/temporary.ts";
import { addPlainImage, type PlainImage, pullPlainImage } from "../support/plain-image.ts";
import { createUpstream, type ScriptedUpstream } from "../support/upstream.ts";

const kib = 1024;
const dayMs = 24 * 3_600_000;

/** What there is when a mirror is started: the image in neither, in the folder, or in the bucket. */
type State = "empty" | "warm" | "lost";

/** How a bucket goes wrong. */
interface Trouble {
  /** Where that is felt most; without it, and in the soak, everywhere. */
  readonly states?: readonly State[];
  readonly profile?: Partial<S3Profile>;
  readonly options?: Partial<S3Options>;
  /** Makes it go wrong; what is returned makes it well again. */
  readonly begin?: (server: FakeS3) => (() => void) | Promise<() => Promise<void>>;
}

const slowDown = new S3Refusal(503, "SlowDown");
const lost = { loseAnswer: true } as const;

/** Each next request of these kinds goes wrong once. */
function once(faults: Partial<Record<Parameters<FakeS3["fail"]>[0], readonly S3Fault[]>>): Trouble {
  return {
    begin: (server) => {
      for (const [operation, each] of Object.entries(faults)) server.fail(operation as "GetObject", ...each);
      return () => server.forgive();
    },
  };
}

/** Requests go wrong, however often they are repeated: all of them, or as is said. */
function always(trouble: S3Fault | NonNullable<FakeS3["trouble"]>, options?: Partial<S3Options>): Trouble {
  return {
    ...(options && { options }),
    begin: (server) => {
      server.trouble = typeof trouble === "function" ? trouble : () => trouble;
      return () => server.forgive();
    },
  };
}

/** What is read of an object after it was opened goes wrong. */
function rest(fault: S3Fault): FakeS3["trouble"] & object {
  return (operation, { range }) =>
    operation === "GetObject" && !String(range).startsWith("bytes=0-") ? fault : undefined;
}

const troubles: Record<string, Trouble> = {
  "answers too late": always({ wait: new Promise(() => undefined) }, { requestTimeoutMs: 500, retries: 0 }),
  "throttles, always": { states: ["warm"], ...always({ refuse: slowDown }) },
  "throttles, breaks off and loses answers, now and then": once({
    GetObject: [{ refuse: slowDown }, { breakAt: 100 }, { stallAt: 100 }, { breakAt: 60_000 }],
    PutObject: [{ refuse: slowDown }, { resetAfterBytes: 10 }, lost, lost],
    UploadPart: [{ refuse: slowDown }, { resetAfterBytes: 10_000 }, lost],
    CompleteMultipartUpload: [{ refuse: slowDown }, lost],
    DeleteObject: [lost],
    ListObjectsV2: [{ refuse: slowDown }],
  }),
  "breaks off in what is read of a large object, always": { states: ["lost"], ...always(rest({ breakAt: 100 })) },
  "stops in what is read of a large object, always": { states: ["lost"], ...always(rest({ stallAt: 100 })) },
  "is down": {
    states: ["lost"],
    begin: async (server) => {
      await server.down();
      return () => server.up();
    },
  },
  "has a clock that is an hour ahead": {
    states: ["empty"],
    begin: (server) => {
      server.clockOffsetMs = 3_600_000;
      return () => undefined;
    },
  },
  "takes the credentials no more": {
    states: ["lost"],
    begin: (server) => {
      const { keys } = server;
      server.keys = keys.map((each) => ({ ...each, sessionToken: "another" }));
      return () => {
        server.keys = keys;
      };
    },
  },
  "is written to by others while it is listed": {
    states: ["warm"],
    profile: { pageSize: 2 },
    begin: (server) => {
      let writes = 0;
      const before = (): void => {
        const bytes = Buffer.from(`another's ${writes++}`);
        const hex = digestOf(bytes).slice("sha256:".length);
        server.bucket.put(`some/prefix/blobs/sha256/${hex.slice(0, 2)}/${hex.slice(2)}`, bytes, {});
      };
      server.fail("ListObjectsV2", ...Array.from({ length: 8 }, () => ({ before })));
      return () => server.forgive();
    },
  },
  "is strict": {
    states: ["empty"],
    profile: { equalParts: true, minPartBytes: 64 * kib, refusesChecksums: true, conflicts: true },
  },
  "gives less of a range than it is asked for": { states: ["lost"], profile: { maxRangeBytes: 70_000 } },
  "knows no ranges": { states: ["lost"], profile: { ignoresRanges: true } },
};

// Most of the time of each is waiting.
describe("a bucket that", { concurrency: 6 }, () => {
  const partSizeBytes = 64 * kib;
  let upstream: ScriptedUpstream;
  let image: PlainImage;
  let folder: TemporaryDirectory;
  /** What a mirror has left that has pulled the image: a folder, and the objects of a bucket. */
  let full: { readonly root: string; readonly objects: FakeS3["bucket"]["objects"] };

  const start = async (server: FakeS3, root: string, options: Partial<S3Options> = {}): Promise<Mirror> =>
    startMirror(upstream.host, {
      root,
      bucketStore: await untriedBucket(server, { partSizeBytes, retries: 1, ...options }),
      followedBytes: partSizeBytes,
    });

  const isWhole = ({ bucket: { objects } }: FakeS3): boolean =>
    [...full.objects.keys()].every((key) => objects.has(key));

  before(async () => {
    upstream = await createUpstream();
    // One layer goes to the bucket in parts, on its way, the other one at once.
    image = addPlainImage(upstream, "1", pseudoRandomBytes(400 * kib, "large"), pseudoRandomBytes(1_000, "small"));
    folder = await createTemporaryDirectory();
    await using server = await FakeS3.start();
    const root = `${folder.path}/full`;
    await using mirror = await start(server, root);
    await pullPlainImage(mirror, image);
    await mirror.app.idle();
    inspectBucket(server);
    full = { root, objects: new Map(server.bucket.objects) };
  });
  after(async () => {
    await upstream[Symbol.asyncDispose]();
    await folder[Symbol.asyncDispose]();
  });

  const tryOut = async ({ profile, options, begin }: Trouble, state: State): Promise<void> => {
    await using own = await createTemporaryDirectory();
    const root = `${own.path}/root`;
    await using server = await FakeS3.start(profile);
    if (state === "warm") await cp(full.root, root, { recursive: true });
    if (state === "lost") for (const [key, object] of full.objects) server.bucket.objects.set(key, object);
    const end = await begin?.(server);
    {
      await using mirror = await start(server, root, options);
      const from = await pullPlainImage(mirror, image);
      if (state === "warm") assert.deepEqual(new Set(from), new Set(["entrepot; hit"]));
      await mirror.app.idle();
      assert.equal((await mirror.get("/readyz")).status, 200);
    }
    await end?.();
    const { objects, uploads } = server.bucket;
    const isInOrder = (): boolean =>
      isWhole(server) && uploads.size === 0 && ![...objects.keys()].some((key) => key.includes("/uploads/"));
    if (!isInOrder()) {
      // What was left open is ended a day later; what was not copied is copied by the next process.
      server.clockOffsetMs += dayMs + 3_600_000;
      await using next = await start(server, root);
      await until(isInOrder);
      await next.app.idle();
    }
    inspectBucket(server);
  };

  test("works, behind a disk that takes nothing: what is large is there all the same, and nothing half", async () => {
    await using own = await createTemporaryDirectory();
    const root = `${own.path}/root`;
    await using server = await FakeS3.start();
    {
      await using mirror = await start(server, root);
      using _ = failFiles(root, "ENOSPC", ["write"]);
      await pullPlainImage(mirror, image);
      await mirror.app.idle();
    }
    const [, large] = image.blobs;
    const { blobs, records } = inspectBucket(server);
    assert.deepEqual(blobs, [large?.digest]);
    assert.equal(records.length, 1);
    // The rest is when it was fetched again.
    await using mirror = await start(server, `${own.path}/other`);
    await pullPlainImage(mirror, image);
    await mirror.app.idle();
    assert.ok(isWhole(server));
    inspectBucket(server);
  });

  test("is being uploaded to when the mirror is stopped: nothing of that is left", async () => {
    await using own = await createTemporaryDirectory();
    await using server = await FakeS3.start();
    const waiting = Promise.withResolvers<void>();
    server.fail("UploadPart", { wait: waiting.promise });
    await using mirror = await start(server, `${own.path}/root`);
    await pullPlainImage(mirror, image);
    await until(() => server.bucket.uploads.size === 1);
    await mirror.close();
    waiting.resolve();
    inspectBucket(server);
    await using next = await start(server, `${own.path}/root`);
    await until(() => isWhole(server));
    await next.app.idle();
    inspectBucket(server);
  });

  for (const [what, trouble] of Object.entries(troubles)) {
    for (const state of (soaks ? undefined : trouble.states) ?? (["empty", "warm", "lost"] as const)) {
      test(`${what}, with a folder that is ${state}`, async () => tryOut(trouble, state));
    }
  }
});
