/* Three replicas on a real S3 server, and very many clients at once; what it shows is printed. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import type { Digest } from "../../src/oci/digest.ts";
import { S3Store } from "../../src/store/s3.ts";
import type { Key } from "../../src/store/object-store.ts";
import { open, request } from "../support/http.ts";
import { buildImage } from "../support/image.ts";
import { startReplicaProcess } from "../support/replica-process.ts";
import { all } from "../support/s3-store.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";
import { startSeaweedfs } from "./seaweedfs.ts";
import { startUpstreamRegistry } from "./upstream-registry.ts";

const repository = "library/test";
const mib = 1024 * 1024;
/** As many as the machine can serve: all of them hash what they get. */
const clients = Number(process.env["ENTREPOT_TEST_CLIENTS"] ?? 200);

test("200 clients on one cold blob of 256 MiB, and then on 50 of 4 MiB, through three replicas", async () => {
  await using folder = await createTemporaryDirectory();
  await using server = await startSeaweedfs(folder.path);
  await using upstream = await startUpstreamRegistry("docker.io", folder.path);
  await using stack = new AsyncDisposableStack();
  const { bucket, endpoint, credentials } = server.options;
  const s3 = { bucketName: bucket, endpoint: endpoint ?? "", keys: [credentials] };
  const urls: string[] = [];
  for (const name of ["one", "two", "three"]) {
    const root = `${folder.path}/${name}`;
    urls.push(stack.use(await startReplicaProcess({ root, upstream: upstream.host, s3 })).url);
  }
  const layersOf = async (tag: string, layers: number, layerBytes: number): Promise<readonly Digest[]> => {
    const image = buildImage({ layers, layerBytes, seed: tag });
    await upstream.push(repository, tag, image);
    for (const url of urls) assert.equal((await request(`${url}/v2/${repository}/manifests/${tag}`)).status, 200);
    return image.platforms[0]?.layers ?? [];
  };
  const large = await layersOf("large", 1, 256 * mib);
  const small = await layersOf("small", 50, 4 * mib);

  /** Pulls by many at once; how long each waited for its first byte, in milliseconds. */
  async function pullAll(digests: readonly string[]): Promise<number[]> {
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

  for (const [what, digests] of [
    ["one blob of 256 MiB", large],
    ["50 blobs of 4 MiB", small],
  ] as const) {
    const startedAt = performance.now();
    const waits = (await pullAll(digests)).toSorted((one, two) => one - two);
    const seconds = (performance.now() - startedAt) / 1_000;
    const transfers = await Promise.all(digests.map((digest) => upstream.countGets(digest)));
    const failures = await Promise.all(
      urls.map(async (url) => {
        const { body } = await request(`${url}/metrics`);
        return body.toString().match(/^entrepot_replica_failures_total\{.*$/gm) ?? [];
      }),
    );
    const [first = 0, last = 0] = [waits[0], waits.at(-1)];
    const firstBytes = `first bytes after ${first.toFixed(0)} to ${last.toFixed(0)} ms`;
    process.stdout.write(
      `${clients} clients, ${what}: ${transfers.join()} transfers from the upstream, ${seconds.toFixed(1)} s, ${firstBytes}; ${failures.flat().join()}\n`,
    );
    assert.deepEqual(
      transfers.filter((count) => count !== 1),
      [],
    );
  }
  const store = await S3Store.open(server.options);
  const keyOf = (digest: string): string => `blobs/sha256/${digest.slice(7, 9)}/${digest.slice(9)}`;
  const wanted = [...large, ...small].map(keyOf);
  let keys = new Set<string>();
  while (!wanted.every((key) => keys.has(key))) {
    keys = new Set((await all(store.list("blobs" as Key))).map(({ key }) => key));
  }
  assert.deepEqual(await all(store.list("uploads" as Key)), []);
  await store.close();
});
