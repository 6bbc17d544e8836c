/* Three replicas on a real S3 server, and very many clients at once; what it shows is printed. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { S3Store } from "../../src/store/s3.ts";
import type { Key } from "../../src/store/object-store.ts";
import { open, request } from "../support/http.ts";
import { mediaTypes } from "../support/image.ts";
import { startReplicaProcess } from "../support/replica-process.ts";
import { all } from "../support/s3-store.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";
import { createUpstream } from "../support/upstream.ts";
import { startSeaweedfs } from "./seaweedfs.ts";

const repository = "library/test";
const mib = 1024 * 1024;

test("200 clients on one cold blob of 256 MiB, and then on 50 of 4 MiB, through three replicas", async () => {
  await using folder = await createTemporaryDirectory();
  await using server = await startSeaweedfs(folder.path);
  await using upstream = await createUpstream({ graceMs: 20_000 });
  await using stack = new AsyncDisposableStack();
  const urls: string[] = [];
  for (const name of ["one", "two", "three"]) {
    const { bucket, endpoint, credentials } = server.options;
    const s3 = { bucketName: bucket, endpoint, keys: [credentials] };
    const replica = stack.use(
      await startReplicaProcess({ root: `${folder.path}/${name}`, upstream: upstream.host, s3 }),
    );
    urls.push(replica.url);
  }
  const large = upstream.addLargeBlob(256 * mib, 1);
  const small = Array.from({ length: 50 }, (_, index) => upstream.addLargeBlob(4 * mib, 2 + index));
  const config = upstream.addBlob(Buffer.from("{}"), { repository });
  upstream.addManifest(repository, "1", {
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    config: { mediaType: mediaTypes.config, digest: config, size: 2 },
    layers: [
      { mediaType: mediaTypes.layer, digest: large, size: 256 * mib },
      ...small.map((digest) => ({ mediaType: mediaTypes.layer, digest, size: 4 * mib })),
    ],
  });
  for (const url of urls) assert.equal((await request(`${url}/v2/${repository}/manifests/1`)).status, 200);

  /** Pulls by many at once; how long each waited for its first byte, in milliseconds. */
  async function pullAll(digests: readonly string[], clients: number): Promise<number[]> {
    return Promise.all(
      Array.from({ length: clients }, async (_, index) => {
        const digest = digests[index % digests.length] ?? "";
        const startedAt = performance.now();
        using response = await open(`${urls[index % urls.length]}/v2/${repository}/blobs/${digest}`);
        assert.equal(response.status, 200);
        const hash = createHash("sha256");
        let firstMs: number | undefined;
        for (let chunk = await response.next(); chunk !== undefined; chunk = await response.next()) {
          firstMs ??= performance.now() - startedAt;
          hash.update(chunk);
        }
        assert.equal(`sha256:${hash.digest("hex")}`, digest);
        return firstMs ?? NaN;
      }),
    );
  }

  /** How often each was asked for at the upstream; the first byte alone is the question whether it is there. */
  const transfers = (digest: string): number =>
    upstream.requests.filter(({ path, bytesSent }) => path.endsWith(digest) && bytesSent > 1).length;

  for (const [what, digests, clients] of [
    ["one blob of 256 MiB", [large], Number(process.env["ENTREPOT_TEST_CLIENTS"] ?? 200)],
    ["50 blobs of 4 MiB", small, 200],
  ] as const) {
    const startedAt = performance.now();
    const waits = (await pullAll(digests, clients)).toSorted((one, two) => one - two);
    const seconds = (performance.now() - startedAt) / 1_000;
    const [first = 0, last = 0] = [waits[0], waits.at(-1)];
    process.stdout.write(
      `${clients} clients, ${what}: ${digests.map(transfers).join()} transfers from the upstream, ${seconds.toFixed(1)} s, first byte after ${first.toFixed(0)} to ${last.toFixed(0)} ms\n`,
    );
    for (const digest of digests) assert.equal(transfers(digest), 1, digest);
  }
  const store = await S3Store.open(server.options);
  const keyOf = (digest: string): string => `blobs/sha256/${digest.slice(7, 9)}/${digest.slice(9)}`;
  const wanted = [large, ...small].map(keyOf);
  let keys = new Set<string>();
  while (!wanted.every((key) => keys.has(key))) {
    keys = new Set((await all(store.list("blobs" as Key))).map(({ key }) => key));
  }
  assert.deepEqual(await all(store.list("uploads" as Key)), []);
  await store.close();
});
