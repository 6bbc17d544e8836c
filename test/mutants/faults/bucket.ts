import { type Fault, faultsOf } from "../fault.ts";

export const bucket: readonly Fault[] = [
  ...faultsOf(
    "bucket/bucket",
    ["unit/bucket/bucket"],
    [
      {
        name: "manifest-as-blob",
        find: "if (link === undefined || !isBlobLink(link)) return undefined;\n    const key",
        replace: "if (link === undefined) return undefined;\n    const key",
        breaks: "what the repository has as a manifest is not given out as a blob",
      },
      {
        name: "blob-as-manifest",
        find: 'if (link === undefined || link.role === "blob") return undefined;',
        replace: "if (link === undefined) return undefined;",
        breaks: "what the repository has as a blob is not given out as a manifest",
      },
      {
        name: "wrong-manifest-served",
        find: "if (digestOf(bytes, algorithmOf(digest)) !== digest) {",
        replace: "if (bytes.length === 0) {",
        breaks: "a manifest is hashed before it is believed",
      },
      {
        name: "size-not-looked-at",
        find: "found !== undefined : found === String(sizeBytes);",
        replace: "found !== undefined : found !== undefined;",
        breaks: "content of another size is not what is wanted",
      },
      {
        name: "failure-forgets",
        find: "if (answer !== undefined && answer.found === undefined) this",
        replace: "if (answer?.found === undefined) this",
        breaks: "what is known outlives a question that got no answer",
      },
      {
        name: "absence-forgotten",
        find: "if (answer !== undefined && answer.found === undefined) this.#known.noteAbsent(key);",
        replace: "",
        breaks: "what a question has just not found is not looked for again",
      },
    ],
  ),
  ...faultsOf(
    "bucket/redirect",
    ["unit/bucket/redirect"],
    [
      {
        name: "sent-by-an-old-look",
        find: "(await bucket.hasNow(digest, link.sizeBytes))",
        replace: "(await bucket.has(digest, link.sizeBytes))",
        breaks: "nobody is sent to the bucket for what another instance removed more than five seconds ago",
      },
    ],
  ),
  ...faultsOf(
    "bucket/questions",
    ["unit/bucket/bucket"],
    [
      {
        name: "all-try",
        find: "return this.#isTrying || ",
        replace: "return ",
        breaks: "one question tries whether the bucket is back",
      },
      {
        name: "late-answer-left-open",
        find: "undefined : drop(found)",
        replace: "undefined : undefined",
        breaks: "what comes too late is closed",
      },
    ],
  ),
  ...faultsOf(
    "bucket/known-objects",
    ["unit/bucket/bucket"],
    [
      {
        name: "links-written-again",
        tests: ["unit/bucket/copies"],
        find: "this.#likely.set(key, true);",
        replace: "",
        breaks: "a link that the bucket has is not written again for a manifest that came from there",
      },
      {
        name: "absent-for-long",
        find: "this.#monotonic() - at < recentMs",
        replace: "this.#monotonic() - at <= recentMs",
        breaks: "what another instance has written is seen after five seconds",
      },
      {
        name: "own-write-not-seen",
        find: "    this.#absent.delete(key);\n    this.#there.set",
        replace: "    this.#there.set",
        breaks: "what is written here is there at once",
      },
      {
        name: "gone-for-an-hour",
        find: "return this.#learned(key, recentMs);",
        replace: "return this.#learned(key, knownMs);",
        breaks: "clients are not told of what another instance removed more than five seconds ago",
      },
      {
        name: "absent-but-there",
        find: "    this.#there.delete(key);\n",
        replace: "",
        breaks: "what a question has not found is not believed to be there",
      },
    ],
  ),
  ...faultsOf(
    "bucket/bucket-first",
    ["unit/bucket/bucket-first"],
    [
      {
        name: "closed-twice",
        find: "if (isClosed) return;",
        replace: "",
        breaks: "a blob is closed once",
      },
      {
        name: "absence-stands-in",
        find: "for (const key of keys) bucket.doubtAbsence(key);",
        replace: "",
        breaks: "what another instance has stored a moment ago is served where the upstream fails",
      },
      {
        name: "absent-tag-stands-in",
        find: "if (isRemembered) bucket.doubtAbsence(tagKey(id, tag));",
        replace: "",
        breaks: "a tag that another instance has stored a moment ago is served where the upstream fails",
      },
      {
        name: "broken-asked-again",
        find: "if (!broken.has(digest)) return",
        replace: "if (true) return",
        breaks: "a blob that broke off in the bucket goes on by the upstream",
      },
      {
        name: "waits-for-ever",
        find: "await settleOrAbort(chunks.next(), over)",
        replace: "await settleOrAbort(chunks.next(), signal)",
        breaks: "a bucket that sends nothing more is not waited for",
      },
      {
        name: "broken-and-absent",
        find: "return (await ask()) ?? (await find());",
        replace: "return await ask();",
        breaks: "a blob that broke off goes on by the bucket where the upstream does not have it",
      },
      {
        name: "link-without-content",
        find: "isManifest && (await bucket.hasNow(reference, found.sizeBytes))",
        replace: "isManifest",
        breaks: "a manifest whose content is gone from the bucket is asked of the upstream",
      },
      {
        name: "check-is-new",
        find: "{ ...manifest, checkedAt, origin",
        replace: "{ ...manifest, origin",
        breaks: "a tag is fresh from its check on, whoever did that",
      },
    ],
  ),
  ...faultsOf(
    "bucket/copies",
    ["unit/bucket/copies"],
    [
      {
        name: "upstream-failure-told",
        find: 'if (!isOthers && fill.state !== "failed") observer',
        replace: "if (!isOthers) observer",
        breaks: "what fails at the upstream is not told as a failure of the bucket",
      },
      {
        name: "second-gets-no-link",
        find: "const isOthers = this.#queue.isCopying(key);",
        replace: "const isOthers = this.#queue.isCopying(key);\n    if (isOthers) return;",
        breaks: "whoever fills what the bucket has by another repository gets a link of its own",
      },
      {
        name: "nothing-is-a-copy",
        find: "if (isHere) await this.#queue.once(key, ",
        replace: "await this.#queue.once(key, ",
        breaks: "a look at a folder that has nothing is no copy that a fill's would wait for",
      },
      {
        name: "future-stays",
        find: "there.checkedAt >= checkedAt && there.checkedAt <= now",
        replace: "there.checkedAt >= checkedAt",
        breaks: "a check by a clock that was wrong does not stay for ever",
      },
      {
        name: "overtaken-check-wins",
        find: "const isOld = now - checkedAt >= overtakenMs;",
        replace: "const isOld = false;",
        breaks: "an earlier check does not win over another instance's",
      },
      {
        name: "hanging-write-holds-up-the-end",
        find: "await settleOrAbort(bucket.putRecord(key, text), this.#stopping.signal);",
        replace: "await bucket.putRecord(key, text);",
        breaks: "a bucket that hangs is not waited for at the end",
      },
    ],
  ),
  ...faultsOf(
    "bucket/copy-queue",
    ["unit/bucket/copies"],
    [
      {
        name: "change-missed",
        tests: ["unit/bucket/copy-queue"],
        find: "await this.#copying.get(key)?.catch(() => undefined);",
        replace: "",
        breaks: "what changes while it is copied is copied again",
      },
    ],
  ),
  ...faultsOf(
    "bucket/fill-copies",
    ["unit/bucket/fill-copies"],
    [
      {
        name: "failed-fill-gives-right",
        find: 'if (fill.state !== "verified") return;',
        replace: 'if (fill.state === "committed") return;',
        breaks: "only the right bytes give a right to content that others have",
      },
      {
        name: "copies-unbounded",
        find: "if (this.#copying >= copiesAtOnce) return false;",
        replace: "",
        breaks: "few blobs are copied on their way at once",
      },
      {
        name: "failed-copies-count",
        find: "      this.#copying--;\n",
        replace: "",
        breaks: "a copy that has ended leaves room for another one",
      },
      {
        name: "clients-wait-for-the-bucket",
        find: 'over.abort(new Error("the bucket is too slow for clients that wait for it"));',
        replace: "",
        breaks: "a bucket that is too slow does not hold up clients",
      },
    ],
  ),
  ...faultsOf(
    "bucket/missing",
    ["unit/bucket/missing"],
    [
      {
        name: "listing-holds-up-the-end",
        find: "settleOrAbort(others.next(), signal)",
        replace: "others.next()",
        breaks: "a listing that hangs ends with the signal",
      },
    ],
  ),
  ...faultsOf(
    "bucket/refusals",
    ["unit/bucket/copies"],
    [
      {
        name: "refused-for-ever",
        find: "before.times + 1",
        replace: "before.times",
        breaks: "what the bucket refuses is left out in the end",
      },
    ],
  ),
  ...faultsOf(
    "bucket/purge",
    ["unit/bucket/purge"],
    [
      {
        name: "copy-comes-after",
        find: "    await copies.leaveOut(key);\n    await bucket.erase(key);",
        replace: "    await bucket.erase(key);\n    await copies.leaveOut(key);",
        breaks: "a copy that is under way does not bring back what is removed",
      },
    ],
  ),
];
