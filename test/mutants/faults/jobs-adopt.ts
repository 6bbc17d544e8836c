import { type Fault, faultsOf } from "../fault.ts";

export const jobsAdopt: readonly Fault[] = [
  ...faultsOf(
    "jobs/adopt-blob",
    ["unit/jobs/adopt"],
    [
      {
        name: "digest-believed",
        find: 'if ((await hash.digest(again.read({ start: 0, end: sizeBytes }))) !== digest) return "wrong digest";',
        replace: "await hash.digest(again.read({ start: 0, end: sizeBytes }));",
        breaks: "a blob is adopted only with its digest",
      },
      {
        name: "staging-file-left",
        find: "await spool.discard();",
        replace: "",
        breaks: "what was not adopted leaves nothing behind",
      },
      {
        name: "digest-believed-in-the-bucket",
        find: 'if (formatDigest(algorithm, hasher.digest("hex")) !== digest) throw wrong;',
        replace: "",
        breaks: "a blob goes to the bucket alone only with its digest",
        tests: ["unit/cli/adopt-bucket"],
      },
      {
        name: "into-the-bucket-again",
        find: 'if (isRefused && (await bucket?.has(digest, sizeBytes)) === true) return "already there";',
        replace: "",
        breaks: "what is in the bucket already is not read again",
        tests: ["unit/cli/adopt-bucket"],
      },
      {
        name: "too-large-for-the-bucket",
        find: 'if (isRefused && bucket === undefined) return isTooLarge ? "too large" : "no room";',
        replace: 'if (isRefused) return isTooLarge ? "too large" : "no room";',
        breaks: "what the folder does not take goes to the bucket behind it",
        tests: ["unit/cli/adopt-bucket"],
      },
      {
        name: "dry-run-stores",
        find: 'if (adoption.dryRun || typeof holder === "string") return "adopted";',
        replace: 'if (typeof holder === "string") return "adopted";',
        breaks: "a dry run stores nothing",
      },
      {
        name: "not-stopped",
        find: "signal.throwIfAborted();",
        replace: "",
        breaks: "a run that is stopped stops soon",
      },
    ],
  ),
  ...faultsOf(
    "jobs/adopt-manifest",
    ["unit/jobs/adopt"],
    [
      {
        name: "strangers-listings-count",
        find: "const contained = id.trusted ? parsed.required : [];",
        replace: "const contained = parsed.required;",
        breaks: "a stranger's manifest gives nobody a blob",
      },
      {
        name: "denied-adopted",
        find: 'if (!id.isPermitted) return "denied";',
        replace: "",
        breaks: "what allow and deny keep from being served is not adopted",
      },
      {
        name: "stored-counts-as-linked",
        find: "if (isStored && (await isLinked(adoption, id, contained)))",
        replace: "if (isStored)",
        breaks: "links that a stopped run has not made are made",
      },
      {
        name: "time-to-come-believed",
        find: "return writtenAt > now ? 0 : writtenAt;",
        replace: "return writtenAt;",
        breaks: "a tag of a time that is to come counts as not checked",
      },
      {
        name: "digest-believed",
        find: 'if (digests.some((each) => digestOf(bytes, algorithmOf(each)) !== each)) return "wrong digest";',
        replace: "",
        breaks: "a manifest is adopted only with its digest",
      },
    ],
  ),
  ...faultsOf(
    "jobs/adoption",
    ["unit/jobs/adoption"],
    [
      {
        name: "all-at-once",
        find: "this.#source.atOnce ?? 1",
        replace: "Infinity",
        breaks: "so many objects are read at a time, and no more",
      },
      {
        name: "not-interrupted",
        find: 'signal.addEventListener("abort", interrupt);',
        replace: "",
        breaks: "a run that is cancelled does not wait for its source",
      },
    ],
  ),
  ...faultsOf(
    "jobs/adopt-bucket",
    ["unit/jobs/adopt-bucket"],
    [
      {
        name: "own-place-adopted",
        find: "if (target !== undefined && meets(source, target)) {",
        replace: "if (target === undefined && meets(source, source)) {",
        breaks: "the prefix that the storage keeps its own in is not adopted",
      },
      {
        name: "overlap-adopted",
        find: "return from === to || read.some((each) => isBelow(to, each)) || written.some((each) => isBelow(from, each));",
        replace: "return from === to;",
        breaks: "a prefix within what is read, or one within what is written, is not adopted",
      },
      {
        name: "other-servers-bucket-refused",
        find: "if (source.bucket !== target.bucket || source.endpoint !== target.endpoint) return false;",
        replace: "if (source.bucket !== target.bucket) return false;",
        breaks: "a bucket of the same name at another server is another one",
      },
      {
        name: "first-manifest-decides",
        find: "if (++tried === mostTried) break;",
        replace: "break;",
        breaks: "a bucket whose first manifest cannot be read is adopted",
      },
      {
        name: "all-manifests-tried",
        find: "if (++tried === mostTried) break;",
        replace: "tried++;",
        breaks: "a bucket in which nothing can be read is told of soon",
      },
      {
        name: "loss-not-noticed",
        find: "throw again instanceof StoreError ? new BucketLost(again) : again;",
        replace: "void again;",
        breaks: "a bucket that fails ends the run, and does not count as so many objects",
      },
      {
        name: "broken-body-not-examined",
        find: "      await this.#examine(error);\n    }\n  }",
        replace: "      throw error;\n    }\n  }",
        breaks: "a bucket that fails within an object ends the run",
      },
      {
        name: "lost-listing-unexplained",
        find: "throw error instanceof StoreError ? new BucketLost(error) : error;",
        replace: "throw error;",
        breaks: "who lost the bucket is told that another run goes on",
      },
      {
        name: "first-reason-forgotten",
        find: "this.#firstFailure ??= error;",
        replace: "this.#firstFailure = error;",
        breaks: "it is told why the first object could not be read",
      },
      {
        name: "goes-on-when-interrupted",
        find: "await this.#store.close();",
        replace: "",
        breaks: "what is under way ends when the run is cancelled",
      },
    ],
  ),
  ...faultsOf(
    "cli/configuration",
    ["unit/cli/adopt-bucket"],
    [
      {
        name: "keys-to-another-server",
        find: 'const isElsewhere = others["host"] !== undefined;',
        replace: "const isElsewhere = false;",
        breaks: "what the file says of one server does not count for another",
      },
      {
        name: "own-prefix-taken",
        find: 'return { ...storage.s3, prefix: prefix === "" ? undefined : prefix };',
        replace: "return storage.s3;",
        breaks: "a bucket that is named without a prefix is read from its root",
      },
      {
        name: "flags-for-both",
        find: "options.filter((option) => !others.includes(option)),",
        replace: "options,",
        breaks: "flags of the bucket that is adopted say nothing of the storage's",
      },
    ],
  ),
  ...faultsOf(
    "cli/commands/adopt",
    ["unit/cli/adopt-bucket"],
    [
      {
        name: "asks-after-half-a-plan",
        find: "if (dryRun || !plan.isWhole) return plan.exitCode;",
        replace: "if (dryRun) return plan.exitCode;",
        breaks: "nobody is asked about a plan that could not be made",
      },
      {
        name: "reason-not-told",
        find: "if (firstFailure !== undefined)",
        replace: 'if (firstFailure?.message === "")',
        breaks: "it is told why an object could not be read",
      },
    ],
  ),
  ...faultsOf(
    "jobs/adopt-layout",
    ["unit/jobs/adopt-layout"],
    [
      {
        name: "numbers-wrap",
        find: 'if (value > 255) throw new EnvelopeError("malformed");',
        replace: "",
        breaks: "what is no byte is no envelope",
      },
      {
        name: "fields-repeat",
        find: 'if (field === "manifest" && bytes === undefined)',
        replace: 'if (field === "manifest")',
        breaks: "an envelope is read in one way only",
      },
    ],
  ),
];
