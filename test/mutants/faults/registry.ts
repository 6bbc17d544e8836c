import { type Fault, faultsOf } from "../fault.ts";

export const registry: readonly Fault[] = [
  ...faultsOf(
    "registry/fill-room",
    ["unit/registry/fill-room", "unit/registry/fills-space"],
    [
      {
        name: "growing-object-unbounded",
        find: "if (endBytes > this.#options.maxObjectBytes) return tooLarge(endBytes);",
        replace: "",
        breaks: "no object is larger than max_object_size, also where its size is not known",
      },
      {
        name: "announced-object-unbounded",
        find: "if (sizeBytes !== undefined && sizeBytes > maxObjectBytes) return tooLarge(sizeBytes);",
        replace: "",
        breaks: "no object is larger than max_object_size",
      },
      {
        name: "stranger-believed",
        find: "trusted ? (sizeBytes ?? step) : Math.min(sizeBytes ?? step, step)",
        replace: "sizeBytes ?? step",
        breaks: "a stranger's word makes no room",
      },
      {
        name: "written-counted-twice",
        find: "this.#filedBytes = filedBytes;",
        replace: "",
        breaks: "what is written of a reservation is missing from the volume once",
      },
      {
        name: "room-kept",
        find: "this.#reservation?.release();",
        replace: "",
        breaks: "a fill gives its room back",
      },
    ],
  ),
  ...faultsOf(
    "registry/manifests",
    ["unit/registry/complete-images", "unit/registry/manifests", "unit/registry/revalidation"],
    [
      {
        name: "completeness-asked-again",
        find: "complete ??= ",
        replace: "complete = ",
        breaks: "a request looks up an image's blobs once",
      },
      {
        name: "complete-without-links",
        find: 'standing.state === "stored" ||',
        replace: '(await lookup.statBlob(digest)) !== undefined || standing.state === "stored" ||',
        breaks: "an image is complete only with what its repository holds",
      },
      {
        name: "complete-without-content",
        find: "if (!isHere) return false;",
        replace: 'if (!isHere && standing.state !== "linked") return false;',
        breaks: "an image is complete only with its blobs",
      },
      {
        name: "incomplete-served-during-an-outage",
        find: "return isWell || (await isComplete()) ?",
        replace: "return isWell || isComplete !== undefined ?",
        breaks: "during an outage only complete images are served",
      },
    ],
  ),
  ...faultsOf(
    "registry/blob-standings",
    ["unit/registry/stored-size", "unit/registry/blob-look-ups", "unit/registry/manifest-as-blob"],
    [
      {
        name: "unchecked-file-named",
        find: "this.#tools.checkDigest ? undefined : object.file",
        replace: "object.file",
        breaks: "bytes that are checked on their way are sent by nobody else",
        tests: ["flow/accel-redirect"],
      },
      {
        name: "wrong-size-served",
        find: "stored === undefined || stored.sizeBytes === link.sizeBytes",
        replace: "stored === undefined || link.sizeBytes >= 0",
        breaks: "what has not the size that its link tells is not served",
      },
      {
        name: "manifest-stands-as-blob",
        find: 'if (link !== undefined && !isBlobLink(link)) return { state: "manifest" };',
        replace: "",
        breaks: "what a repository has as a manifest is no blob",
      },
      {
        name: "content-opened-without-link",
        find: "const stored = link && (await",
        replace: "const stored = (await look()) && link && (await",
        breaks: "content is looked at once, and only for who has a link to it",
      },
    ],
  ),
  ...faultsOf(
    "registry/blobs",
    ["unit/registry/blob-look-ups"],
    [
      {
        name: "asked-again-for-nothing",
        find: "reuses && fills.ended !== ended && ",
        replace: "reuses && ",
        breaks: "a fill asks the store again only where another one has ended since the look-up",
      },
      {
        name: "earlier-fill-not-found",
        find: "reuses && fills.ended !== ended && ",
        replace: "reuses && fills.ended < ended && ",
        breaks: "what another fill has stored since the look-up is not fetched again",
      },
    ],
  ),
  ...faultsOf(
    "registry/manifest-store",
    ["unit/registry/content-order"],
    [
      {
        name: "links-left-behind-a-failure",
        find: "await Promise.allSettled(linking);",
        replace: "",
        breaks: "nothing is being written any more when a manifest's storing has failed",
      },
      {
        name: "child-listed-twice-linked-twice",
        find: "(await links.get(key)) ?? links.peek(key)",
        replace: "(await links.get(key))",
        breaks: "of a digest that a manifest lists twice, the first entry counts",
      },
    ],
  ),
  ...faultsOf(
    "registry/tags",
    ["unit/registry/manifests", "unit/registry/revalidation"],
    [
      {
        name: "blobs-looked-up-before-the-question",
        find: "    try {\n      // What may be answered without it",
        replace: "    await findSpare();\n    try {\n      // What may be answered without it",
        breaks: "a revalidation waits for no look-up of blobs",
      },
      {
        name: "incomplete-stands-in-when-late",
        find: "if ((await findSpare()) === undefined) return answer;",
        replace: "",
        breaks: "an image that is not whole stands in for no upstream",
      },
      {
        name: "slow-upstream-not-spared",
        find: "breaker.late(repository, error);",
        replace: "",
        breaks: "one pull waits for a slow upstream, the next ones do not",
      },
      {
        name: "slow-upstream-waited-for",
        find: "(usable === undefined ? answer : this.#within(id.repository, answer, findSpare))",
        replace: "answer",
        breaks: "what can be served is served after a few seconds",
      },
      {
        name: "failing-upstream-asked",
        find: "if (failing !== undefined) {",
        replace: "if (failing === null) {",
        breaks: "an upstream that has just failed is spared",
      },
    ],
  ),
  ...faultsOf(
    "registry/tag-store",
    ["unit/registry/content", "unit/registry/content-order", "unit/registry/removal"],
    [
      {
        name: "older-check-wins",
        find: "other !== undefined && other.checkedAt > record.checkedAt",
        replace: "other !== undefined && other.checkedAt < 0",
        breaks: "an earlier check of a tag changes nothing",
      },
    ],
  ),
  ...faultsOf(
    "registry/content",
    ["unit/registry/content", "unit/registry/content-order", "unit/registry/removal"],
    [
      {
        name: "content-before-its-link",
        find: "await (link === undefined ? put() : this.#setLink(id, digest, link, put));",
        replace: "await put();\n      if (link !== undefined) await this.#setLink(id, digest, link);",
        breaks: "a namespace is charged for content in the moment in which its room ends",
      },
      {
        name: "link-without-its-content",
        find: "await (link === undefined ? put() : this.#setLink(id, digest, link, put));",
        replace: "if (link !== undefined) await this.#setLink(id, digest, link);\n      await put();",
        breaks: "content that cannot be stored leaves no link",
      },
      {
        name: "link-before-its-tags",
        find: "for (const tag of tags) await this.removeTag(id, tag, digest);",
        replace: "",
        breaks: "no tag is left that points at nothing",
      },
    ],
  ),
  ...faultsOf(
    "registry/digest-store",
    ["unit/registry/digest-store", "unit/registry/content", "unit/registry/removal"],
    [
      {
        name: "read-removed",
        find: "return this.#readers.has(digest) || this",
        replace: "return this",
        breaks: "what is being read is not removed",
      },
      {
        name: "held-since-removed",
        find: " || this.#questioned.get(digest) === true || this.isBusy(digest)) return false;",
        replace: ") return false;",
        breaks: "what a repository came to hold meanwhile is not removed",
      },
      {
        name: "sound-copy-put-aside",
        find: "if (seen !== undefined && this.#outdated.has(seen)) return false;",
        replace: "",
        breaks: "the sound copy that has taken the place of the damaged one stays",
      },
      {
        name: "ledger-not-corrected",
        find: 'if (await this.#isSurelyAbsent(digest)) await this.#books.note({ kind: "content-removed", digest });',
        replace: "",
        breaks: "a write that fails corrects the ledger",
      },
    ],
  ),
  ...faultsOf(
    "registry/space",
    ["unit/registry/space"],
    [
      {
        name: "limit-passed",
        find: "usedBytes + sumBesides(besides) + this.#reservedBytes + bytes;",
        replace: "usedBytes + sumBesides(besides) + bytes;",
        breaks: "the sum of all fills never passes the limit",
      },
      {
        name: "namespace-limit-passed",
        find: "usedHere + (this.#reserved.get(namespace) ?? 0) + bytes;",
        replace: "usedHere + bytes;",
        breaks: "the sum of a namespace's fills never passes its limit",
      },
      {
        name: "no-pressure",
        find: "if (isHigh) this.#relief.relieve();",
        replace: "",
        breaks: "room is made when a high watermark is passed",
      },
      {
        name: "waits-for-what-cannot-fit",
        find: " || !this.#couldFit(namespace, bytes)) return undefined;",
        replace: ") return undefined;",
        breaks: "nothing is evicted for what never fits",
      },
      {
        name: "written-of-what-is-given-back",
        find: "if (held === 0) return;",
        replace: "",
        breaks: "what was given back is not counted",
      },
    ],
  ),
  ...faultsOf(
    "registry/volume-watch",
    ["unit/registry/space"],
    [
      {
        name: "min-free-ignored",
        find: "volume.freeBytes - minFreeBytes;",
        replace: "volume.freeBytes;",
        breaks: "min_free stays free on the volume",
      },
      {
        name: "written-counted-twice",
        find: "storedThen + this.#writtenThen + volume",
        replace: "storedThen + volume",
        breaks: "what reservations have written is not counted twice",
      },
      {
        name: "old-volume",
        find: "(this.#storedThen ?? storedBytes - this.#releasedSince)",
        replace: "storedBytes",
        breaks: "what was stored since the volume was looked at has changed both",
      },
      {
        name: "looked-at-each-time",
        find: "if (this.#options.monotonic() - this.#lookedAt >= pollMs) void",
        replace: "void",
        breaks: "the volume is looked at no more than once in a second",
      },
    ],
  ),
  ...faultsOf(
    "registry/records",
    ["unit/registry/records"],
    [
      {
        name: "old-read-remembered",
        find: "if (newer !== undefined || this.#removing.has(key)) return newer;",
        replace: "if (newer !== undefined) return newer;",
        breaks: "a removal is not undone by a read that had begun",
      },
      {
        name: "ledger-not-corrected",
        find: 'if (stored !== "unknown") await books.correct(stored);',
        replace: "",
        breaks: "a record that could not be written is not counted",
      },
      {
        name: "unwritten-believed",
        find: "if (!this.#believesUnstored) this.forget(key, record);",
        replace: "",
        breaks: "a link that could not be written is none",
      },
    ],
  ),
];
