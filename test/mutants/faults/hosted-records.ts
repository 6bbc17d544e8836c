import { type Fault, faultsOf } from "../fault.ts";

export const hostedRecords: readonly Fault[] = [
  ...faultsOf(
    "hosted/catalog",
    ["unit/hosted/catalog"],
    [
      {
        name: "old-reading-remembered",
        find: "if (this.#reading.get(key) === look) this.#memory.set(key, { ...entry, at });",
        replace: "this.#memory.set(key, { ...entry, at });",
        breaks: "what is in memory is what was written last",
      },
      {
        name: "blind-write",
        find: 'before ?? "absent"',
        replace: "undefined",
        breaks: "two that change a record lose nothing",
      },
      {
        name: "blind-removal",
        find: "delete(key, { if: found.version })",
        replace: "delete(key)",
        breaks: "what was renewed is not removed",
      },
      {
        name: "no-renewal",
        find: 'found === undefined || isYoung(found) ? "keep"',
        replace: 'found !== undefined || isYoung(found) ? "keep"',
        breaks: "what is relied upon is made young",
      },
      {
        name: "failure-remembered",
        find: "// What failed may have been done.\n          this.#forget(key);",
        replace: "",
        breaks: "what failed may have been done, and is looked at again",
      },
      {
        name: "listed-read-again",
        find: "known?.version === version ?",
        replace: "known === undefined ?",
        breaks: "a listing reads only what is not in memory as it is",
      },
    ],
  ),
  ...faultsOf(
    "hosted/repositories",
    ["unit/hosted/repositories"],
    [
      {
        name: "listed-late",
        find: `        if (subject !== undefined) await this.#addReferrer(id, subject, manifest);
        await this.#setLink(id, digest, link);`,
        replace: "        await this.#setLink(id, digest, link);",
        breaks: "a manifest that is there is listed for its subject",
      },
      {
        name: "same-tag-kept",
        find: "return { set: isSame ? found.record",
        replace: 'if (isSame) return "keep";\n      return { set: isSame ? found.record',
        breaks: "a tag that is pushed again is not removed by who saw it before",
      },
      {
        name: "late-tag-left",
        find: 'await this.tags.changeSeen(tag, "remove");',
        replace: "",
        breaks: "no tag stands for a manifest that was removed",
      },
      {
        name: "removal-not-seen",
        find: "} while (!isManifest((await this.links.renew(key, this.#youngMs))?.record));",
        replace: "} while (key === undefined);",
        breaks: "who pushes a manifest while it is removed pushes it whole",
      },
      {
        name: "referrer-left",
        find: 'await this.referrers.changeSeen(referrer, "remove");',
        replace: "",
        breaks: "what is removed is not a referrer any more",
      },
      {
        name: "dead-referrer-listed",
        find: "if (isManifest(await this.link(id, record.digest))) yield record;",
        replace: "yield record;",
        breaks: "who is listed as a referrer is there",
      },
      {
        name: "relied-without-renewal",
        find: "this.links.renew(hostedLinkKey(id, digest), this.#youngMs),",
        replace: "this.links.get(hostedLinkKey(id, digest)),",
        breaks: "what is relied upon is not collected",
      },
      {
        name: "slow-push-believed",
        find: "if (this.#store.now() - startedAt < this.#youngMs) return result;",
        replace: "if (startedAt > 0) return result;",
        breaks: "who took so long that what it relied upon may be gone looks again",
      },
      {
        name: "optional-child-not-relied-upon",
        find: "await forEachOf(parsed.children, atOnce, async ({ digest, size }) => {",
        replace: "await forEachOf(parsed.required, atOnce, async ({ digest, size }) => {",
        breaks: "what a manifest refers to, and need not be there, stays where it is",
      },
      {
        name: "tag-before-link",
        find: "      await this.#timely(async () => {\n        await this.#assertChildren(id, manifest);",
        replace:
          "      for (const tag of tags) await this.#setTag(id, tag, descriptor, admitTag);\n      await this.#timely(async () => {\n        await this.#assertChildren(id, manifest);",
        breaks: "a tag stands for a manifest that is there",
      },
      {
        name: "link-without-content",
        find: "if (!(await this.#bytes.renew(digest, this.#youngMs))) {",
        replace: "if (digest === undefined) {",
        breaks: "what a repository has is stored",
      },
    ],
  ),
];
