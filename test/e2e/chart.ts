/* What Helm makes of the chart, without a cluster. */
import { execFile } from "node:child_process";
import { cp, readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { parseAllDocuments } from "yaml";
import { install } from "./programs.ts";

export type Labels = Readonly<Record<string, string>>;

export interface Container {
  readonly name: string;
  readonly image: string;
  readonly args?: readonly string[];
  readonly env?: readonly { readonly name: string; readonly value?: string; readonly valueFrom?: object }[];
  readonly ports?: readonly { readonly name: string; readonly containerPort: number; readonly hostPort?: number }[];
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string; readonly subPath?: string }[];
  readonly securityContext?: SecurityContext;
  readonly livenessProbe?: Probe;
  readonly readinessProbe?: Probe;
  readonly startupProbe?: Probe;
}

interface Probe {
  readonly httpGet: { readonly path: string; readonly port: string | number };
}

interface SecurityContext {
  readonly runAsUser?: number;
  readonly runAsNonRoot?: boolean;
  readonly privileged?: boolean;
  readonly allowPrivilegeEscalation?: boolean;
  readonly readOnlyRootFilesystem?: boolean;
  readonly capabilities?: { readonly drop?: readonly string[]; readonly add?: readonly string[] };
  readonly seccompProfile?: { readonly type: string };
}

export interface PodSpec {
  readonly containers: readonly Container[];
  readonly initContainers?: readonly Container[];
  readonly volumes?: readonly Volume[];
  readonly securityContext?: SecurityContext;
  readonly hostNetwork?: boolean;
  readonly serviceAccountName?: string;
  readonly automountServiceAccountToken?: boolean;
  readonly terminationGracePeriodSeconds?: number;
  readonly nodeSelector?: Labels;
  readonly imagePullSecrets?: readonly { readonly name: string }[];
  readonly topologySpreadConstraints?: readonly { readonly labelSelector: { readonly matchLabels: Labels } }[];
}

type Volume = { readonly name: string } & Readonly<Record<string, unknown>>;

export interface PodTemplate {
  readonly metadata: { readonly labels: Labels; readonly annotations?: Labels };
  readonly spec: PodSpec;
}

/** An object of Kubernetes; of its `spec` only what the tests look at. */
export interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly labels?: Labels;
    readonly annotations?: Labels;
  };
  readonly data?: Readonly<Record<string, string>>;
  readonly spec?: {
    readonly replicas?: number;
    readonly selector?: Labels | { readonly matchLabels: Labels };
    readonly podSelector?: { readonly matchLabels: Labels };
    readonly template?: PodTemplate;
    readonly volumeClaimTemplates?: readonly { readonly metadata: { readonly name: string } }[];
    readonly ports?: readonly { readonly name: string; readonly port: number; readonly targetPort: string }[];
    readonly scaleTargetRef?: { readonly kind: string; readonly name: string };
  } & Readonly<Record<string, unknown>>;
}

const run = promisify(execFile);
const project = join(import.meta.dirname, "../..");
const charts = join(project, "charts");
const rows = join(import.meta.dirname, "chart-values");

/** The chart's folder. */
export const chart = join(charts, "entrepot");

/** The release that is made where a test says nothing else. */
export const release = { name: "cache", namespace: "registries" };

/** Helm's program, which is built where that was not done before. */
export class Helm {
  readonly program: string;

  private constructor(program: string) {
    this.program = program;
  }

  static async find(): Promise<Helm> {
    return new Helm(await install("helm"));
  }

  /** What a command writes. */
  async run(...args: readonly string[]): Promise<string> {
    return (await run(this.program, args, { maxBuffer: 64 * 1024 * 1024 })).stdout;
  }

  /** A chart's manifests as Helm writes them, with an image and further arguments. */
  async template(args: readonly string[], folder = chart): Promise<string> {
    const prefix = folder === chart ? "" : "entrepot.";
    const image = `${prefix}image.registry=registry.example.com`;
    const where = ["--namespace", release.namespace, "--kube-version", "1.36.0"];
    return this.run("template", release.name, folder, ...where, "--set", image, ...args);
  }

  /** Its objects. */
  async render(args: readonly string[], folder = chart): Promise<KubernetesObject[]> {
    return parseManifests(await this.template(args, folder));
  }

