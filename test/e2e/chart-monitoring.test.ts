/* The chart's alerts and its dashboard, by what the documents and Prometheus say of them. A cluster is not needed. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { parse, stringify } from "yaml";
import { createTemporaryDirectory } from "../support/temporary.ts";
import { chart, Helm, only, selectorOf, valueFiles } from "./chart.ts";
import { run } from "./programs.ts";

interface Rules {
  readonly groups: readonly { readonly rules: readonly { readonly alert: string; readonly expr: string }[] }[];
}

interface Dashboard {
  readonly panels: readonly { readonly title: string; readonly targets: readonly { readonly expr: string }[] }[];
}

const helm = await Helm.find();
const docs = join(import.meta.dirname, "../../docs");
const monitored = await helm.render(["--values", (await valueFiles()).get("monitoring") ?? ""]);

test("the alerts are those of the documents, and Prometheus takes them", async () => {
  const text = await readFile(join(docs, "operations.md"), "utf8");
  const table = text.slice(text.indexOf("| alert | when |"), text.indexOf("\nTo look at:"));
  const documented = [...table.matchAll(/^\|[^|]*\| `(?<expression>.*?)` \|/gm)].map((match) => match[1]);
  const file = parse(await readFile(join(chart, "files/alerts.yaml"), "utf8")) as Rules;
  assert.ok(documented.length >= 16);
  assert.deepEqual(
    expressions(file),
    documented.map((each) => each?.replaceAll("\\|", "|")),
  );

  await using directory = await createTemporaryDirectory();
  const path = join(directory.path, "rules.yaml");
  await writeFile(path, stringify(only(monitored, "PrometheusRule").spec));
  assert.match(await run(["/usr/bin/promtool", "check", "rules", path]), /SUCCESS: \d+ rules found/);
});

test("an alert about the process is about the release's own", () => {
  const own = expressions(only(monitored, "PrometheusRule").spec as unknown as Rules);
  const metrics = own.flatMap((each) => each.match(/\b(up|process_\w+|nodejs_\w+)(\{[^}]*\})?/g) ?? []);
  assert.ok(metrics.length >= 5);
  for (const metric of metrics) assert.match(metric, /\{job="cache-entrepot-pods"\}$/);
});

test("the monitor keeps the metrics' own labels, and reads the Service of that job", () => {
  const { spec } = only(monitored, "ServiceMonitor");
  assert.partialDeepStrictEqual(spec, { endpoints: [{ port: "admin", path: "/metrics", honorLabels: true }] });
  const labels = only(monitored, "Service", "cache-entrepot-pods").metadata.labels ?? {};
  assert.partialDeepStrictEqual(labels, selectorOf(only(monitored, "ServiceMonitor")));
  assert.equal(only(monitored, "ServiceMonitor").metadata.labels?.["release"], "prometheus");
});

test("labels by which a monitor is found go over those of all objects", async () => {
  const labels = "metrics.serviceMonitor.enabled=true,metrics.serviceMonitor.labels.release=prometheus";
  const objects = await helm.render(["--set", `${labels},extraLabels.release=other`]);
  assert.equal(only(objects, "ServiceMonitor").metadata.labels?.["release"], "prometheus");
});

test("the dashboard asks for metrics that there are", async () => {
  const { data, metadata } = only(monitored, "ConfigMap", "cache-entrepot-dashboard");
  assert.equal(metadata.labels?.["grafana_dashboard"], "1");
  const dashboard = JSON.parse(data?.["entrepot.json"] ?? "") as Dashboard;
  const text = await readFile(join(docs, "metrics.md"), "utf8");
  const documented = new Set(text.match(/`entrepot_\w+`/g)?.map((name) => name.slice(1, -1)));
  const rules: object[] = [];
  for (const { title, targets } of dashboard.panels) {
    for (const { expr } of targets) {
      for (const [name] of expr.matchAll(/\bentrepot_\w+/g)) {
        assert.ok(documented.has(name.replace(/_bucket$/, "")), `${title}: ${name}`);
      }
      rules.push({ record: "any", expr });
    }
  }
  await using directory = await createTemporaryDirectory();
  const path = join(directory.path, "panels.yaml");
  await writeFile(path, stringify({ groups: [{ name: "panels", rules }] }));
  // It has more to say of records of one name than of what is wrong with them.
  assert.match(await run(["/usr/bin/promtool", "check", "rules", "--lint=none", path]), /SUCCESS: \d+ rules found/);
});

function expressions(rules: Rules): string[] {
  return rules.groups.flatMap((group) => group.rules.map((rule) => rule.expr));
}
