/* What the chart makes of what is in the cluster already: of a scripted API server, as Helm asks it. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { test } from "node:test";
import { stringify } from "yaml";
import { createTemporaryDirectory } from "../support/temporary.ts";
import { Helm, type KubernetesObject } from "./chart.ts";

const helm = await Helm.find();
const resources = (groupVersion: string, kind: string, name: string, namespaced: boolean): object => ({
  kind: "APIResourceList",
  groupVersion,
  resources: [{ kind, name, namespaced, verbs: ["get", "list"] }],
});
const apps = { groupVersion: "apps/v1", version: "v1" };
const discovery: Readonly<Record<string, object>> = {
  "/version": { major: "1", minor: "36", gitVersion: "v1.36.0" },
  "/api": { kind: "APIVersions", versions: ["v1"] },
  "/apis": { kind: "APIGroupList", groups: [{ name: "apps", versions: [apps], preferredVersion: apps }] },
  "/api/v1": resources("v1", "Namespace", "namespaces", false),
  "/apis/apps/v1": resources("apps/v1", "DaemonSet", "daemonsets", true),
};
const annotations = { "meta.helm.sh/release-name": "cache", "meta.helm.sh/release-namespace": "registries" };
const watcher = (of: object): Readonly<Record<string, object>> => ({
  "/apis/apps/v1/namespaces/entrepot-nodes/daemonsets/cache-entrepot-nodes": {
    apiVersion: "apps/v1",
    kind: "DaemonSet",
    metadata: { name: "cache-entrepot-nodes", namespace: "entrepot-nodes", annotations: of },
  },
});
const namespace = (of?: object): Readonly<Record<string, object>> => ({
  "/api/v1/namespaces/entrepot-nodes": {
    apiVersion: "v1",
    kind: "Namespace",
    metadata: { name: "entrepot-nodes", annotations: of },
  },
});
const off = "nodes.enabled=false,nodes.namespace=entrepot-nodes";

async function renderIn(cluster: Readonly<Record<string, object>>, values: string): Promise<KubernetesObject[]> {
  const answers = { ...discovery, ...cluster };
  const server = createServer(({ url = "" }, response) => {
    const found = answers[url.split("?")[0] ?? ""];
    const missing = { kind: "Status", apiVersion: "v1", status: "Failure", reason: "NotFound", code: 404 };
    response.writeHead(found === undefined ? 404 : 200, { "Content-Type": "application/json" });
    response.end(JSON.stringify(found ?? missing));
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  await using directory = await createTemporaryDirectory();
  const kubeconfig = join(directory.path, "kubeconfig");
  const { port } = server.address() as AddressInfo;
  const reached = { name: "a", cluster: { server: `http://127.0.0.1:${port}` } };
  await writeFile(
    kubeconfig,
    stringify({
      apiVersion: "v1",
      kind: "Config",
      clusters: [reached],
      contexts: [{ name: "a", context: { cluster: "a" } }],
      "current-context": "a",
    }),
  );
  try {
    return await helm.render(["--kubeconfig", kubeconfig, "--dry-run=server", "--is-upgrade", "--set", values]);
  } finally {
    server.close();
  }
}

const hooksOf = (objects: readonly KubernetesObject[]): string[] =>
  objects
    .filter((each) => each.metadata.annotations?.["helm.sh/hook"] === "post-upgrade")
    .map((each) => `${each.kind} ${each.metadata.namespace}`)
    .toSorted();

test("an upgrade without nodes takes back what is on them, where they were", async () => {
  const kinds = ["DaemonSet", "Job", "Job", "Role", "RoleBinding", "ServiceAccount"];
  const expected = kinds.map((kind) => `${kind} entrepot-nodes`);
  assert.deepEqual(hooksOf(await renderIn({ ...watcher(annotations), ...namespace() }, off)), expected);
  const made = { ...watcher(annotations), ...namespace(annotations) };
  assert.deepEqual(hooksOf(await renderIn(made, `${off},nodes.createNamespace=true`)), expected);
  assert.deepEqual(hooksOf(await renderIn(namespace(annotations), off)), []);
});

test("an upgrade leaves alone what another release of that name has on nodes", async () => {
  const other = { ...annotations, "meta.helm.sh/release-namespace": "elsewhere" };
  assert.deepEqual(hooksOf(await renderIn({ ...watcher(other), ...namespace(other) }, off)), []);
});

test("an upgrade that takes their namespace away, too, is refused while they are there", async () => {
  const made = { ...watcher(annotations), ...namespace(annotations) };
  await assert.rejects(renderIn(made, off), /nodes\.createNamespace: leave it on until/);
});
