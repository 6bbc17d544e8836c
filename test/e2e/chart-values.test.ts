/* What the chart's values do. A cluster is not needed. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { promisify } from "node:util";
import { parse } from "yaml";
import { createTemporaryDirectory } from "../support/temporary.ts";
import {
  chart,
  configuration,
  Helm,
  type KubernetesObject,
  only,
  podOf,
  unrestricted,
  valueFiles,
  workload,
} from "./chart.ts";

const helm = await Helm.find();
const files = await valueFiles();
const project = join(import.meta.dirname, "../..");
const main = join(project, "src/main.ts");
const execute = promisify(execFile);
const s3 = "registry.storage.mode=s3,registry.storage.s3.bucket=example-cache";

const render = (...settings: string[]): Promise<KubernetesObject[]> =>
  helm.render(settings.flatMap((setting) => ["--set", setting]));
const row = (name: string): Promise<KubernetesObject[]> => helm.render(["--values", files.get(name) ?? ""]);
const settings = (objects: readonly KubernetesObject[]): Record<string, unknown> =>
  parse(configuration(objects)) as Record<string, unknown>;

describe("the configuration has", () => {
  test("accounts from Secrets that are mounted whole, with the upstream that they are for", async () => {
    const objects = await row("upstreams");
    const { upstreams } = settings(objects) as { upstreams: Record<string, unknown>[] };
    const folder = "/run/secrets/entrepot/upstreams";
    const of = (namespace: string): unknown => upstreams.find((each) => each["namespace"] === namespace);
    assert.deepEqual(of("docker.io"), {
      namespace: "docker.io",
      host: "registry-1.docker.io",
      docker_config: `${folder}/docker-hub/.dockerconfigjson`,
    });
    const quay = of("quay.io") as Record<string, unknown>;
    assert.deepEqual([quay["username"], quay["password_file"]], ["team+robot", `${folder}/123/token`]);
    const mounts = workload(objects).spec.template.spec.containers[0]?.volumeMounts ?? [];
    const paths = mounts.map((mount) => mount.mountPath).filter((path) => path.startsWith(folder));
    assert.deepEqual(
      paths,
      ["docker-hub", "123", "basic"].map((secret) => `${folder}/${secret}`),
    );
  });

  test("a limit below that of an emptyDir, and the defaults on volumes", async () => {
    assert.partialDeepStrictEqual(settings(await row("empty-dir")), {
      storage: { max_size: "475MiB", min_free: "15%" },
    });
    assert.deepEqual((settings(await render()) as { storage: object }).storage, {
      root: "/var/lib/entrepot/data",
      type: "filesystem",
    });
  });

  test("`config` over all", async () => {
    const { storage } = settings(
      await render("config.storage.max_size=1GiB,registry.storage.filesystem.volume=emptyDir"),
    );
    assert.partialDeepStrictEqual(storage, { max_size: "1GiB", min_free: "15%" });
    const off = settings(await render("config.allow_unlisted=false", "config.upstream_defaults.keep_deleted=false"));
    assert.partialDeepStrictEqual(off, { allow_unlisted: false, upstream_defaults: { keep_deleted: false } });
  });

  test("what replicas need, where they act as one", async () => {
    const objects = await row("s3");
    const replicas = { listen: ":15001", advertise: "${POD_IP}", secret_file: "/run/secrets/entrepot/replicas/shared" };
    assert.deepEqual(settings(objects)["replicas"], replicas);
    const names = only(objects, "Service", "cache-entrepot-pods").spec?.ports?.map((port) => port.name);
    assert.deepEqual(names, ["admin", "replicas"]);
    assert.equal(settings(await row("s3-role"))["replicas"], undefined);
  });
});

describe("pods", () => {
  test("have longer to end than the program takes", async () => {
    const seconds = async (...values: string[]): Promise<unknown> =>
      workload(await render(...values)).spec.template.spec.terminationGracePeriodSeconds;
    assert.equal(await seconds(), 50);
    assert.equal(await seconds("config.shutdown_timeout=1h 2m", "config.shutdown_delay=0s"), 3730);
    assert.equal(await seconds("terminationGracePeriodSeconds=41"), 41);
  });

  test("are replaced as their volumes allow", async () => {
    const { spec } = workload(await row("s3-existing"));
    assert.deepEqual(spec["strategy"], { type: "Recreate" });
    const rolling = (maxSurge: number, maxUnavailable: number): object => ({
      type: "RollingUpdate",
      rollingUpdate: { maxSurge, maxUnavailable },
    });
    assert.deepEqual(workload(await row("s3")).spec["strategy"], rolling(1, 0));
    assert.deepEqual(workload(await render(s3, "hostPort=5000")).spec["strategy"], rolling(0, 1));
    assert.deepEqual(workload(await render()).spec["updateStrategy"], { type: "RollingUpdate" });
    assert.deepEqual(workload(await row("empty-dir")).spec["updateStrategy"], { type: "OnDelete" });
  });

  test("have a port of the node only where that is asked for, as Pod Security refuses it", async () => {
    const { spec } = workload(await render("hostPort=5000")).spec.template;
    assert.equal(spec.containers[0]?.ports?.[0]?.hostPort, 5000);
    assert.deepEqual(unrestricted(spec), ["entrepot: hostPort"]);
  });

  test("make a token of their own where no Secret has one, so that nobody else has the administration", async () => {
    const closed = workload(await render()).spec.template.spec;
    assert.equal(closed.initContainers?.[0]?.name, "token");
    const given = workload(await row("s3")).spec.template.spec;
    assert.equal(given.initContainers, undefined);
    assert.ok(JSON.stringify(given.volumes).includes('{"name":"admin","secret":{"secretName":"admin"'));
  });

  test("have what they are given besides", async () => {
    const { metadata, spec } = workload(await row("pods")).spec.template;
    assert.equal(metadata.labels["azure.workload.identity/use"], "true");
    assert.equal(metadata.labels["team"], "platform");
    assert.equal(metadata.annotations?.["example.com/note"], "1");
    assert.deepEqual(
      spec.initContainers?.map((each) => each.name),
      ["token", "first"],
    );
    assert.deepEqual(
      spec.containers.map((each) => each.name),
      ["entrepot", "second"],
    );
    assert.match(spec.containers[0]?.image ?? "", /^registry\.example\.com\/entrepot@sha256:0{64}$/);
    assert.deepEqual(spec.imagePullSecrets, [{ name: "pull" }]);
    assert.partialDeepStrictEqual(spec, {
      priorityClassName: "system-cluster-critical",
      nodeSelector: { disk: "ssd" },
    });
  });
});

test("a network policy lets through what the mirror needs", async () => {
  const egress = only(await row("upstreams"), "NetworkPolicy").spec?.["egress"] as { ports: { port: unknown }[] }[];
  assert.deepEqual(
    egress[0]?.ports.map((each) => each.port),
    [53, 53, 5353, 5353],
  );
  assert.deepEqual(
    egress[1]?.ports.map((each) => each.port),
    [443, 5000, 5001, 80, 3128],
  );
  const policy = only(await row("autoscaling-s3"), "NetworkPolicy").spec;
  assert.deepEqual(policy?.["policyTypes"], ["Ingress", "Egress"]);
  const ports = (rules: unknown): unknown[] =>
    (rules as { ports: { port: unknown }[] }[]).map((rule) => rule.ports.map((each) => each.port).join());
  assert.deepEqual(ports(policy?.["ingress"]), ["http", "admin", "replicas"]);
  assert.deepEqual(ports(policy?.["egress"]), ["53,53,5353,5353", "443", "replicas", "80,987,988,8080"]);
});

describe("nodes", () => {
  const args = async (name: string): Promise<readonly string[]> =>
    podOf(only(await row(name), "DaemonSet", "cache-entrepot-nodes"))?.spec.containers[0]?.args ?? [];

  test("are told an address that they can reach", async () => {
    const relay = "--relay=127.0.0.1:6500=cache-entrepot.registries.svc:80";
    assert.ok((await args("nodes")).includes(relay));
    assert.ok((await args("nodes-crio")).includes("--relay=127.0.0.1:7000=10.0.0.9:80"));
    assert.ok((await args("nodes-port")).includes("--mirror=http://$(HOST_IP):30500"));
    assert.ok((await args("ipv6")).includes("--relay=127.0.0.1:6500=[fd00::9]:80"));
    assert.ok((await args("nodes-k3s")).includes("--mirror=https://mirror.example.com"));
  });

  test("are commands that the program takes", async () => {
    const names = [...files.keys()].filter((name) => /^(nodes|ipv6|names)/.test(name));
    const objects = (await Promise.all(names.map(row))).flat();
    const commands = objects.flatMap(
      (each) => podOf(each)?.spec.containers.map((container) => container.args ?? []) ?? [],
    );
    const own = commands.filter(([first]) => first === "node");
    assert.equal(own.length, names.length * 4);
    for (const command of own) {
      // What is looked at last is wrong, so that nothing is done.
      const wrong = command[1] === "await" ? [] : ["--interval=0s"];
      const says = command[1] === "await" ? /this is no pod/ : /--interval: expected 1s at least/;
      await assert.rejects(
        execute(process.execPath, [main, ...command, ...wrong], { env: {} }),
        says,
        command.join(" "),
      );
    }
  });

  test("have files of an owner that no other release has", async () => {
    const owner = async (namespace: string, ...more: string[]): Promise<string> => {
      const objects = await helm.render(["--namespace", namespace, "--set", "nodes.enabled=true", ...more]);
      const each = podOf(only(objects, "DaemonSet", "cache-entrepot-nodes"))?.spec.containers[0]?.args ?? [];
      return each.find((arg) => arg.startsWith("--owner="))?.slice("--owner=".length) ?? "";
    };
    assert.equal(await owner("registries"), "registries.cache-entrepot");
    const long = await Promise.all([owner(`${"n".repeat(60)}-1`), owner(`${"n".repeat(60)}-2`)]);
    assert.notEqual(long[0], long[1]);
    for (const each of long) assert.match(each, /^[a-z0-9][a-z0-9.-]{0,61}[a-z0-9]$/);
  });

  test("are told the registries of the upstreams, or those that are named", async () => {
    const named = (await args("nodes")).filter((each) => each.startsWith("--registry="));
    assert.deepEqual(
      named,
      ["docker.io", "registry.example.com:5000", "*"].map((each) => `--registry=${each}`),
    );
    const objects = await helm.render(["--values", files.get("upstreams") ?? "", "--set", "nodes.enabled=true"]);
    const own = podOf(only(objects, "DaemonSet", "cache-entrepot-nodes"))?.spec.containers[0]?.args ?? [];
    assert.ok(own.includes("--registry=docker.io") && own.includes("--registry=example.azurecr.io"));
  });

  test("are made in a namespace that allows them, and taken back in order", async () => {
    const objects = await row("nodes");
    const labels = only(objects, "Namespace", "entrepot-nodes").metadata.labels;
    assert.equal(labels?.["pod-security.kubernetes.io/enforce"], "privileged");
    const hooks = objects.filter((each) => each.metadata.annotations?.["helm.sh/hook"] === "pre-delete");
    assert.ok(hooks.every((hook) => hook.metadata.namespace === "entrepot-nodes"));
    const weighed = hooks.map(({ kind, metadata }): [number, string] => [
      Number(metadata.annotations?.["helm.sh/hook-weight"] ?? 0),
      kind,
    ]);
    const order = weighed.toSorted(([one], [other]) => one - other).map(([, kind]) => kind);
    assert.deepEqual(order.slice(-3), ["Job", "DaemonSet", "Job"]);
    assert.deepEqual(order.slice(0, -3).toSorted(), ["Role", "RoleBinding", "ServiceAccount"]);
  });

  test("have none of containerd's files written or mounted where that is turned off", async () => {
    const spec = podOf(
      only(await render("nodes.enabled=true,nodes.containerd.enabled=false"), "DaemonSet", "cache-entrepot-nodes"),
    )?.spec;
    assert.ok(spec?.containers[0]?.args?.includes("--containerd-hosts=none"));
    assert.ok(!spec?.containers[0]?.args?.some((arg) => arg.startsWith("--containerd-config")));
    assert.ok(!JSON.stringify(spec?.volumes).includes("hostPath"));
  });

  test("are left alone by default", async () => {
    const kinds = new Set((await render()).map((each) => each.kind));
    assert.ok(!kinds.has("DaemonSet") && !kinds.has("Job") && !kinds.has("Role"));
  });
});

describe("who has installed it reads", () => {
  const ways: [values: string, says: RegExp[]][] = [
    [
      "replicas=1",
      [
        /mirrors docker\.io, and other public/,
        /MISSING: nodes do not reach it yet/,
        /http:\/\/cache-entrepot\.registries\.svc:80/,
      ],
    ],
    ["nodes.enabled=true", [/http:\/\/127\.0\.0\.1:6500/, /kubectl logs --namespace registries/]],
    ["nodes.enabled=true,nodes.containerd.enabled=false", [/-nodes writes no files on every node/]],
    [
      "nodes.enabled=true,nodes.via=nodePort,service.type=LoadBalancer,service.nodePort=30500,ingress.enabled=true," +
        "ingress.hosts[0]=mirror.example.com",
      [/at http:\/\/NODE:30500\. NODE is the address of any node/],
    ],
    [
      "ingress.enabled=true,ingress.hosts[0]=mirror.example.com,service.type=NodePort",
      [/at http:\/\/mirror\.example\.com\.\n/],
    ],
    [
      "nodes.enabled=true,nodes.via=address,nodes.address=https://mirror.example.com,httpRoute.enabled=true," +
        "httpRoute.hostnames[0]=m.example.com,httpRoute.parentRefs[0].name=a",
      [/at https:\/\/mirror\.example\.com\.\n/],
    ],
    ["service.type=NodePort", [/http:\/\/NODE:PORT/, /nodePort/]],
    [
      "service.type=NodePort,service.nodePort=30500",
      [/\[host\."http:\/\/NODE:30500"\]/, /location = "NODE:30500\/docker\.io"/],
    ],
    ["service.type=LoadBalancer,service.port=5000", [/http:\/\/ADDRESS:5000/, /loadBalancer\.ingress/]],
    ["hostPort=5000", [/http:\/\/NODE:5000/]],
    [
      "httpRoute.enabled=true,httpRoute.hostnames[0]=m.example.com,httpRoute.parentRefs[0].name=a",
      [/https in its place/],
    ],
    [
      "ingress.enabled=true,ingress.hosts[0]=mirror.example.com",
      [/"registry-mirrors": \["http:\/\/mirror\.example\.com"\], "insecure/],
    ],
    [
      "ingress.enabled=true,ingress.hosts[0]=mirror.example.com,ingress.tls[0].secretName=a",
      [/"registry-mirrors": \["https:\/\/mirror\.example\.com"\] \}/, /insecure = false/],
    ],
    ["registry.storage.filesystem.volume=emptyDir", [/content is lost with each pod/]],
  ];
  for (const [values, says] of ways) {
    test(values, async () => {
      await using directory = await createTemporaryDirectory();
      const text = await helm.notes(directory.path, ["--set", values]);
      for (const each of says) assert.match(text, each);
      const runtimes = ["hosts.toml", "daemon.json", "registries.conf.d", "registries.yaml", "buildkitd.toml"];
      const isReachable = !text.includes("MISSING");
      for (const each of runtimes) assert.equal(text.includes(each), isReachable, each);
    });
  }
});

test("the chart is of the program's version", async () => {
  const { version, appVersion } = parse(await readFile(join(chart, "Chart.yaml"), "utf8")) as Record<string, string>;
  const own = JSON.parse(await readFile(join(project, "package.json"), "utf8")) as { version: string };
  assert.deepEqual([version, appVersion], [own.version, own.version]);
});
