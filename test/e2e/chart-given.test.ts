/* What people give as values, and what Kubernetes is given then. A cluster is not needed. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { parse } from "yaml";
import { chart, Helm } from "./chart.ts";

const helm = await Helm.find();
const s3 = "registry.storage.mode=s3,registry.storage.s3.bucket=example-cache";

describe("a value that is null, as a key with nothing behind it is,", () => {
  // All that has values of its own is on.
  const on =
    "ingress.enabled=true,ingress.hosts[0]=mirror.example.com,httpRoute.enabled=true," +
    "httpRoute.parentRefs[0].name=public,nodes.enabled=true,nodes.address=http://mirror.example.com," +
    "networkPolicy.enabled=true,metrics.serviceMonitor.enabled=true,metrics.prometheusRule.enabled=true," +
    "metrics.dashboard.enabled=true,autoscaling.enabled=true,registry.replicas.secret=replicas," +
    "registry.storage.s3.auth_secret.name_override=keys,registry.replicas.enabled=true";
  const all = `${on},${s3}`;

  test("is as if it were empty, or named where it is refused", async () => {
    const values = parse(await readFile(join(chart, "values.yaml"), "utf8")) as object;
    const paths = pathsOf(values);
    assert.ok(paths.length > 150);
    for (const path of paths) {
      await helm.render(["--set", all, "--set", `${path}=null`]).then(
        (objects) => assert.doesNotMatch(JSON.stringify(objects), /%!|<nil>/, path),
        (error: { stderr: string }) => {
          assert.ok(error.stderr.includes(path.split(".").at(-1) ?? ""), error.stderr);
          assert.doesNotMatch(error.stderr, /nil pointer|wrong type|error calling|interface/);
        },
      );
    }
  });
});

/** Of all values, those within others too. */
function pathsOf(values: object, above = ""): string[] {
  return Object.entries(values).flatMap(([key, value]: [string, unknown]) => {
    const path = above + key.replaceAll(".", "\\.");
    const below =
      value !== null && typeof value === "object" && !Array.isArray(value) ? pathsOf(value, `${path}.`) : [];
    return [path, ...below];
  });
}
