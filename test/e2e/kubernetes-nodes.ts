/* The chart's DaemonSet, on a node whose runtime really pulls. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { registry, type Stage } from "./cluster-stage.ts";
import { bucketSecrets } from "./cluster-bucket.ts";
import { Release, type Values } from "./release.ts";

/** What an administrator has written: the registry itself, and a mirror for another one. */
const othersFiles = {
  [`${registry}/hosts.toml`]: `# Kept by hand.
server = "https://${registry}"

[host."https://${registry}"]
  capabilities = ["pull", "resolve"]  # no push
`,
  "other.example.com/hosts.toml": `[host."https://mirror.example.com"]\n  capabilities = ["pull"]\n`,
};

/** Registers the tests. */
export function nodeTests(stage: () => Stage): void {
  test("nodes without files pull through a release with a volume, whatever happens to it, and are left as they were", async () => {
    const release = await Release.prepare(stage().cluster, stage().directory, "plain");
    await stage().cluster.addVolume("plain");
    const left = await live(stage(), release, {});
    assert.deepEqual(left, ["persistentvolumeclaim/cache-plain-entrepot-0"]);
  });

  test("nodes with files of others do so through a release with a bucket, until that tells them no more", async () => {
    for (const [path, text] of Object.entries(othersFiles)) {
      await stage().cluster.machine.writeEtc(`containerd/certs.d/${path}`, text);
    }
    const release = await Release.prepare(stage().cluster, stage().directory, "shared");
    const values = { replicas: 2, registry: await (await stage().bucket()).prepare(release) };
    const left = await live(stage(), release, values, { isTurnedOff: true });
    assert.deepEqual(left, bucketSecrets);
  });
}

/**
 * Installs a release with its DaemonSet, and removes it; gives what is left of it in its namespace.
 *
 * @param isTurnedOff Whether the DaemonSet is turned off before.
 */
async function live(stage: Stage, release: Release, more: Values, { isTurnedOff = false } = {}): Promise<string[]> {
  const { cluster, door } = stage;
  const { name, namespace } = release;
  const nodes = `${name}-nodes`;
  const labels = { "pod-security.kubernetes.io/enforce": "privileged" };
  await cluster.create({ apiVersion: "v1", kind: "Namespace", metadata: { name: nodes, labels } });
  const atFirst = await filesOf(stage);
  const values = stage.values({ ...more, nodes: { enabled: true, namespace: nodes } });
  await release.deploy(values);
  // Helm takes a DaemonSet for ready when all its pods but one are.
  await cluster.kubectl("rollout", "status", "daemonset", "--timeout=60s", `--namespace=${nodes}`);
  assert.notDeepEqual(await filesOf(stage), atFirst);

  await door.shut();
  await stage.runPod(namespace, "first", await stage.publish(`${name}/first`));
  await door.open();
  assert.deepEqual(whoPulled(stage, `${name}/first`), ["entrepot"]);

  const pulled = await stage.publish(`${name}/pulled`);
  await using pulls = new RuntimePulls(stage, pulled);
  const selector = ["--selector=app.kubernetes.io/component=mirror", `--namespace=${namespace}`];
  await cluster.kubectl("delete", "pod", "--force", "--grace-period=0", ...selector);
  await cluster.kubectl("wait", "pod", "--for=condition=Ready", "--timeout=60s", ...selector);
  await release.deploy(stage.next(values));
  assert.deepEqual(await pulls.stop(), []);
  assert.notEqual(pulls.count, 0);

  const workload = `${(await cluster.get<List>("statefulset,deployment", ...selector)).items[0]?.kind}/${name}-entrepot`;
  await cluster.kubectl("scale", workload, "--replicas=0", `--namespace=${namespace}`);
  await cluster.kubectl("wait", "pod", "--for=delete", "--timeout=60s", ...selector);
  await stage.runPod(namespace, "second", await stage.publish(`${name}/second`));
  assert.deepEqual(whoPulled(stage, `${name}/second`), ["containerd"]);

  if (isTurnedOff) await release.deploy(stage.values({ ...more, nodes: { enabled: false, namespace: nodes } }));
  else await release.uninstall();
  assert.deepEqual(await filesOf(stage), atFirst);
  await stage.runPod(namespace, "third", await stage.publish(`${name}/third`));
  assert.deepEqual(whoPulled(stage, `${name}/third`), ["containerd"]);
  // Helm does not wait for the pods of a hook's DaemonSet to end.
  await cluster.kubectl("wait", "pod", "--all", "--for=delete", "--timeout=60s", `--namespace=${nodes}`);
  assert.deepEqual(await release.objects(nodes), []);
  if (isTurnedOff) await release.uninstall();
  return await release.objects();
}

/** The programs that have asked the upstream for a repository. */
function whoPulled({ upstream }: Stage, repository: string): string[] {
  const asked = upstream.requests.filter(({ path }) => path.startsWith(`/v2/${repository}/`));
  return [...new Set(asked.map(({ headers }) => headers["user-agent"]?.split("/")[0] ?? ""))];
}

/** All that is below the node's /etc/containerd: paths with rights and owners, and each file's bytes. */
function filesOf({ cluster }: Stage): Promise<string> {
  const paths = "find . -printf '%p %m %u:%g %l\\n' | sort";
  const script = `cd /etc/containerd && ${paths} && find . -type f | sort | xargs tail -v -n +1`;
  return cluster.machine.run("/bin/sh", "-c", script);
}

/** Pulls by the node's runtime, one after the other; each is of the whole image, as it is forgotten after it. */
class RuntimePulls implements AsyncDisposable {
  count = 0;
  readonly #stage: Stage;
  readonly #image: string;
  readonly #failures: unknown[] = [];
  readonly #running: Promise<void>;
  #isOver = false;

  constructor(stage: Stage, image: string) {
    this.#stage = stage;
    this.#image = image;
    this.#running = this.#pull();
  }

  /** Lets the last one end; gives what failed. */
  async stop(): Promise<readonly unknown[]> {
    this.#isOver = true;
    await this.#running;
    return this.#failures;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #pull(): Promise<void> {
    // Content is shared with what pods have, so it is an image that none has.
    const images = (...args: string[]): Promise<string> =>
      this.#stage.cluster.ctr("--namespace", "pulls", "images", ...args);
    while (!this.#isOver) {
      try {
        await images("pull", "--local", "--hosts-dir", "/etc/containerd/certs.d", this.#image);
        await images("rm", "--sync", this.#image);
        this.count++;
      } catch (error) {
        this.#failures.push(error);
      }
    }
  }
}

interface List {
  readonly items: readonly { readonly kind: string }[];
}
