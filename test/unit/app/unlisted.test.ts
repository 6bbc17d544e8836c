import assert from "node:assert/strict";
import { test } from "node:test";
import { unlistedRule } from "../../../src/app/mirrors.ts";
import { parseNamespace } from "../../../src/oci/reference.ts";
import { loadFile } from "../config/loading.ts";

for (const [setting, allowed, refused] of [
  [false, [], ["quay.io", "docker.example.com"]],
  [true, ["quay.io", "docker.example.com"], []],
  [["quay.io"], ["quay.io"], ["quay.io.example.com", "xquay.io", "quayxio.com"]],
  [
    ["*.example.com", "QUAY.io"],
    ["a.example.com", "a.b.example.com", "quay.io"],
    ["example.com", "example.org"],
  ],
  [[], [], ["quay.io"]],
] as const) {
  test(`allow_unlisted: ${JSON.stringify(setting)} is for ${allowed.join(", ")}; not for ${refused.join(", ")}`, () => {
    const allows = unlistedRule(loadFile(JSON.stringify({ allow_unlisted: setting })).allowUnlisted);
    assert.deepEqual(
      [...allowed, ...refused].filter((name) => allows(parseNamespace(name))),
      allowed,
    );
  });
}
