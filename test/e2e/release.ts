import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { chart, Helm } from "./chart.ts";
import type { Cluster } from "./cluster.ts";
import { runWhole } from "./programs.ts";

/** The chart's values. */
export type Values = Readonly<Record<string, unknown>>;

/** A release of the chart in a namespace of its own, under the Pod Security Standard `restricted`. */
export class Release {
  readonly name: string;
  readonly namespace: string;
  readonly #cluster: Cluster;
  readonly #directory: string;
  readonly #helm: Helm;

  private constructor(cluster: Cluster, directory: string, helm: Helm, name: string) {
    this.name = name;
    this.namespace = name;
    this.#cluster = cluster;
    this.#directory = directory;
    this.#helm = helm;
  }

  /** Makes the namespace; nothing is installed yet. */
  static async prepare(cluster: Cluster, directory: string, name: string): Promise<Release> {
    const security = (mode: string): [string, string] => [`pod-security.kubernetes.io/${mode}`, "restricted"];
    const labels = Object.fromEntries([security("enforce"), security("warn")]);
    await cluster.create({ apiVersion: "v1", kind: "Namespace", metadata: { name, labels } });
    return new Release(cluster, directory, await Helm.find(), name);
  }

  /** Installs it or changes it; resolves when all its pods are ready. */
  async deploy(values: Values): Promise<void> {
    const file = join(this.#directory, `${this.name}.json`);
    await writeFile(file, JSON.stringify(values));
    await this.#run("upgrade", "--install", this.name, chart, `--values=${file}`, "--wait", "--timeout=150s");
  }

  /** Returns to the revision before. */
  async rollback(): Promise<void> {
    await this.#run("rollback", this.name, "--wait", "--timeout=150s");
  }

  /** `helm test`; gives what Helm says of it. */
  test(): Promise<string> {
    return this.#run("test", this.name, "--timeout=120s");
  }

  /** Removes it; resolves when its pods are gone, for which Helm does not wait. */
  async uninstall(): Promise<void> {
    await this.#run("uninstall", this.name, "--wait", "--timeout=150s");
    await this.#cluster.kubectl("wait", "pod", "--all", "--for=delete", `--namespace=${this.namespace}`);
  }

  /** All that is in the namespace, or another one, but for what Kubernetes has in each, as `kind/name`. */
  async objects(inNamespace = this.namespace): Promise<string[]> {
    const kinds = await this.#cluster.kubectl("api-resources", "--namespaced", "--verbs=list", "--output=name");
    const asked = kinds.split("\n").filter((kind) => kind !== "" && !kind.startsWith("events"));
    const namespace = `--namespace=${inNamespace}`;
    const names = await this.#cluster.kubectl("get", asked.join(","), namespace, "--output=name", "--ignore-not-found");
    const own = ["configmap/kube-root-ca.crt", "serviceaccount/default"];
    return names.split("\n").filter((name) => name !== "" && !own.includes(name));
  }

  /** Runs Helm; fails where the server warned of anything. */
  async #run(...args: readonly string[]): Promise<string> {
    const { variables } = this.#cluster;
    const { output, errors } = await runWhole(
      [this.#helm.program, ...args, `--namespace=${this.namespace}`],
      variables,
    );
    // What Helm's own watch says when it is ended is nobody's warning.
    const warnings = errors.replaceAll(/^I\d{4} .* reflector\.go:\d+\] .*context canceled.*\n/gm, "");
    assert.equal(warnings, "", "the server warned");
    return output;
  }
}
