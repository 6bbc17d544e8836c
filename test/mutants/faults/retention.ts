import { type Fault, faultsOf } from "../fault.ts";

export const retention: readonly Fault[] = [
  ...faultsOf(
    "bucket/retention",
    ["unit/bucket/retention"],
    [
      {
        name: "own-clock",
        find: "this.#now = written.get(leaseKey) ?? NaN;",
        replace: "this.#now = Date.now();",
        breaks: "only the server's clock counts",
      },
      {
        name: "removed-at-once",
        find: "before?.has(object.key) !== true",
        replace: "before === undefined",
        breaks: "what is unused goes when two runs have found it so",
      },
      {
        name: "no-reprieve",
        find: "this.#now - at < reprieveMs",
        replace: "this.#now < at",
        breaks: "between condemning and removing all can say what they use",
      },
      {
        name: "old-list-written",
        find: "condemned, { if: before.version });",
        replace: "condemned);",
        breaks: "who has lost the lease does not write over the list of who has it",
      },
      {
        name: "lease-not-looked-at",
        find: "if (!(await lease.acquire())) throw lost();",
        replace: "",
        breaks: "who has lost the lease stops",
      },
      {
        name: "lease-kept",
        find: "await lease.release().catch(() => undefined);",
        replace: "",
        breaks: "the lease is given back at the end",
      },
      {
        name: "late-use-missed",
        find: "span: this.#span, writtenSince: since });",
        replace: "span: -1, writtenSince: since });",
        breaks: "what is used while a run goes on stays",
      },
      {
        name: "runs-by-each",
        find: "if (this.#now - (written.get(lastKey) ?? -Infinity) < this.#run.everyMs) return undefined;",
        replace: "",
        breaks: "all instances together make one run in six hours",
      },
      {
        name: "dry-run-removes",
        find: "if (!this.#run.dryRun) {\n          await bucket.erase(key);",
        replace: "{\n          await bucket.erase(key);",
        breaks: "a dry run removes nothing",
      },
      {
        name: "dry-run-condemns",
        find: "if (!this.#run.dryRun) await this.#finish",
        replace: "await this.#finish",
        breaks: "a dry run leaves no list of what is condemned",
      },
      {
        name: "content-first",
        find: '["tags", "records", "content"]',
        replace: '["content", "records", "tags"]',
        breaks: "nothing is left that points at what is gone",
      },
      {
        name: "not-told",
        find: "onRemoved();",
        replace: "",
        breaks: "what was removed is told, also by a run that is broken off",
      },
      {
        name: "others-bytes-free",
        find: "if (judge.isRemovable(key) && judge.lastDay",
        replace: "if (judge.lastDay",
        breaks: "what may not be removed is not counted on",
      },
    ],
  ),
  ...faultsOf(
    "bucket/judge",
    ["unit/bucket/retention"],
    [
      {
        name: "pinned-counted-on",
        find: "if (!this.isRemovable(key)) return;",
        replace: "",
        breaks: "what stays is not counted as if it could go",
      },
      {
        name: "whole-day",
        find: "cut.partBytes = Math.min(bytes, left - target);",
        replace: "cut.partBytes = bytes;",
        breaks: "a byte too much does not remove all that was used on a day",
      },
      {
        name: "today-goes",
        find: "if (left <= target || day >= today - 1) break;",
        replace: "if (left <= target) break;",
        breaks: "what was used today or yesterday stays",
      },
      {
        name: "writing-is-no-use",
        find: "Math.min(today, dayOf(writtenAt))",
        replace: "-1",
        breaks: "what was stored lately stays",
      },
      {
        name: "pins-ignored",
        find: "parseKey(key) !== undefined && !this.#options.pinned.has(key)",
        replace: "parseKey(key) !== undefined",
        breaks: "what is pinned stays",
      },
    ],
  ),
  ...faultsOf(
    "bucket/repository-shares",
    ["unit/bucket/retention"],
    [
      {
        name: "first-holder-decides",
        find: "this.#contents.findLastIndex(",
        replace: "this.#contents.findIndex(",
        breaks: "what others hold stays",
      },
      {
        name: "all-shares",
        find: "freed < bytes && this.#going < shares;",
        replace: "this.#going < shares;",
        breaks: "no more goes than has to",
      },
    ],
  ),
  ...faultsOf(
    "bucket/used-days",
    ["unit/bucket/retention"],
    [
      {
        name: "instances-day",
        find: "return Number(day) === written - 1 ? written - 1 : written;",
        replace: "return Number(day);",
        breaks: "an instance's clock may be wrong",
      },
      {
        name: "unreadable-is-nothing",
        find: "saved.filter ?? KeyFilter.ofAll()",
        replace: "saved.filter ?? new KeyFilter()",
        breaks: "what cannot be read may have named anything",
      },
      {
        name: "usage-kept-for-ever",
        find: "(dayOfRecord(key, writtenAt) ?? before) < before",
        replace: "(dayOfRecord(key, writtenAt) ?? before) < 0",
        breaks: "usage that does not count any more is removed",
      },
      {
        name: "others-removed",
        find: "(dayOfRecord(key, writtenAt) ?? before) < before",
        replace: "(dayOfRecord(key, writtenAt) ?? 0) < before",
        breaks: "what is none of ours stays",
      },
    ],
  ),
  ...faultsOf(
    "bucket/usage",
    ["unit/bucket/usage"],
    [
      {
        name: "days-run-together",
        find: "    this.#today = nothingOn(today);",
        replace: "    this.#today = { ...this.#today, day: today };",
        breaks: "what was used on a day does not count for all that come after",
      },
      {
        name: "former-day-lost",
        find: "      this.#former = this.#today;",
        replace: "",
        breaks: "what was used at the end of a day is written down",
      },
      {
        name: "half-known-is-noted",
        find: "if (!isWhole) this.#noted.delete(what);",
        replace: "",
        breaks: "what could not be looked up is looked up at the next use",
      },
      {
        name: "failure-forgets",
        find: "      used.isChanged = true;\n      throw error;",
        replace: "      throw error;",
        breaks: "what could not be written down is written down later",
      },
      {
        name: "children-of-children",
        find: "else if (!(await this.#walk(id, child.digest, seen))) isWhole = false;",
        replace: "else this.#noteDigest(id, child.digest);",
        breaks: "a use of an index is one of the layers of its images",
      },
    ],
  ),
  ...faultsOf(
    "bucket/pinned",
    ["unit/bucket/retention"],
    [
      {
        name: "digest-alone",
        find: 'if (pin.of === "digest") await keep(place.id, place.digest);\n        else pinned',
        replace: "pinned",
        breaks: "a pin of a digest keeps what that refers to",
      },
      {
        name: "repository-without-content",
        find: "else pinned.add(blobKey(place.digest));",
        replace: "",
        breaks: "a pin of a repository keeps the content of all that it holds",
      },
      {
        name: "tag-alone",
        find: "if (record !== undefined) await keep(place.id, record.digest);",
        replace: "",
        breaks: "a pin of a tag keeps what that stands for",
      },
    ],
  ),
  ...faultsOf(
    "bucket/shared-pins",
    ["unit/bucket/shared-pins"],
    [
      {
        name: "vanished-count",
        find: "if (now - writtenAt >= vanishedMs) {",
        replace: "if (now < writtenAt) {",
        breaks: "the pins of an instance that is gone do not count for ever",
      },
      {
        name: "half-known-told",
        find: "if (patterns === undefined) return;",
        replace: "if (patterns === undefined) return void (await store.delete(keyOf(instance)));",
        breaks: "pins that are not known whole take back none",
      },
      {
        name: "not-refreshed",
        find: " && at - this.#told.at < refreshMs",
        replace: "",
        breaks: "an instance tells that it is still there",
      },
      {
        name: "last-pin-stays",
        find: "if (isNothing && this.#told?.patterns.length !== 0) await store.delete(keyOf(instance));",
        replace: "",
        breaks: "pins that were taken away do not count any more",
      },
      {
        name: "one-instance-counts",
        find: "for await (const { key, writtenAt } of store.list(pinsPrefix)) {",
        replace: "for await (const { key, writtenAt } of store.list(pinsPrefix)) {\n    if (pins.size > 0) break;",
        breaks: "the pins of all instances count",
      },
    ],
  ),
  ...faultsOf(
    "bucket/retention-runs",
    ["unit/bucket/retention-runs"],
    [
      {
        name: "hanging-run-holds-up-the-end",
        find: "await this.#within(Promise.all([this.#running, this.#lastRun]));",
        replace: "await Promise.all([this.#running, this.#lastRun]);",
        breaks: "a bucket that hangs is not waited for at the end",
      },
      {
        name: "two-runs-at-once",
        find: "this.#lastRun.then(async",
        replace: "Promise.resolve().then(async",
        breaks: "runs of a process come one after another",
      },
      {
        name: "dry-run-told",
        find: "if (report !== undefined && !run.dryRun) {",
        replace: "if (report !== undefined) {",
        breaks: "a dry run is not told as a run",
      },
      {
        name: "others-run-unknown",
        find: "this.#last = await readLast();",
        replace: "await readLast();",
        breaks: "the last report is known, whoever made the run",
      },
      {
        name: "end-not-written-down",
        find: "await this.#within(this.#try(() => this.#options.usage.flush()));",
        replace: "",
        breaks: "what was used is written down at the end",
      },
    ],
  ),
  ...faultsOf(
    "bucket/redirect",
    ["unit/bucket/redirect"],
    [
      {
        name: "sending-is-no-use",
        find: "noteUse(id, digest);",
        replace: "",
        breaks: "what clients are sent to the bucket for is used",
      },
    ],
  ),
  ...faultsOf(
    "bucket/copies",
    ["unit/bucket/copies"],
    [
      {
        name: "copying-is-no-use",
        find: "this.#options.noteUse(place.id, place.digest);",
        replace: "",
        breaks: "what is copied uses all that it refers to, whoever stored that before",
      },
    ],
  ),
  ...faultsOf(
    "store/s3-writer",
    ["unit/store/s3-write"],
    [
      {
        name: "refused-condition-forgotten",
        find: 'if (((await this.look(key))?.ETag ?? "absent") !== condition) throw new PreconditionFailed(key);',
        replace: "",
        breaks: "where conditions are refused, what has to be there is looked at",
      },
      {
        name: "refused-condition-fails",
        find: "!(error instanceof S3Failure && error.status === 501)",
        replace: "error !== undefined",
        breaks: "a server that refuses conditions can be used",
      },
    ],
  ),
  ...faultsOf(
    "store/lease",
    ["unit/store/lease"],
    [
      {
        name: "renewal-not-seen",
        find: "if (this.#seen?.version !== version)",
        replace: "if (this.#seen === undefined)",
        breaks: "a lease that is renewed has not ended",
      },
      {
        name: "others-given-back",
        find: "if (record?.holder === this.#holder) await",
        replace: "await",
        breaks: "nobody gives back what somebody else has",
      },
      {
        name: "same-bytes",
        find: "turn: randomUUID()",
        replace: 'turn: ""',
        breaks: "each renewal is another object",
      },
      {
        name: "winner-not-looked-for",
        find: "return (await readRecord(store, key, isLease))?.holder === this.#holder;",
        replace: "return true;",
        breaks: "where a server lets several win, the last one has it",
      },
    ],
  ),
  ...faultsOf(
    "app/storage",
    ["flow/bucket-retention"],
    [
      {
        name: "told-of-is-not-walked",
        find: "const manifest = stored ?? (await bucket.manifest(id, digest));",
        replace: "const manifest = stored;",
        breaks: "what an instance knows from the bucket alone counts as used whole",
      },
    ],
  ),
  ...faultsOf(
    "app/bucket-observers",
    ["unit/app/observers"],
    [
      {
        name: "outage-told-each-time",
        find: "if (monotonic() - unretainedAt < repeatUnretainedMs) return;",
        replace: "",
        breaks: "an outage of the bucket has no line every quarter of an hour",
      },
    ],
  ),
  ...faultsOf(
    "app/bucket-retention",
    ["flow/bucket-retention"],
    [
      {
        name: "new-name-each-start",
        find: "const name = kept?.name ?? randomUUID();",
        replace: "const name = randomUUID();",
        breaks: "an instance has one name as long as it has its folder",
      },
    ],
  ),
  ...faultsOf(
    "jobs/retain",
    ["unit/jobs/retain"],
    [
      {
        name: "nothing-to-do-succeeds",
        find: "if (runs?.isLimited !== true) {",
        replace: "if (runs === undefined) {",
        breaks: "without limits there is no such job",
      },
      {
        name: "hanging-run-holds-up-the-end",
        find: "await settleOrAbort(runs.retain({ dryRun }, signal), signal);",
        replace: "await runs.retain({ dryRun }, signal);",
        breaks: "who stops a run does not wait for a bucket that hangs",
      },
      {
        name: "others-run-is-success",
        find: 'if (report === undefined) throw new Error("another instance is looking through the bucket");',
        replace: "if (report === undefined) return;",
        breaks: "a run that was not made is told",
      },
    ],
  ),
];
