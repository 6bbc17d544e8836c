import { type Fault, faultsOf } from "../fault.ts";

export const hostedCollect: readonly Fault[] = [
  ...faultsOf(
    "hosted/reach",
    ["unit/hosted/reach"],
    [
      {
        name: "late-edge",
        find: "if (this.#has(from, kept) && (!isReferrer || this.#has(from, manifest))) this.#keep(to);",
        replace: "",
        breaks: "what is added to what is kept is kept",
      },
      {
        name: "referrers-die",
        find: "if (subject !== undefined) this.#connect(this.#numberOf(subject), number, true);",
        replace: "",
        breaks: "referrers live with their subject",
      },
      {
        name: "absent-subject-counts",
        find: "if (!isReferrer || this.#has(number, manifest)) yield target;",
        replace: "yield target;",
        breaks: "a referrer whose subject is not there lives by its own youth",
      },
      {
        name: "subject-kept",
        find: "this.#connect(this.#numberOf(subject), number, true);",
        replace: "this.#connect(number, this.#numberOf(subject), true);",
        breaks: "a subject does not live with its referrers",
      },
      {
        name: "any-order",
        find: "if (parents === 0) (subjects === 0 ? ready : almostReady).push(number);",
        replace: "ready.push(number);",
        breaks: "manifests go before what lives with them",
      },
    ],
  ),
  ...faultsOf(
    "hosted/retention",
    ["unit/hosted/retention"],
    [
      {
        name: "last-rule-counts",
        find: "reasons.get(tag) ?? byCount ?? byAge",
        replace: "byCount ?? byAge",
        breaks: "a tag stays that one of the rules keeps",
      },
      {
        name: "immutable-goes",
        find: "protection(tag) ?? reasons.get(tag)",
        replace: "reasons.get(tag)",
        breaks: "immutable tags stay",
      },
      {
        name: "oldest-kept",
        find: "b.pushedAt - a.pushedAt",
        replace: "a.pushedAt - b.pushedAt",
        breaks: "the tags that were pushed last stay",
      },
    ],
  ),
  ...faultsOf(
    "hosted/collect",
    ["unit/hosted/collect"],
    [
      {
        name: "young-not-kept",
        find: "if (writtenAt > oldest) reach.keep(digest);",
        replace: "",
        breaks: "what something young refers to stays",
      },
      {
        name: "renewed-not-kept",
        find: "if (!reach.isKept(digest) && !(await remove(digest))) reach.keep(digest);",
        replace: "if (!reach.isKept(digest)) await remove(digest);",
        breaks: "what a manifest refers to that was renewed stays",
        tests: ["unit/hosted/collect-races"],
      },
      {
        name: "blind",
        find: "() => repositories.removeOld(id, digest, oldest)",
        replace: "() => repositories.removeOld(id, digest, Infinity)",
        breaks: "what was renewed since it was looked at stays",
        tests: ["unit/hosted/collect-races"],
      },
      {
        name: "unreadable-is-absent",
        find: "if (unreadable.length > 0) {",
        replace: "if (unreadable.length < 0) {",
        breaks: "what cannot be read is not taken for absent",
      },
      {
        name: "young-content-goes",
        find: "if (content.writtenAt > oldest || held.has(content.digest)) return;",
        replace: "if (held.has(content.digest)) return;",
        breaks: "content that was stored just now stays",
        tests: ["unit/hosted/collect-races"],
      },
      {
        name: "dry-run-removes",
        find: "if (!this.#isDryRun) return remove();",
        replace: "if (Number(this.#isDryRun) < 2) return remove();",
        breaks: "a dry run changes nothing",
      },
      {
        name: "names-stay",
        find: "if (left > 0 || name === undefined",
        replace: "if (left >= 0 || name === undefined",
        breaks: "a repository without content is not listed",
      },
      {
        name: "upload-by-its-shortest-expiry",
        find: "Math.max(...namespaces.map(",
        replace: "Math.min(...namespaces.map(",
        breaks: "an upload that can be gone on with stays",
      },
    ],
  ),
];
