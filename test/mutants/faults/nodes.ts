import { type Fault, faultsOf } from "../fault.ts";

export const nodes: readonly Fault[] = [
  ...faultsOf(
    "nodes/owned-part",
    ["unit/nodes/hosts-file", "unit/nodes/reconcile"],
    [
      {
        name: "edited-is-ours",
        find: "if (own.length > 1 || !part.isIntact)",
        replace: "if (own.length > 1)",
        breaks: "a part that somebody has edited is left",
      },
      {
        name: "line-break-kept",
        find: "return hadNoBreak ? before.slice(0, -1) : before + text.slice(end);",
        replace: "return before + text.slice(end);",
        breaks: "a file is as it was, byte for byte, when our part is taken out",
      },
      {
        name: "nothing-inherited",
        find: "made: [...new Set(all.flatMap(({ made }) => made))]",
        replace: "made: []",
        breaks: "the last owner takes away the file that the first has made",
      },
    ],
  ),
  ...faultsOf(
    "nodes/hosts-file",
    ["unit/nodes/hosts-file"],
    [
      {
        name: "before-anything",
        find: "const last = findPlace(rest);",
        replace: "const last = 0;",
        breaks: "our host comes behind the keys of the whole file",
      },
      {
        name: "lists-are-tables",
        find: "if (isOurs || !isWhole(rest.slice(0, at))) continue;",
        replace: "if (isOurs) continue;",
        breaks: "a line within a list or a string is no table",
      },
      {
        name: "owners-take-turns",
        find: "own.at === undefined || own.at > last ? [last] : [own.at, last]",
        replace: "[last]",
        breaks: "several owners in one file do not move each other's parts for ever",
      },
      {
        name: "meaning-not-asked",
        find: "return isDeepStrictEqual(before, table);",
        replace: "return true;",
        breaks: "the rest of a file means what it did",
      },
      {
        name: "host-twice",
        find: "if (hostsOf(before.table).some((host) => isSameHost(host, mirror))) {",
        replace: "if (hostsOf(before.table).includes(mirror)) {",
        breaks: "a host that somebody has written is not added again",
      },
      {
        name: "certificates-forgotten",
        find: 'withoutParts(rest) === "" ? formatCertificates(certificates, before.table) : []',
        replace: "[]",
        breaks: "certificates beside a new hosts.toml still count",
      },
    ],
  ),
  ...faultsOf(
    "cli/commands/node-options",
    ["unit/cli/node"],
    [
      {
        name: "ipv6-written",
        find: 'if (!mirror.includes("[")) return undefined;',
        replace: "if (mirror !== undefined) return undefined;",
        breaks: "containerd 1.x gets no file that it cannot read",
      },
    ],
  ),
  ...faultsOf(
    "nodes/hosts-folders",
    ["unit/nodes/hosts-folders"],
    [
      {
        name: "default-hidden",
        find: "if (!isAll && fallback !== undefined && !isOurs(fallback)) {",
        replace: "if (!isAll && fallback !== undefined && fallback.path === registry) {",
        breaks: "somebody's _default is not hidden",
      },
      {
        name: "later-hidden",
        find: "if (isAll && later.some(({ folders }) => !folders.values().every(isOurs))) {",
        replace: "if (isAll && later.length > 9) {",
        breaks: "a _default of ours does not hide what is in a later folder",
      },
      {
        name: "other-name-unknown",
        find: "return [`${registry.slice(0, colon)}_${registry.slice(colon + 1)}_`, registry];",
        replace: "return [registry];",
        breaks: "the folder that containerd prefers for a registry with a port is found",
      },
      {
        name: "link-out",
        find: '.startsWith("..");',
        replace: '.startsWith("...");',
        breaks: "nothing is written outside of the node's folders",
      },
      {
        name: "link-out-above",
        find: "await realpath(join(hostRoot, nearest))",
        replace: "(isThere ? await realpath(join(hostRoot, nearest)) : hostRoot)",
        breaks: "no folder is made outside of the node's folders",
      },
    ],
  ),
  ...faultsOf(
    "nodes/files",
    ["unit/nodes/files"],
    [
      {
        name: "changed-meanwhile",
        find: "if ((await readText(path)) !== before) throw",
        replace: "if (path === before) throw",
        breaks: "what somebody else has written meanwhile stays",
      },
      {
        name: "mode-lost",
        find: "await handle.chmod(stats === undefined ? newFile : stats.mode & 0o7777);",
        replace: "await handle.chmod(newFile);",
        breaks: "a file keeps its mode",
      },
      {
        name: "moved-and-lost",
        find: "if (folder !== undefined) await rename(staged, folder);",
        replace: "",
        breaks: "a folder with something else in it goes back where it was",
      },
      {
        name: "others-swept",
        find: "${temporaryPrefix}${owner}~${id}",
        replace: "${temporaryPrefix}${owner}${id}",
        breaks: "another owner's files are not swept",
      },
      {
        name: "folders-first",
        find: "const top = await topOfNew(path);",
        replace: "await mkdir(dirname(path), { recursive: true });\n  const top = path;",
        breaks: "an empty folder of ours is not taken for somebody's after a crash",
        tests: ["unit/nodes/crash"],
      },
    ],
  ),
  ...faultsOf(
    "nodes/containerd-config",
    ["unit/nodes/containerd-config", "unit/nodes/hosts-folders"],
    [
      {
        name: "list-split-only",
        find: "lookups: folders.length > 1 ? [folders, [list]] : [folders]",
        replace: "lookups: [folders]",
        breaks: "pulls by which containerd takes a list for one name find the mirror",
      },
      {
        name: "first-import-counts",
        find: 'configPath: next.configPath === "" ? before.configPath : next.configPath,',
        replace: 'configPath: before.configPath === "" ? next.configPath : before.configPath,',
        breaks: "what is imported beats what imports it",
      },
    ],
  ),
  ...faultsOf(
    "nodes/own-files",
    ["unit/nodes/reconcile"],
    [
      {
        name: "dry-run-writes",
        find: 'else if (this.#isDryRun) this.add(file.name, "missing");',
        replace: "",
        breaks: "a dry run writes nothing",
      },
    ],
  ),
  ...faultsOf(
    "nodes/containerd-files",
    ["unit/nodes/reconcile"],
    [
      {
        name: "no-longer-wanted",
        find: "if (folder.text === undefined || targets.has(path)) continue;",
        replace: "if (folder.text === undefined || wanted !== undefined) continue;",
        breaks: "a registry that is no longer wanted is taken back",
      },
      {
        name: "two-names-two-folders",
        find: "find(({ path }) => path === root.path) ?? root",
        replace: "find(({ path }) => path === name) ?? root",
        breaks: "one folder by two names has one file for a registry",
        tests: ["unit/nodes/hosts-folders"],
      },
      {
        name: "unread-is-gone",
        find: "if (folder.isUnknown === true && wanted === undefined)",
        replace: "if (folder.isUnknown === false && wanted === undefined)",
        breaks: "what cannot be read is not taken for taken back",
        tests: ["unit/nodes/crash"],
      },
      {
        name: "above-not-swept",
        find: "return [dirname(top), path, ...known];",
        replace: "return [path, ...known];",
        breaks: "folders that were not finished are swept",
        tests: ["unit/nodes/crash"],
      },
    ],
  ),
  ...faultsOf(
    "nodes/crio-file",
    ["unit/nodes/crio-file"],
    [
      {
        name: "entry-twice",
        find: "return registries.filter((registry) => !taken.has(registry));",
        replace: "return registries;",
        breaks: "a registry that has an entry of somebody else gets none",
      },
    ],
  ),
  ...faultsOf(
    "nodes/probe",
    ["unit/nodes/watch"],
    [
      {
        name: "any-web-server",
        find: 'else if (version !== "registry/2.0")',
        replace: 'else if (version === "")',
        breaks: "what is no registry is no mirror",
      },
    ],
  ),
  ...faultsOf(
    "nodes/watch",
    ["unit/nodes/watch"],
    [
      {
        name: "withdrawn-at-once",
        find: "const maxFailures = 3;",
        replace: "const maxFailures = 1;",
        breaks: "one answer that does not come changes nothing",
      },
      {
        name: "failures-add-up",
        find: "this.#failures = 0;",
        replace: "",
        breaks: "only checks one after the other count",
      },
      {
        name: "left-to-a-stranger",
        find: "await watching.withdrawUnlessAnswered();",
        replace: "",
        breaks: "what an earlier process has written does not lead to a stranger",
      },
    ],
  ),
  ...faultsOf(
    "nodes/relay",
    ["unit/nodes/relay"],
    [
      {
        name: "half-open",
        find: "if (!from.readableEnded || !from.writableFinished) to.destroy();",
        replace: "",
        breaks: "what breaks on one side breaks on the other",
      },
      {
        name: "waits-for-ever",
        find: "target.destroy(new Error(`no connection within ${connectMs / 1_000} s`)), connectMs)",
        replace: "target.destroy(new Error(`no connection within ${connectMs / 1_000} s`)), 1e9)",
        breaks: "a target that does not accept is given up",
      },
      {
        name: "unbounded",
        find: "if (this.#pairs.size >= this.#limits.connections) {",
        replace: "if (this.#pairs.size < 0) {",
        breaks: "connections are bounded",
      },
      {
        name: "idle-kept",
        find: "if (now === moved) {",
        replace: "if (now < 0) {",
        breaks: "what is idle does not hold up the end",
      },
    ],
  ),
  ...faultsOf(
    "nodes/daemonset",
    ["unit/nodes/daemonset"],
    [
      {
        name: "old-status",
        find: "if ((status.observedGeneration ?? 0) < (metadata.generation ?? 1))",
        replace: "if (status.observedGeneration === -1)",
        breaks: "a status of an earlier form says nothing",
      },
      {
        name: "pods-not-asked",
        find: "return pods.length === 0 ? undefined :",
        replace: "return pods.length >= 0 ? undefined :",
        breaks: "a DaemonSet is gone when its pods are",
      },
      {
        name: "first-page-only",
        find: '} while (next !== "");',
        replace: "} while (pods.length < 0);",
        breaks: "long lists are read to the end",
      },
    ],
  ),
];
