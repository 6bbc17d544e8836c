/* Which values the chart refuses, and what it says then. A cluster is not needed. */
import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { parse } from "yaml";
import { Helm } from "./chart.ts";

const helm = await Helm.find();
const project = join(import.meta.dirname, "../..");
const s3 = "registry.storage.mode=s3,registry.storage.s3.bucket=example-cache";

const render = (settings: string): Promise<unknown> => helm.render(["--set", settings]);

describe("the schema refuses", () => {
  // A value, and what the message names.
  const wrong: [value: string, names: RegExp][] = [
    ["imag.tag=x", /'imag'/],
    ["image.nam=x", /\/image'.*'nam'/],
    ["image.tag=2", /\/image\/tag'.*string/],
    ["image.digest=abc", /\/image\/digest'.*sha256/],
    ["image.registry=https://registry.example.com", /\/image\/registry'/],
    ["image.pullPolicy=Sometimes", /\/image\/pullPolicy'.*'Always', 'IfNotPresent', 'Never'/],
    ["replicas=-1", /\/replicas'/],
    ["replicas=two", /\/replicas'.*integer/],
    ["autoscaling.enabled=yes please", /\/autoscaling\/enabled'.*boolean/],
    ["registry.storage.mode=disk", /\/registry\/storage\/mode'.*'filesystem', 's3'/],
    ["registry.storage.filesystem.size=100G", /\/registry\/storage\/filesystem\/size'/],
    ["registry.storage.filesystem.volume=hostPath", /\/volume'/],
    ["registry.storage.s3.host=s3.example.com", /\/registry\/storage\/s3\/host'.*https\?/],
    ["registry.storage.s3.auth_secret.access_key=AKIA", /\/auth_secret'.*'access_key'/],
    ["registry.upstream.config.contents[0].namespace=quay.io", /\/contents\/0'.*'host'/],
    ["registry.upstream.config.contents[0].host=https://quay.io", /\/contents\/0/],
    ["registry.upstream.credentials[0].namespace=quay.io", /\/credentials\/0'.*'secret'/],
    ["config.listen=:80", /\/config'.*'listen'/],
    ["config.upstreams[0].namespace=quay.io", /\/config'.*'upstreams'/],
    ["config.storage.root=/data", /\/config\/storage'.*'root'/],
    ["config.storage.s3.bucket=x", /\/config\/storage\/s3'.*'bucket'/],
    ["service.type=Node", /\/service\/type'/],
    ["service.port=0", /\/service\/port'/],
    ["service.ipFamilies[0]=IPv5", /\/service\/ipFamilies\/0'/],
    ["ingress.hosts=mirror.example.com", /\/ingress\/hosts'.*array/],
    ["nodes.via=dns", /\/nodes\/via'.*'hostPort', 'nodePort', 'address'/],
    ["nodes.address=mirror.example.com", /\/nodes\/address'/],
    ["extraLabels.a=b c", /\/extraLabels\/a'/],
    ["fullnameOverride=Mirror", /\/fullnameOverride'/],
    ["nameOverride=My_Mirror", /\/nameOverride'/],
    ["podDisruptionBudget.maxUnavailable=0%", /\/podDisruptionBudget\/maxUnavailable'/],
    ["livenessProbe.httpGet.path=/", /\/livenessProbe'.*'httpGet'/],
  ];
  for (const [value, names] of wrong) {
    test(value, () => assert.rejects(render(value), names));
  }
});

describe("what values say together is refused", () => {
  const wrong: [values: string, says: RegExp][] = [
    ["image.registry=null", /image\.registry: name the registry/],
    [`${s3},registry.storage.s3.bucket=null`, /registry\.storage\.s3\.bucket: name the bucket/],
    ["config.storage.s3.max_age=30d", /config\.storage\.s3: is used with registry\.storage\.mode: s3 alone/],
    [
      "registry.upstream.credentials[0].namespace=a,registry.upstream.credentials[0].secret=b," +
        "registry.upstream.credentials[1].namespace=a,registry.upstream.credentials[1].secret=c",
      /registry\.upstream\.credentials: a has two accounts/,
    ],
    [
      `${s3},replicas=2`,
      /kubectl create secret generic cache-entrepot-replicas --namespace registries --from-literal=secret=/,
    ],
    [`${s3},autoscaling.enabled=true`, /registry\.replicas\.secret: several pods/],
    ["registry.storage.filesystem.volume=existing", /existing_claim: name the claim/],
    ["registry.storage.filesystem.existing_claim=a", /existing_claim: is used with volume: existing alone/],
    [
      "replicas=2,registry.storage.filesystem.volume=existing,registry.storage.filesystem.existing_claim=a",
      /replicas: one claim is for one pod/,
    ],
    ["replicas=2,config.hosted[0].namespace=apps", /config\.hosted: several pods with a volume each/],
    [
      "config.hosted[0].namespace=apps,registry.storage.filesystem.volume=emptyDir",
      /config\.hosted: what is pushed would be gone with the pod/,
    ],
    ["registry.upstream.config.deploy=false", /name_override: with deploy: false/],
    ["registry.upstream.config.name_override=a", /with deploy: false alone/],
    [
      "registry.upstream.config.deploy=false,registry.upstream.config.name_override=a," +
        "registry.upstream.credentials[0].namespace=quay.io,registry.upstream.credentials[0].secret=b",
      /contents and credentials must be empty/,
    ],
    [
      "registry.upstream.config.contents[0].namespace=quay.io,registry.upstream.config.contents[0].host=quay.io," +
        "registry.upstream.config.contents[0].accounts[0].username=a,registry.upstream.config.contents[0].accounts[0].password=b",
      /registry\.upstream\.config\.contents\[0\]\.accounts\[0\]\.password: would stand in a ConfigMap/,
    ],
    ["config.storage.s3.session_token=a", /config\.storage\.s3\.session_token: would stand in a ConfigMap/],
    ["terminationGracePeriodSeconds=40", /40 s is not more than config\.shutdown_delay and config\.shutdown_timeout/],
    ["config.shutdown_timeout=forever", /config\.shutdown_timeout: write "forever" in seconds/],
    ["autoscaling.enabled=true,autoscaling.maxReplicas=1", /autoscaling\.maxReplicas: 1 is less/],
    ["ingress.enabled=true", /ingress\.hosts: name a host/],
    ["httpRoute.enabled=true", /httpRoute\.parentRefs: name the Gateway/],
    ["nodes.enabled=true,nodes.via=nodePort", /nodes\.via: nodePort needs service\.type NodePort/],
    [
      "nodes.enabled=true,nodes.via=nodePort,service.type=NodePort,service.nodePort=30500,service.ipFamilies[0]=IPv6",
      /nodes\.via: containerd cannot be told of an IPv6 address/,
    ],
    ["nodes.enabled=true,nodes.via=address", /nodes\.address: with via: address/],
    ["nodes.createNamespace=true", /nodes\.namespace: name the namespace/],
  ];
  for (const [values, says] of wrong) {
    test(values, () => assert.rejects(render(values), says));
  }
});

describe("the schema has", () => {
  interface Schema {
    readonly properties?: Readonly<Record<string, Schema>>;
    readonly additionalProperties?: unknown;
  }
  const read = async (path: string): Promise<unknown> => parse(await readFile(join(project, path), "utf8"));

  test("the values of values.yaml, and no others but those of parent charts", async () => {
    const compare = (schema: Schema, values: Readonly<Record<string, unknown>>, path: string): void => {
      const known = Object.keys(schema.properties ?? {}).filter(
        (key) => path !== "" || !/^(global|enabled)$/.test(key),
      );
      assert.deepEqual(known.toSorted(), Object.keys(values).toSorted(), path);
      for (const [key, below] of Object.entries(schema.properties ?? {})) {
        const value = values[key];
        if (below.properties !== undefined && path + key !== "config") {
          assert.equal(below.additionalProperties, false, `${path}${key}`);
          compare(below, value as Record<string, unknown>, `${path}${key}.`);
        }
      }
    };
    const values = (await read("charts/entrepot/values.yaml")) as Record<string, unknown>;
    compare((await read("charts/entrepot/values.schema.json")) as Schema, values, "");
  });

  test("what the chart's README tells, which leaves nothing out", async () => {
    const values = await read("charts/entrepot/values.yaml");
    const text = await readFile(join(project, "charts/entrepot/README.md"), "utf8");
    const rows = [...text.matchAll(/^\| (?<names>`[^|]*) \|/gm)].flatMap(
      (match) => match.groups?.["names"]?.split(", ") ?? [],
    );
    const told = rows.map((name) => name.replaceAll("`", ""));
    for (const name of told) {
      const value = name.split(".").reduce((at, key) => (at as Record<string, unknown> | null)?.[key], values);
      assert.notEqual(value, undefined, name);
    }
    const isTold = (path: string, value: unknown): boolean => {
      if (told.includes(path)) return true;
      const below = Object.entries((value ?? {}) as Record<string, unknown>);
      return below.length > 0 && below.every(([key, each]) => isTold(path === "" ? key : `${path}.${key}`, each));
    };
    assert.ok(isTold("", values));
  });

  test("the program's keys below `config`, but for those that other values say", async () => {
    const own = (await read("charts/entrepot/values.schema.json")) as Schema;
    const program = (await read("docs/config.schema.json")) as Schema;
    const elsewhere = ["admin_listen", "admin_token", "admin_token_file", "check_cache_digest", "default_namespace"];
    const less = (schema: Schema | undefined, ...keys: string[]): string[] =>
      Object.keys(schema?.properties ?? {}).filter((key) => !keys.includes(key));
    const config = own.properties?.["config"];
    const all = less(program, "listen", "replicas", "upstreams", ...elsewhere);
    assert.deepEqual(less(config).toSorted(), all.toSorted());
    const storage = less(program.properties?.["storage"], "root", "type");
    assert.deepEqual(less(config?.properties?.["storage"]).toSorted(), storage.toSorted());
  });
});
