import assert from "node:assert/strict";
import { test } from "node:test";
import { loadFile } from "./loading.ts";

function assertProblem(file: string, expected: RegExp): void {
  assert.throws(() => loadFile(file), expected, file);
}

const quay = "upstreams: [{namespace: quay.io, host: quay.io}]";

test("a namespace of layouts is neither mirrored nor hosted, and is there once", () => {
  assertProblem(
    `{${quay}, layouts: [{namespace: quay.io, source: ./a}]}`,
    /layouts\[0\]\.namespace: quay\.io is mirrored/,
  );
  assertProblem("{layouts: [{namespace: docker.io, source: ./a}]}", /docker\.io is mirrored/);
  assertProblem("{hosted: [{namespace: apps}], layouts: [{namespace: apps, source: ./a}]}", /apps is hosted/);
  assertProblem(
    "{layouts: [{namespace: a, source: ./a}, {namespace: a, source: ./b}]}",
    /layouts\[1\]\.namespace: a is listed already, as layouts\[0\]/,
  );
});

test("a source is a folder or a place in a bucket, and what is for a bucket needs one", () => {
  assertProblem("{layouts: [{namespace: a}]}", /layouts\[0\]\.source/);
  assertProblem('{layouts: [{namespace: a, source: ""}]}', /expected a folder's path, or s3:/);
  assertProblem("{layouts: [{namespace: a, source: https://example.com/a}]}", /got https:\/\//);
  assertProblem("{layouts: [{namespace: a, source: 's3://A'}]}", /layouts\[0\]\.source: expected a bucket's name/);
  assertProblem("{layouts: [{namespace: a, source: 's3://images/a//b'}]}", /single slashes/);
  assertProblem("{layouts: [{namespace: a, source: ./a, redirect: true}]}", /redirect: needs a bucket as `source`/);
  assertProblem("{layouts: [{namespace: a, source: ./a, s3: {}}]}", /s3: needs a bucket as `source`/);
  assertProblem("{layouts: [{namespace: a, source: 's3://images', s3: {access_key: a}}]}", /needs a secret_key/);
  assertProblem("{layouts: [{namespace: a, source: ./a, name_prefix: A}]}", /name_prefix: expected lower-case/);
});
