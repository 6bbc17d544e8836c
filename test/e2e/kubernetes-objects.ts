/* All objects of the matrix of values, as a server takes them. */
import assert from "node:assert/strict";
import { before, test } from "node:test";
import { Helm, type KubernetesObject, release, valueFiles } from "./chart.ts";
import type { Stage } from "./cluster-stage.ts";
import { Release } from "./release.ts";

const helm = await Helm.find();
const files = await valueFiles();
/** For what needs the node's files. */
const nodes = "nodes-of-the-matrix";

/** Registers the tests; in the release's namespace Pod Security is `restricted`. */
export function objectTests(stage: () => Stage): void {
  const matrix = new Map<string, readonly KubernetesObject[]>();

  before(async () => {
    const { cluster, directory } = stage();
    await cluster.define();
    await Release.prepare(cluster, directory, release.namespace);
    await cluster.create({ apiVersion: "v1", kind: "Namespace", metadata: { name: nodes } });
    for (const [row, file] of files) {
      matrix.set(row, await helm.render(["--values", file, "--set", `nodes.namespace=${nodes}`]));
    }
  });

  for (const row of files.keys()) {
    test(`a server takes the objects of ${row}.yaml as they are`, async () => {
      assert.deepEqual(await stage().cluster.check(matrix.get(row) ?? []), []);
    });
  }
}
