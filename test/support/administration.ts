import { Administration, type AdministrationOptions } from "../../src/jobs/administration.ts";
import type { JobOptions } from "../../src/jobs/job-request.ts";
import type { Step } from "../../src/jobs/job.ts";
import { Jobs } from "../../src/jobs/jobs.ts";
import { PinList } from "../../src/jobs/pin-list.ts";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import type { Namespace, Repository, Tag } from "../../src/oci/reference.ts";
import type { RepositoryId } from "../../src/store/layout.ts";
import type { PurgePlan, PurgeTarget } from "../../src/ledger/ledger.ts";
import type { NamespaceRules } from "../../src/registry/namespaces.ts";

export const alpine: RepositoryId = {
  namespace: "docker.io" as Namespace,
  repository: "library/alpine" as Repository,
};
export const manifestDigest: Digest = digestOf(Buffer.from("manifest"));
export const layerDigest: Digest = digestOf(Buffer.from("layer"));
const tag = "3" as Tag;

export const rules: NamespaceRules = {
  isListed: (namespace) => namespace === "docker.io" || namespace === "short",
  ofServerName: (host) => (host === "quay.mirror.example.com" ? ("quay.io" as Namespace) : undefined),
  defaultNamespace: "docker.io" as Namespace,
  emptyNamespace: "docker.io" as Namespace,
};

const usedAt = 1_000;
const plan: PurgePlan = {
  tags: [{ id: alpine, tag, digest: manifestDigest }],
  links: [
    { id: alpine, digest: manifestDigest },
    { id: alpine, digest: layerDigest },
  ],
  pages: [{ id: alpine, page: "tags", name: "page" }],
  contents: [manifestDigest, layerDigest],
  freesBytes: 12_288,
};
const emptyPlan: PurgePlan = { tags: [], links: [], pages: [], contents: [], freesBytes: 0 };

/** An administration of a cache that holds one image, alpine:3, and what it did. */
export interface FakeAdministration {
  readonly administration: Administration;
  /** What it was made of. */
  readonly options: AdministrationOptions;
  readonly jobs: Jobs;
  readonly pins: PinList;
  /** What was removed, in order. */
  readonly removed: string[];
  /** The patterns that were saved last. */
  readonly saved: () => readonly string[] | undefined;
  /** What the purges' plans were asked for. */
  readonly planned: PurgeTarget[];
  /** The options that jobs were made with. */
  readonly started: (JobOptions["evict"] | JobOptions["verify"] | JobOptions["warm"])[];
}

/** Makes one. `step` is what each job does; `busy` says what content is in use; `overrides` replaces parts. */
export async function createAdministration(
  settings: {
    readonly step?: Step["run"];
    readonly busy?: readonly string[];
    readonly overrides?: Partial<AdministrationOptions>;
  } = {},
): Promise<FakeAdministration> {
  const { step = async () => undefined, busy = [], overrides = {} } = settings;
  const removed: string[] = [];
  const planned: PurgeTarget[] = [];
  const started: FakeAdministration["started"] = [];
  let saved: readonly string[] | undefined;
  const pins = await PinList.open({
    configured: ["docker.io/library/*:lts"],
    parse: (pattern) => {
      if (!pattern.includes("/")) throw new Error("a pattern begins with a registry's name");
      return pattern.toLowerCase();
    },
    load: async () => ["quay.io/team/**"],
    save: async (patterns) => {
      saved = patterns;
    },
    onError: () => undefined,
  });
  const ignore = (): void => undefined;
  const jobs = new Jobs({ started: ignore, stepEnded: ignore, ended: ignore });
  const steps = (options: FakeAdministration["started"][number]): readonly Step[] => {
    started.push(options);
    return [{ name: "only", title: "The only step", run: step }];
  };
  const holds = (target: PurgeTarget): boolean => {
    switch (target.kind) {
      case "namespace":
        return target.namespace === alpine.namespace;
      case "repository":
        return target.id.repository === alpine.repository;
      case "tag":
        return target.id.repository === alpine.repository && target.tag === tag;
      case "digest":
      case "content":
        return target.digest === manifestDigest || target.digest === layerDigest;
    }
  };
  const options: AdministrationOptions = {
    ledger: {
      totals: { bytes: 12_288, namespaces: new Map() },
      namespaces: async () => [{ namespace: alpine.namespace, repositories: 1, bytes: 12_288, usedAt }],
      repositories: async ({ namespace = alpine.namespace, after, limit }) => {
        if (namespace !== alpine.namespace || after !== undefined) return { items: [], next: undefined };
        return { items: [{ ...alpine, tags: 1, bytes: 12_288, usedAt }], next: limit === 1 ? "more" : undefined };
      },
      tags: async ({ repository, pins: patterns }) => {
        if (repository !== alpine.repository) return { items: [], next: undefined };
        const pinned = patterns.includes("docker.io/library/alpine:3");
        const named = { ...alpine, tag, digest: manifestDigest, bytes: 8_192, usedAt, pinned };
        const untagged = { ...named, tag: undefined, digest: layerDigest, usedAt: undefined };
        return { items: [named, untagged], next: undefined };
      },
      purgePlan: async (target) => {
        planned.push(target);
        return holds(target) ? plan : emptyPlan;
      },
      pinnedBytes: async (patterns) => patterns.length * 4096,
    },
    content: {
      removeTag: async (id, name, expected) => {
        removed.push(`tag ${id.repository} ${name} ${expected}`);
        return true;
      },
      removeLink: async (id, digest) => void removed.push(`link ${id.repository} ${digest}`),
      pages: { remove: async (id, page, name) => void removed.push(`page ${id.repository} ${page} ${name}`) },
      removeBlob: async (digest) => {
        if (busy.includes(digest)) return false;
        removed.push(`blob ${digest}`);
        return true;
      },
    },
    space: {
      refresh: async () => undefined,
      state: {
        usedBytes: 12_288,
        reservedBytes: 0,
        besides: {
          ledgerBytes: 4_096,
          foldersBytes: 8_192,
          quarantineBytes: 0,
          hostedBytes: 0,
          othersBytes: 1_024,
          slackBytes: 512,
        },
        limitBytes: Infinity,
        volume: { totalBytes: 1_000_000, freeBytes: 500_000 },
        exact: true,
      },
    },
    namespaceMaxBytes: () => 1_000_000,
    rules,
    pins,
    jobs,
    retention: undefined,
    steps: { adopt: steps, collect: steps, evict: steps, retain: steps, verify: steps, warm: steps },
    ...overrides,
  };
  return {
    administration: new Administration(options),
    options,
    jobs,
    pins,
    removed,
    saved: () => saved,
    planned,
    started,
  };
}
