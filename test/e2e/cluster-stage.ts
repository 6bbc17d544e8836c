import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Digest } from "../../src/oci/digest.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";
import { createUpstream, type ScriptedUpstream } from "../support/upstream.ts";
import { Cluster } from "./cluster.ts";
import { type ClusterBucket, startClusterBucket } from "./cluster-bucket.ts";
import { ImageEngines } from "./image.ts";
import { freePort } from "./programs.ts";
import type { PulledImage } from "./pullers.ts";
import type { Release, Values } from "./release.ts";
import { startRoundRobin } from "./round-robin.ts";
import { TlsDoor } from "./tls-door.ts";

const tag = "test";
const nextTag = "next";

/** The registry that is mirrored, as images are named. */
export const registry = "registry.example.com";

/** What a container needs under the Pod Security Standard `restricted`. */
const restricted = {
  runAsNonRoot: true,
  runAsUser: 65_532,
  allowPrivilegeEscalation: false,
  capabilities: { drop: ["ALL"] },
  seccompProfile: { type: "RuntimeDefault" },
};

/** A cluster that has the project's image in two versions, and beside it an upstream. */
export class Stage implements AsyncDisposable {
  readonly directory: string;
  readonly engines: ImageEngines;
  readonly cluster: Cluster;
  readonly upstream: ScriptedUpstream;
  /** Where the node's runtime reaches the upstream by itself, as `registry`. */
  readonly door: TlsDoor;
  /** Where pods reach it. */
  readonly #upstreamHost: string;
  readonly #stack: AsyncDisposableStack;
  #bucket: Promise<ClusterBucket> | undefined;

  private constructor(
    parts: Pick<Stage, "directory" | "engines" | "cluster" | "upstream" | "door">,
    upstreamHost: string,
    stack: AsyncDisposableStack,
  ) {
    this.directory = parts.directory;
    this.engines = parts.engines;
    this.cluster = parts.cluster;
    this.upstream = parts.upstream;
    this.door = parts.door;
    this.#upstreamHost = upstreamHost;
    this.#stack = stack;
  }

  static async open(): Promise<Stage> {
    await using stack = new AsyncDisposableStack();
    const { path: directory } = stack.use(await createTemporaryDirectory());
    const engines = stack.use(await ImageEngines.create(directory));
    await engines.build(`localhost/entrepot:${tag}`, "1.0.0");
    const container = (await engines.buildah("from", "--pull-never", `localhost/entrepot:${tag}`)).trim();
    await engines.buildah("config", "--label", "org.opencontainers.image.version=2.0.0", container);
    await engines.buildah("commit", "--quiet", "--rm", container, `localhost/entrepot:${nextTag}`);
    const cluster = stack.use(await Cluster.start(directory, engines));
    for (const each of [tag, nextTag]) await cluster.importImage(engines, `localhost/entrepot:${each}`);
    const upstream = stack.use(await createUpstream());
    const { outside } = cluster.machine;
    const { host } = stack.use(await startRoundRobin(await freePort(), [upstream.host], outside));
    const door = stack.use(await TlsDoor.open(directory, registry, outside, upstream.host));
    await cluster.machine.writeEtc("ssl/certs/registry.pem", door.certificate);
    await cluster.machine.writeEtc("hosts", `127.0.0.1 localhost\n${outside} ${registry}\n`);
    return new Stage({ directory, engines, cluster, upstream, door }, host, stack.move());
  }

  /** The bucket of those releases that have one; it is there from the first time that it is asked for. */
  bucket(): Promise<ClusterBucket> {
    this.#bucket ??= startClusterBucket(this.cluster, this.directory).then((bucket) => this.#stack.use(bucket));
    return this.#bucket;
  }

  /** The values of a release that mirrors the upstream; `more` goes over them at the top. */
  values(more: Values & { readonly registry?: Values } = {}): Values {
    const contents = [{ namespace: registry, host: this.#upstreamHost, tls: false }];
    return {
      image: { registry: "localhost", name: "entrepot", tag, pullPolicy: "Never" },
      service: { type: "NodePort" },
      config: { shutdown_delay: "5s", shutdown_timeout: "30s" },
      ...more,
      registry: { upstream: { config: { contents } }, storage: { filesystem: { size: "1Gi" } }, ...more.registry },
    };
  }

  /** The same with the other version of the image. */
  next(values: Values): Values {
    return { ...values, image: { ...(values["image"] as Values), tag: nextTag } };
  }

  /** An image at the release's node port. */
  async imageAt({ name, namespace }: Release, repository: string, imageTag: string): Promise<PulledImage> {
    const service = await this.cluster.get<Service>("service", `${name}-entrepot`, `--namespace=${namespace}`);
    const mirror = `http://${this.cluster.machine.address}:${service.spec.ports[0]?.nodePort}`;
    return { mirror, namespace: registry, repository, tag: imageTag };
  }

  /** Gives the upstream an image that a pod can be made of, none of whose layers any node has; how pods name it. */
  async publish(repository: string): Promise<string> {
    const { engines, upstream } = this;
    const name = repository.replaceAll("/", "-");
    const layout = join(this.directory, `${name}-layout`);
    await writeFile(join(this.directory, name), name);
    const container = (await engines.buildah("from", "scratch")).trim();
    await engines.buildah("copy", "--quiet", container, join(this.directory, name), "/");
    await engines.buildah("copy", "--quiet", container, "/bin/busybox", "/bin/sleep");
    await engines.buildah("config", "--entrypoint", '["/bin/sleep", "1000000000"]', container);
    await engines.buildah("commit", "--quiet", "--rm", container, `localhost/${name}`);
    await mkdir(layout);
    await engines.buildah("push", "--quiet", "--format", "oci", `localhost/${name}`, `oci:${layout}:1`);
    const blob = (digest: string): Promise<Buffer> => readFile(join(layout, "blobs", digest.replace(":", "/")));
    const index = JSON.parse(await readFile(join(layout, "index.json"), "utf8")) as { manifests: [Listed] };
    const manifest = await blob(index.manifests[0].digest);
    const { config, layers } = JSON.parse(manifest.toString()) as { config: Listed; layers: Listed[] };
    for (const { digest } of [config, ...layers]) upstream.addBlob(await blob(digest), { repository });
    upstream.addManifest(repository, "1", manifest, index.manifests[0].mediaType);
    return `${registry}/${repository}:1`;
  }

  /** Makes a pod of an image, which the node has to pull, and waits until it runs. */
  async runPod(namespace: string, name: string, image: string): Promise<void> {
    const containers = [{ name: "main", image, imagePullPolicy: "Always", securityContext: restricted }];
    const spec = { containers, terminationGracePeriodSeconds: 0, automountServiceAccountToken: false };
    await this.cluster.create({ apiVersion: "v1", kind: "Pod", metadata: { name, namespace }, spec });
    const pod = [`pod/${name}`, `--namespace=${namespace}`];
    try {
      await this.cluster.kubectl("wait", "--for=condition=Ready", "--timeout=60s", ...pod);
    } catch (error) {
      throw new Error(await this.cluster.kubectl("describe", ...pod), { cause: error });
    }
    await this.cluster.kubectl("delete", "--now", ...pod);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

interface Service {
  readonly spec: { readonly ports: readonly { readonly nodePort: number }[] };
}

interface Listed {
  readonly digest: Digest;
  readonly mediaType: string;
}
