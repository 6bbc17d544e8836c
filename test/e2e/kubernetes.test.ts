/* The chart in a real Kubernetes, with the image that buildah makes of the Dockerfile. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { digestOf } from "../../src/oci/digest.ts";
import { until } from "../support/event-loop.ts";
import { open } from "../support/http.ts";
import { bucketSecrets } from "./cluster-bucket.ts";
import { Stage } from "./cluster-stage.ts";
import { nodeTests } from "./kubernetes-nodes.ts";
import { objectTests } from "./kubernetes-objects.ts";
import { pullOnce, Pullers } from "./pullers.ts";
import { Release, type Values } from "./release.ts";

const repository = "library/test";

describe("the chart in a Kubernetes", () => {
  let stage: Stage;

  before(async () => {
    stage = await Stage.open();
  });
  after(async () => {
    await stage[Symbol.asyncDispose]();
  });

  /**
   * A release's whole life, under pulls of what it has cached, none of which may fail; at its end it is removed.
   *
   * @returns what is left of it.
   */
  async function live(release: Release, values: Values): Promise<string[]> {
    const tag = release.name;
    stage.upstream.addImage(repository, tag, { layers: 3, layerBytes: 500_000 });
    await release.deploy(values);
    const image = await stage.imageAt(release, repository, tag);
    // Until each pod has it, by itself or from the bucket.
    for (let count = 0; count < 20; count++) await pullOnce(image);
    await stage.upstream.down();
    try {
      await using pullers = new Pullers(image);
      assert.match(await release.test(), /Succeeded/);
      await release.deploy(stage.next(values));
      await release.rollback();
      await pullers.stop();
    } finally {
      await stage.upstream.up();
    }
    await release.uninstall();
    return await release.objects();
  }

  test("with a volume for each pod, it is installed, tested, changed, returned to what it was, and removed", async () => {
    const release = await Release.prepare(stage.cluster, stage.directory, "volumes");
    for (const name of ["one", "two"]) await stage.cluster.addVolume(name);
    const left = await live(release, stage.values({ replicas: 2 }));
    const claims = [0, 1].map((index) => `persistentvolumeclaim/cache-volumes-entrepot-${index}`);
    assert.deepEqual(left.toSorted(), claims);
  });

  test("with a bucket, the same", async () => {
    const release = await Release.prepare(stage.cluster, stage.directory, "bucket");
    const registry = await (await stage.bucket()).prepare(release);
    assert.deepEqual(await live(release, stage.values({ replicas: 2, registry })), bucketSecrets);
  });

  test("a pod that is told to end is not ready first, answers as before for a while, and lets transfers end", async () => {
    const { cluster, upstream } = stage;
    const release = await Release.prepare(cluster, stage.directory, "leaving");
    await cluster.addVolume("leaving");
    const values = stage.values();
    await release.deploy({ ...values, config: { shutdown_delay: "10s", shutdown_timeout: "60s" } });
    // More than what the system keeps for a client that does not read.
    const digest = upstream.addLargeBlob(64 * 1024 * 1024, 1);
    const { mirror, namespace } = await stage.imageAt(release, repository, "none");
    using slow = await open(`${mirror}/v2/${repository}/blobs/${digest}?ns=${namespace}`);
    const start = await slow.take(1_000);

    const pod = ["pod/leaving-entrepot-0", `--namespace=${release.namespace}`];
    const address = (await cluster.get<Pod>(...pod)).status.podIP;
    const answer = (path: string): Promise<string> => cluster.machine.status(`http://${address}${path}`);
    assert.deepEqual(await Promise.all([":9090/readyz", ":8080/v2/"].map(answer)), ["200", "200"]);
    await cluster.kubectl("delete", "--wait=false", ...pod);
    await until(async () => (await answer(":9090/readyz")) === "503");
    assert.equal(await answer(":8080/v2/"), "200");
    await until(async () => (await answer(":8080/v2/")) === "none");
    assert.equal(digestOf(Buffer.concat([start, await slow.rest()])), digest);
    await release.uninstall();
  });

  objectTests(() => stage);
  nodeTests(() => stage);
});

interface Pod {
  readonly status: { readonly podIP: string };
}
