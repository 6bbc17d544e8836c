/* The chart's objects, for each row of a matrix of values (chart-values). A cluster is not needed. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cp, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { promisify } from "node:util";
import { createTemporaryDirectory } from "../support/temporary.ts";
import {
  chart,
  configuration,
  Helm,
  type KubernetesObject,
  type Labels,
  only,
  podOf,
  release,
  selectorOf,
  unrestricted,
  valueFiles,
  workload,
} from "./chart.ts";

const execute = promisify(execFile);
const helm = await Helm.find();
const files = await valueFiles();
const labelKey = /^([a-z0-9]([-a-z0-9.]*[a-z0-9])?\/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
const labelValue = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/;
const dnsLabel = /^[a-z]([-a-z0-9]{0,61}[a-z0-9])?$/;
const selected = ["app.kubernetes.io/component", "app.kubernetes.io/instance", "app.kubernetes.io/name"];

for (const [row, file] of files) {
  describe(`the chart with ${row}.yaml`, () => {
    let objects: KubernetesObject[];
    let mirror: ReturnType<typeof workload>;

    before(async () => {
      objects = await helm.render(["--values", file]);
      mirror = workload(objects);
    });

    test("has names and labels that Kubernetes takes, each object once", () => {
      const seen = new Set<string>();
      for (const { apiVersion, kind, metadata } of objects) {
        const id = [apiVersion, kind, metadata.namespace, metadata.name].join(" ");
        assert.match(metadata.name, dnsLabel, id);
        if (kind === "StatefulSet") assert.ok(metadata.name.length <= 52, `${id}: its revisions' labels are longer`);
        assert.equal(metadata.namespace === undefined, kind === "Namespace", id);
        assert.ok(!seen.has(id), id);
        seen.add(id);
      }
      const labelled = objects.flatMap((each) => [each.metadata, podOf(each)?.metadata ?? {}] as { labels?: Labels }[]);
      for (const [key, value] of labelled.flatMap(({ labels = {} }) => Object.entries(labels))) {
        assert.match(key, labelKey);
        assert.match(value, labelValue, key);
      }
    });

    test("is the same each time", async () => {
      const [first, second] = await Promise.all([helm.template(["--values", file]), helm.template(["--values", file])]);
      assert.equal(first, second);
    });

    test("has selectors of three labels, which never change, that are those of the pods", () => {
      for (const object of objects) {
        if (podOf(object) === undefined || object.spec?.selector === undefined) continue;
        const labels = selectorOf(object);
        assert.deepEqual(Object.keys(labels).toSorted(), selected);
        assert.ok(isSelected(podOf(object)?.metadata.labels, labels), object.metadata.name);
      }
    });

    test("sends to the mirror's pods, and to no others", () => {
      const pods = objects.flatMap((each) => podOf(each) ?? []);
      const kinds = ["Service", "NetworkPolicy", "PodDisruptionBudget"];
      const selectors = objects.filter((each) => kinds.includes(each.kind)).map(selectorOf);
      const spread = mirror.spec.template.spec.topologySpreadConstraints ?? [];
      assert.ok(selectors.length >= 2 && spread.length > 0);
      for (const labels of [...selectors, ...spread.map((each) => each.labelSelector.matchLabels)]) {
        const hit = pods.filter((pod) => isSelected(pod.metadata.labels, labels));
        assert.deepEqual(hit, [mirror.spec.template]);
      }
    });

    test("has ports, probes and volumes that are there", () => {
      const ports = (mirror.spec.template.spec.containers[0]?.ports ?? []).map((port) => port.name);
      for (const service of objects.filter((each) => each.kind === "Service")) {
        for (const { targetPort } of service.spec?.ports ?? []) assert.ok(ports.includes(targetPort), targetPort);
      }
      const services = objects.filter((each) => each.kind === "Service").map((each) => each.metadata.name);
      if (mirror.kind === "StatefulSet") assert.ok(services.includes(String(mirror.spec["serviceName"])));
      for (const object of objects) {
        const pod = podOf(object)?.spec;
        const claims = object.spec?.volumeClaimTemplates ?? [];
        const volumes = [...(pod?.volumes ?? []).map((each) => each.name), ...claims.map((each) => each.metadata.name)];
        assert.equal(new Set(volumes).size, volumes.length);
        const mounted = new Set<string>();
        for (const container of [...(pod?.initContainers ?? []), ...(pod?.containers ?? [])]) {
          const mounts = container.volumeMounts ?? [];
          const paths = new Set(mounts.map((mount) => mount.mountPath));
          assert.equal(paths.size, mounts.length);
          for (const mount of mounts) {
            assert.ok(volumes.includes(mount.name), `${container.name}: ${mount.name}`);
            assert.equal(mount.subPath, undefined, "a file's change would not reach the program");
            mounted.add(mount.name);
          }
          const { livenessProbe, readinessProbe, startupProbe, env = [] } = container;
          for (const probe of [livenessProbe, readinessProbe, startupProbe]) {
            const port = probe?.httpGet.port;
            if (typeof port === "string") assert.equal(port, "admin");
          }
          assert.equal(new Set(env.map((each) => each.name)).size, env.length);
        }
        assert.deepEqual([...mounted].toSorted(), volumes.toSorted(), object.metadata.name);
      }
    });

    test("passes the Pod Security Standard restricted, but for what is of nodes", () => {
      for (const object of objects) {
        const spec = podOf(object)?.spec;
        if (spec === undefined) continue;
        const faults = unrestricted(spec);
        if (object.kind === "DaemonSet") {
          const expected = /^(hostNetwork|volume .*: hostPath|node: runAs(User|NonRoot))$/;
          assert.deepEqual(
            faults.filter((fault) => !expected.test(fault)),
            [],
          );
        } else {
          assert.deepEqual(faults, []);
        }
        for (const each of spec.containers) assert.match(each.image, /^registry\.example\.com\/(entrepot|tool)[:@]/);
      }
    });

    test("says how many pods there are in one place", () => {
      const scalers = objects.filter((each) => each.kind === "HorizontalPodAutoscaler");
      assert.equal(mirror.spec.replicas === undefined, scalers.length === 1);
      for (const { spec } of scalers) {
        const { kind, metadata } = mirror;
        assert.deepEqual(spec?.scaleTargetRef, { apiVersion: "apps/v1", kind, name: metadata.name });
      }
    });

    test("makes a configuration that the program takes", async () => {
      await using directory = await createTemporaryDirectory();
      const secrets = join(directory.path, "secrets/upstream-config");
      await mkdir(secrets, { recursive: true });
      await writeFile(join(secrets, "upstream.yaml"), "- { namespace: quay.io, host: quay.io }");
      const path = join(directory.path, "entrepot.yaml");
      await writeFile(path, configuration(objects));
      const env: Record<string, string> = { PATH: process.env["PATH"] ?? "" };
      for (const { name, value } of mirror.spec.template.spec.containers[0]?.env ?? []) {
        env[name] = (value ?? "fd00::7").replace("/run/secrets/entrepot", join(directory.path, "secrets"));
      }
      assert.equal(env["CONFIG"], "/etc/entrepot/entrepot.yaml");
      const main = join(import.meta.dirname, "../../src/main.ts");
      const { stdout } = await execute(process.execPath, [main, "check"], { env: { ...env, CONFIG: path } });
      assert.match(stdout, /^listen: :8080$/m);
      assert.match(stdout, /^admin_listen: :9090$/m);
      assert.match(stdout, new RegExp(`^  type: ${mirror.kind === "Deployment" ? "s3" : "filesystem"}$`, "m"));
    });

    test("reads no token of Kubernetes in the mirror's pods", () => {
      for (const object of objects) {
        const spec = podOf(object)?.spec;
        if (spec !== undefined) assert.equal(spec.automountServiceAccountToken, object.kind === "Job");
      }
    });
  });
}

test("the checksum at the pods changes with the configuration, and with nothing else", async () => {
  const checksum = async (...settings: string[]): Promise<string | undefined> => {
    const objects = await helm.render(settings.flatMap((setting) => ["--set", setting]));
    return workload(objects).spec.template.metadata.annotations?.["checksum/config"];
  };
  const first = await checksum();
  assert.match(first ?? "", /^[0-9a-f]{64}$/);
  for (const same of ["replicas=3", "service.type=NodePort", "image.tag=v2", "extraLabels.a=b", "nodes.enabled=true"]) {
    assert.equal(await checksum(same), first, same);
  }
  const others = await Promise.all([
    checksum("config.log.level=warn"),
    checksum("registry.check_cache_digest=true"),
    checksum("registry.upstream.credentials[0].namespace=docker.io", "registry.upstream.credentials[0].secret=a"),
    checksum("registry.storage.filesystem.path=/data"),
    checksum("registry.storage.filesystem.volume=emptyDir"),
    checksum("registry.storage.filesystem.volume=emptyDir", "registry.storage.filesystem.size=10Gi"),
  ]);
  assert.equal(new Set([first, ...others]).size, others.length + 1);
});

test("the pods' labels have no version, so that a new chart alone replaces none", async () => {
  const pods = (await helm.render(["--values", files.get("nodes") ?? ""])).flatMap((each) => podOf(each) ?? []);
  assert.ok(pods.length >= 4);
  for (const { metadata } of pods.filter((pod) => pod.metadata.labels["app.kubernetes.io/component"] !== "test")) {
    assert.deepEqual(Object.keys(metadata.labels).toSorted(), selected);
  }
});

test("a parent chart enables it, and its own global values do not matter", async () => {
  await using directory = await createTemporaryDirectory();
  const parent = await makeParent(directory.path);
  const on = ["--set", "entrepot.enabled=true,global.imageRegistry=x,entrepot.global.y=z"];
  const objects = await helm.render(on, parent);
  assert.equal(workload(objects).metadata.name, `${release.name}-entrepot`);
  assert.deepEqual(await helm.render(["--set", "entrepot.enabled=false"], parent), []);
});

test("long names that differ at the end alone stay different", async () => {
  const long = "a".repeat(60);
  const names = [`${long}-1`, `${long}-2`].map(async (name) => {
    return workload(await helm.render(["--set", `fullnameOverride=${name}`])).metadata.name;
  });
  const [first, second] = await Promise.all(names);
  assert.notEqual(first, second);
  assert.equal(first?.length, 42);
  const short = await helm.render(["--set", "fullnameOverride=short"]);
  assert.equal(only(short, "Service", "short").metadata.namespace, release.namespace);
});

test("helm finds nothing to say against it", async () => {
  for (const file of files.values()) {
    const image = ["--set", "image.registry=registry.example.com"];
    await helm.run("lint", "--strict", chart, "--kube-version", "1.36.0", ...image, "--values", file);
  }
  await helm.run("lint", "--strict", chart, "--kube-version", "1.36.0");
});

function isSelected(labels: Labels | undefined, selector: Labels): boolean {
  return Object.entries(selector).every(([key, value]) => labels?.[key] === value);
}

/** A chart that has this one below it. */
async function makeParent(directory: string): Promise<string> {
  const parent = join(directory, "parent");
  await cp(chart, join(parent, "charts/entrepot"), { recursive: true });
  const dependency = `dependencies: [{ name: entrepot, version: ">=0.0.0", condition: entrepot.enabled }]`;
  await writeFile(join(parent, "Chart.yaml"), `apiVersion: v2\nname: parent\nversion: 1.0.0\n${dependency}\n`);
  return parent;
}
