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
        find: "while (running.size >= (this.#source.atOnce ?? 1)) await Promise.race(running);",
        replace: "",
        breaks: "so many objects are read at a time, and no more",
      },
      {
        name: "goes-on-when-lost",
        find: "if (failures.length > 0) break;",
        replace: "",
        breaks: "nothing more is read of a source that is lost",
      },
      {
        name: "loss-not-told",
        find: "if (failures.length > 0) throw failures[0];",
        replace: "",
        breaks: "a run that lost its source has failed",
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
