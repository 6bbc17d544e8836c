import assert from "node:assert/strict";
import { test } from "node:test";
import { loadFile } from "./loading.ts";

function assertProblem(file: string, expected: RegExp): void {
  assert.throws(() => loadFile(file), expected, file);
}

test("a hosted namespace is not a mirrored one, unless it stands before it", () => {
  const quay = "upstreams: [{namespace: quay.io, host: quay.io}]";
  assertProblem(
    `{${quay}, hosted: [{namespace: quay.io}]}`,
    /hosted\[0\]\.namespace: quay\.io is mirrored: .*fallback/,
  );
  assertProblem("{hosted: [{namespace: docker.io}]}", /docker\.io is mirrored/);
  assertProblem(`{${quay}, hosted: [{namespace: quay.io, fallback: docker.io}]}`, /quay\.io is mirrored/);
  assertProblem("{hosted: [{namespace: apps, fallback: quay.io}]}", /fallback: quay\.io is not among the upstreams/);
  const { hosted } = loadFile(
    `{${quay}, hosted: [{namespace: quay.io, fallback: quay.io}, {namespace: apps, fallback: docker.io}]}`,
  );
  assert.deepEqual(
    hosted.map(({ namespace, fallback }) => [namespace, fallback]),
    [
      ["quay.io", "quay.io"],
      ["apps", "docker.io"],
    ],
  );
});

test("namespaces and their hosts are told apart", () => {
  assertProblem("{hosted: [{namespace: apps}, {namespace: apps}]}", /hosted\[1\]\.namespace: apps is listed already/);
  assertProblem(
    "{upstreams: [{namespace: quay.io, host: quay.io, server_names: [a.example.com]}], hosted: [{namespace: apps, server_names: [a.example.com]}]}",
    /hosted\[0\]\.server_names\[0\]: a\.example\.com stands for quay\.io already/,
  );
});

test("what would do harm is refused, with what mends it", () => {
  assertProblem(
    "{hosted: [{namespace: apps, retention: [{tags: [v*]}]}]}",
    /retention\[0\]: needs keep_last or keep_within/,
  );
  assertProblem(
    "{hosted: [{namespace: apps, immutable_tags: [a/b]}]}",
    /immutable_tags\[0\]: expected a tag or a pattern/,
  );
  assertProblem("{hosted: [{namespace: apps, repositories: [apps/team]}]}", /leave the namespace out: write "team"/);
  assertProblem("{hosted: [{namespace: apps, max_manifest_size: 5MiB}]}", /max_manifest_size/);
  assertProblem("{collection: {grace: 9m}}", /collection\.grace: must be at least 10m/);
});
