/* What people give as values, and what Kubernetes is given then. A cluster is not needed. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { parse } from "yaml";
import { chart, Helm, only, parseManifests, podOf, valueFiles, workload } from "./chart.ts";

const helm = await Helm.find();
const files = await valueFiles();
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

test("an empty text is as if it were not given, as other charts have it", async () => {
  const values = parse(await readFile(join(chart, "values.yaml"), "utf8")) as object;
  const nulls = pathsOf(values).filter((path) => path.split(".").reduce(below, values) === null);
  // Numbers, choices and mappings; and what has a meaning of its own, or must be given.
  const others = /Port$|Seconds$|Strategy$|Policy$|filesystem\.volume$|storage_class$|image\.registry$/;
  const texts = nulls.filter((path) => !others.test(path));
  assert.ok(texts.length >= 25);
  const expected = await helm.template([]);
  for (const path of texts) assert.equal(await helm.template(["--set", `${path}=`]), expected, path);
});

describe("names", () => {
  test("that YAML takes for something else stay text", async () => {
    const on =
      "nodes.enabled=true,nodes.createNamespace=true,networkPolicy.enabled=true,metrics.serviceMonitor.enabled=true";
    const text = ["--set-string", "fullnameOverride=on,nodes.namespace=1e3,metrics.dashboard.labels.a=1"];
    const objects = await helm.render(["--namespace", "2024", "--set", on, ...text]);
    for (const { kind, metadata } of objects) {
      assert.equal(typeof metadata.name, "string", kind);
      if (kind !== "Namespace") assert.match(String(metadata.namespace), /^(2024|1e3)$/, `${kind} ${metadata.name}`);
      assert.ok(metadata.namespace === undefined || typeof metadata.namespace === "string", kind);
    }
    const references = JSON.stringify(objects.map((each) => each.spec ?? each));
    assert.doesNotMatch(references, /"(name|serviceName|namespace)":(true|\d)|"matchNames":\[\d/);
  });

  test("of releases become those of Services, which have no dots and begin with a letter", async () => {
    const image = ["--kube-version", "1.36.0", "--set", "image.registry=registry.example.com:5000/team/infra"];
    const text = await helm.run("template", "team.mirror", chart, ...image);
    assert.equal(workload(parseManifests(text)).metadata.name, "team-mirror-entrepot");
    await assert.rejects(helm.run("template", "1-mirror", chart, ...image), /fullnameOverride: .*1-mirror-entrepot/);
    await helm.run("template", "1-mirror", chart, ...image, "--set", "fullnameOverride=mirror");
  });
});

test("a class without a name is not the default one", async () => {
  const claim = async (...args: string[]): Promise<unknown> =>
    (workload(await helm.render(args)).spec.volumeClaimTemplates?.[0] as { spec: object } | undefined)?.spec;
  assert.partialDeepStrictEqual(await claim("--set", "registry.storage.filesystem.storage_class="), {
    storageClassName: "",
  });
  assert.ok(!("storageClassName" in ((await claim()) as object)));
});

test("a constraint with a selector of its own keeps it as it is", async () => {
  const own = { matchLabels: { app: "other" } };
  const constraint = { maxSkew: 1, topologyKey: "zone", whenUnsatisfiable: "ScheduleAnyway" };
  const both = JSON.stringify([{ ...constraint, labelSelector: own }, constraint]);
  const { spec } = workload(await helm.render(["--set-json", `topologySpreadConstraints=${both}`])).spec.template;
  const [first, second] = spec.topologySpreadConstraints ?? [];
  assert.deepEqual(first?.labelSelector, own);
  assert.equal(second?.labelSelector.matchLabels["app.kubernetes.io/component"], "mirror");
});

test("a folder for hosts that is the configuration's is mounted once", async () => {
  const hosts = "nodes.enabled=true,nodes.containerd.hosts=/etc/containerd";
  const set = podOf(only(await helm.render(["--set", hosts]), "DaemonSet", "cache-entrepot-nodes"));
  assert.deepEqual(
    set?.spec.volumes?.map((each) => each.name),
    ["containerd"],
  );
});

test("pods and hooks go to nodes that can run them", async () => {
  const objects = await helm.render(["--set", "nodes.enabled=true,nodes.nodeSelector.pool=a"]);
  const selectors = objects.flatMap((each) => podOf(each) ?? []).map(({ spec }) => spec.nodeSelector ?? {});
  const linux = { "kubernetes.io/os": "linux" };
  assert.equal(selectors.length, 6);
  for (const each of selectors) assert.partialDeepStrictEqual(each, linux);
  assert.equal(selectors.filter((each) => each["pool"] === "a").length, 4);
});

test("a network policy knows the ports of proxies, of DNS and of clouds", async () => {
  const egress = async (...args: string[]): Promise<{ ports: { port: number }[]; to?: unknown }[]> => {
    const { spec = {} } = only(await helm.render(args), "NetworkPolicy");
    return spec["egress"] as { ports: { port: number }[]; to?: unknown }[];
  };
  const rules = await egress("--values", files.get("given") ?? "");
  const ports = rules.map((rule) => rule.ports.map((each) => each.port));
  const dns = [53, 53, 5353, 5353];
  // Of the upstreams, a proxy of one, that of all, and that of the environment.
  const outward = [443, 5000, 8888, 3128];
  const cloud = [80, 987, 988, 8080];
  assert.deepEqual(ports, [dns, outward, cloud]);
  assert.deepEqual(rules[2]?.to, [{ ipBlock: { cidr: "169.254.0.0/16" } }, { ipBlock: { cidr: "fd00:ec2::/32" } }]);
  const far =
    "registry.upstream.config.contents[0].namespace=a.example.com,registry.upstream.config.contents[0].host=b";
  const mirror = "registry.upstream.config.contents[0].mirrors[0]";
  const of = async (value: string): Promise<number> =>
    (await egress("--set", `networkPolicy.enabled=true,${far},${mirror}.host=c,${value}`)).length;
  assert.equal(await of(`${mirror}.credentials=gcp`), 3);
  assert.equal(await of(`${mirror}.proxy=http://proxy.example.com`), 2);
});

test("upgrades as the documents have them take the new chart's defaults", async () => {
  const text = await readFile(join(chart, "../../docs/kubernetes.md"), "utf8");
  const upgrades = text.match(/^ *helm upgrade .*$/gm) ?? [];
  assert.ok(upgrades.length >= 3);
  for (const each of upgrades) assert.match(each, / --reset-then-reuse-values /);
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

function below(value: unknown, key: string): unknown {
  return (value as Record<string, unknown> | null)?.[key];
}
