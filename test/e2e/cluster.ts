import { generateKeyPairSync } from "node:crypto";
import { chmod, mkdir, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import {
  cniConfiguration,
  containerdConfiguration,
  corefile,
  kubeconfig,
  kubeletConfiguration,
} from "./cluster-files.ts";
import type { ImageEngines } from "./image.ts";
import { Machine } from "./machine.ts";
import { install, run, runWhole } from "./programs.ts";

const socket = "/run/containerd/containerd.sock";
const nodeName = "node";

/** An image that has a shell and its tools; all that runs beside the program is made of it. */
export const toolsImage = "localhost/tools:test";

/** A real Kubernetes of one node, in a machine of its own. */
export class Cluster implements AsyncDisposable {
  readonly machine: Machine;
  /** What the clients of its API need. */
  readonly variables: Readonly<Record<string, string>>;
  readonly #directory: string;
  readonly #programs: string;

  private constructor(machine: Machine, directory: string, programs: string) {
    this.machine = machine;
    this.#directory = directory;
    this.#programs = programs;
    this.variables = { KUBECONFIG: join(directory, "kubeconfig"), HOME: directory };
  }

  /** Starts it below the folder; resolves when its node is ready. The programs are built where that was not done before. */
  static async start(directory: string, engines: ImageEngines): Promise<Cluster> {
    const programs = await install("kubernetes");
    const machine = await Machine.start(directory);
    const cluster = new Cluster(machine, directory, programs);
    try {
      await cluster.#startControlPlane();
      await cluster.#startNode(engines);
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
    return cluster;
  }

  kubectl(...args: readonly string[]): Promise<string> {
    return run([join(this.#programs, "kubectl"), ...args], this.variables);
  }

  /** An object, or a list of them. */
  async get<T>(...args: readonly string[]): Promise<T> {
    return JSON.parse(await this.kubectl("get", "--output=json", ...args)) as T;
  }

  /** Makes objects; warnings are errors. */
  async create(...objects: readonly object[]): Promise<void> {
    const warnings = await this.#send(objects, "create");
    if (warnings.length > 0) throw new Error(warnings.join("\n"));
  }

  /**
   * Has the server look at objects, each field of which it must know; nothing is made.
   *
   * @returns what it warns of.
   */
  check(objects: readonly object[]): Promise<string[]> {
    return this.#send(objects, "apply", "--dry-run=server", "--server-side", "--force-conflicts", "--validate=strict");
  }

  /** Defines the custom resources of which the chart has objects. */
  async define(): Promise<void> {
    const folder = `--filename=${join(this.#programs, "definitions")}`;
    await this.kubectl("apply", "--server-side", folder);
    await this.kubectl("wait", "--for=condition=Established", "--timeout=60s", folder);
  }

  async #send(items: readonly object[], verb: string, ...options: readonly string[]): Promise<string[]> {
    const file = join(this.#directory, `${crypto.randomUUID()}.json`);
    await writeFile(file, JSON.stringify({ apiVersion: "v1", kind: "List", items }));
    const command = [join(this.#programs, "kubectl"), verb, `--filename=${file}`, ...options] as const;
    const { errors } = await runWhole(command, this.variables);
    return errors.split("\n").filter((line) => line !== "");
  }

  /** Gives an image of the engines to the node. */
  async importImage(engines: ImageEngines, image: string): Promise<void> {
    const archive = join(this.#directory, `${image.replaceAll(/[/:]/g, "-")}.tar`);
    await engines.buildah("push", "--quiet", image, `docker-archive:${archive}:${image}`);
    await this.ctr("images", "import", "--local", archive);
  }

  /** containerd's own client, for what the node's pods run of. */
  ctr(...args: readonly string[]): Promise<string> {
    return this.machine.run(join(this.#programs, "ctr"), "--address", socket, "--namespace", "k8s.io", ...args);
  }

  /** Makes a volume that a claim can have. */
  async addVolume(name: string, capacity = "1Gi"): Promise<void> {
    const path = join(this.#directory, "volumes", name);
    await mkdir(path, { recursive: true });
    const isHere = { key: "kubernetes.io/hostname", operator: "In", values: [nodeName] };
    const spec = {
      capacity: { storage: capacity },
      accessModes: ["ReadWriteOnce"],
      local: { path },
      nodeAffinity: { required: { nodeSelectorTerms: [{ matchExpressions: [isHere] }] } },
    };
    await this.create({ apiVersion: "v1", kind: "PersistentVolume", metadata: { name }, spec });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.machine[Symbol.asyncDispose]();
    // Control groups are the whole system's; those of the containers that ran until now are left, and empty.
    const containers = join(this.#directory, "containerd/io.containerd.runtime.v2.task/k8s.io");
    const groups = (await readdir(containers).catch(() => [])).flatMap((id) => ["-o", "-path", `*/k8s.io/${id}*`]);
    const remove = ["-type", "d", "(", "-false", ...groups, ")", "-exec", "/bin/rmdir", "{}", "+"];
    await run(["/usr/bin/find", "/sys/fs/cgroup", "-depth", ...remove]);
  }

  async #startControlPlane(): Promise<void> {
    const { address } = this.machine;
    const own = (name: string): string => join(this.#directory, name);
    const serverCertificate = own("api-server/apiserver.crt");
    const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
    const key = own("service-accounts.key");
    const token = crypto.randomUUID();
    await writeFile(key, privateKey.export({ type: "pkcs8", format: "pem" }));
    await writeFile(own("tokens.csv"), `${token},admin,admin,system:masters\n`);
    await writeFile(own("kubeconfig"), kubeconfig(`https://${address}:6443`, serverCertificate, token));

    // All listen where they do by default: nobody else is in this machine.
    await this.#start("etcd", ["--data-dir", own("etcd"), "--unsafe-no-fsync"], () =>
      this.#answers("http://127.0.0.1:2379/health"),
    );
    const serviceAccounts = [
      "--service-account-issuer=https://kubernetes.default.svc",
      `--service-account-key-file=${key}`,
      `--service-account-signing-key-file=${key}`,
    ];
    const server = [
      "--etcd-servers=http://127.0.0.1:2379",
      `--advertise-address=${address}`,
      `--cert-dir=${own("api-server")}`,
      `--token-auth-file=${own("tokens.csv")}`,
      "--authorization-mode=Node,RBAC",
      "--service-cluster-ip-range=10.96.0.0/16,fd96::/112",
      "--allow-privileged",
      "--kubelet-preferred-address-types=InternalIP",
    ];
    await this.#start("kube-apiserver", [...server, ...serviceAccounts], async () => {
      await this.kubectl("get", "--raw", "/readyz");
      return true;
    });
    const client = [`--kubeconfig=${own("kubeconfig")}`, "--leader-elect=false"];
    const controllers = [`--service-account-private-key-file=${key}`, `--root-ca-file=${serverCertificate}`];
    const certificates = [`--cert-dir=${own("controllers")}`];
    await Promise.all([
      this.#start("kube-controller-manager", [...client, ...controllers, ...certificates], async () => {
        await this.kubectl("get", "serviceaccount", "default");
        return true;
      }),
      this.#start("kube-scheduler", [...client, `--cert-dir=${own("scheduler")}`]),
    ]);
  }

  async #startNode(engines: ImageEngines): Promise<void> {
    const { machine } = this;
    const own = (name: string): string => join(this.#directory, name);
    await machine.writeEtc("containerd/config.toml", containerdConfiguration(own("containerd"), socket, toolsImage));
    await machine.writeEtc("cni/net.d/10-pods.conflist", cniConfiguration());
    await writeFile(own("kubelet.yaml"), kubeletConfiguration(machine.address, socket, own("pod-logs")));
    await writeFile(own("Corefile"), corefile(own("kubeconfig")));
    // Without a route, what goes to a Service would be refused before it is led to a pod.
    await machine.run("/usr/sbin/ip", "route", "add", "10.96.0.0/16", "via", machine.outside);
    const root = await this.#emptyFolder("kubelet");
    await this.#start("containerd", ["--config=/etc/containerd/config.toml"], async () => {
      await this.ctr("version");
      return true;
    });
    await this.#addTools(engines);
    const identity = [`--kubeconfig=${own("kubeconfig")}`, `--hostname-override=${nodeName}`];
    const proxy = ["--proxy-mode=iptables", "--cluster-cidr=10.88.0.0/16"];
    // These limits are the whole system's, and are not set from within.
    const conntrack = ["--conntrack-max-per-core=0", "--conntrack-min=0", "--conntrack-tcp-timeout-established=0"];
    await Promise.all([
      this.#start("coredns", ["-conf", own("Corefile")]),
      this.#start(
        "kubelet",
        [
          ...identity,
          `--config=${own("kubelet.yaml")}`,
          `--root-dir=${root}`,
          `--cert-dir=${own("kubelet-certificates")}`,
          `--node-ip=${machine.address}`,
        ],
        async () => (await this.kubectl("get", "node", nodeName)).includes(" Ready "),
      ),
      this.#start("kube-proxy", [...identity, ...proxy, ...conntrack, "--conntrack-tcp-timeout-close-wait=0"], () =>
        this.#answers("http://127.0.0.1:10256/healthz"),
      ),
    ]);
  }

  /** The image of which a pod's first process is made as well, which is why it is there before any pod. */
  async #addTools(engines: ImageEngines): Promise<void> {
    const container = (await engines.buildah("from", "scratch")).trim();
    await engines.buildah("copy", "--quiet", container, "/bin/busybox", "/bin/busybox");
    for (const name of ["sh", "sleep", "wget", "nslookup"]) {
      await engines.buildah("copy", "--quiet", container, "/bin/busybox", `/bin/${name}`);
    }
    await engines.buildah("config", "--entrypoint", '["/bin/sleep", "1000000000"]', container);
    await engines.buildah("commit", "--quiet", "--rm", container, toolsImage);
    await this.importImage(engines, toolsImage);
  }

  #start(
    name: string,
    args: readonly string[],
    isReady = (): Promise<boolean> => Promise.resolve(true),
  ): Promise<void> {
    const environment = { PATH: `${this.#programs}:/usr/sbin:/usr/bin:/sbin:/bin` };
    return this.machine.start(name, { command: [join(this.#programs, name), ...args], environment, isReady });
  }

  /** Whether a URL within the machine answers that all is well. */
  async #answers(url: string): Promise<boolean> {
    await this.machine.run("/bin/busybox", "wget", "-q", "-O", "/dev/null", url);
    return true;
  }

  async #emptyFolder(name: string): Promise<string> {
    const path = join(this.#directory, name);
    await mkdir(path);
    await chmod(path, 0o755);
    return path;
  }
}