  /** What a user reads who has installed it. Helm shows it to clusters alone, so that it is made an object here. */
  async notes(temporary: string, args: readonly string[]): Promise<string> {
    const folder = join(temporary, "notes");
    await cp(chart, folder, { recursive: true });
    const notes = await readFile(join(chart, "templates/NOTES.txt"), "utf8");
    const object = `kind: Notes\nmetadata: { name: notes }\ndata: { text: {{ include "notes" . | quote }} }\n`;
    await writeFile(join(folder, "templates/notes.yaml"), `{{ define "notes" }}${notes}{{ end }}${object}`);
    const only = ["--show-only", "templates/notes.yaml", "--set", "image.registry=registry.example.com"];
    const [made] = parseManifests(await this.run("template", release.name, folder, ...only, ...kubernetes, ...args));
    return made?.data?.["text"] ?? "";
  }
}

const kubernetes = ["--kube-version", "1.36.0", "--namespace", release.namespace];

/** The rows of the matrix: by their names, the files with their values. The image comes on top. */
export async function valueFiles(): Promise<Map<string, string>> {
  const names = (await readdir(rows)).filter((name) => name.endsWith(".yaml")).toSorted();
  return new Map(names.map((name) => [name.slice(0, -".yaml".length), join(rows, name)]));
}

/** @throws {Error} it is not the YAML that Kubernetes reads, or says a key twice. */
export function parseManifests(text: string): KubernetesObject[] {
  return parseAllDocuments(text, { version: "1.1", uniqueKeys: true }).flatMap((document) => {
    if (document.errors.length > 0) throw new Error(`${document.errors.join("\n")}\n${document.toString()}`);
    const object = document.toJS() as KubernetesObject | null;
    return object === null ? [] : [object];
  });
}

/** The pods that an object makes, or is. */
export function podOf(object: KubernetesObject): PodTemplate | undefined {
  if (object.kind === "Pod") return { metadata: object.metadata, spec: object.spec } as unknown as PodTemplate;
  return object.spec?.template;
}

/** What an object's selector asks for. */
export function selectorOf({ kind, spec }: KubernetesObject): Labels {
  if (kind === "NetworkPolicy") return spec?.podSelector?.matchLabels ?? {};
  const { selector = {} } = spec ?? {};
  return (kind === "Service" ? selector : ((selector as { matchLabels?: Labels }).matchLabels ?? {})) as Labels;
}

/** @throws {Error} there is none, or more than one. */
export function only(objects: readonly KubernetesObject[], kind: string, name?: string): KubernetesObject {
  const found = objects.filter((each) => each.kind === kind && (name === undefined || each.metadata.name === name));
  const [object] = found;
  if (object === undefined || found.length > 1) throw new Error(`${found.length} of ${kind} ${name ?? ""}`);
  return object;
}

/** What makes the mirror's pods. */
export function workload(objects: readonly KubernetesObject[]): KubernetesObject & { spec: { template: PodTemplate } } {
  const found = objects.filter((each) => each.kind === "StatefulSet" || each.kind === "Deployment");
  const [object] = found;
  if (object?.spec?.template === undefined || found.length > 1) throw new Error(`${found.length} workloads`);
  return object as KubernetesObject & { spec: { template: PodTemplate } };
}

/** The configuration that the program is given. */
export function configuration(objects: readonly KubernetesObject[]): string {
  return only(objects, "ConfigMap", workload(objects).metadata.name).data?.["entrepot.yaml"] ?? "";
}

/** What of a pod the Pod Security Standard `restricted` refuses. */
export function unrestricted(spec: PodSpec): string[] {
  const allowed = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
  ];
  const faults: string[] = [];
  if (spec.hostNetwork === true) faults.push("hostNetwork");
  for (const volume of spec.volumes ?? []) {
    const kinds = Object.keys(volume).filter((key) => key !== "name" && !allowed.includes(key));
    faults.push(...kinds.map((kind) => `volume ${volume.name}: ${kind}`));
  }
  for (const container of [...(spec.initContainers ?? []), ...spec.containers]) {
    const context = { ...spec.securityContext, ...container.securityContext };
    const own: [string, boolean][] = [
      ["runAsNonRoot", context.runAsNonRoot === true],
      ["runAsUser", context.runAsUser !== 0],
      ["seccompProfile", context.seccompProfile?.type === "RuntimeDefault"],
      ["allowPrivilegeEscalation", context.allowPrivilegeEscalation === false],
      ["privileged", context.privileged !== true],
      ["capabilities", context.capabilities?.drop?.includes("ALL") === true && context.capabilities.add === undefined],
      ["hostPort", (container.ports ?? []).every((port) => port.hostPort === undefined)],
    ];
    faults.push(...own.flatMap(([what, isRight]) => (isRight ? [] : [`${container.name}: ${what}`])));
  }
  return faults;
}
