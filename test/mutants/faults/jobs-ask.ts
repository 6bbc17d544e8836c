import { type Fault, faultsOf } from "../fault.ts";

export const jobsAsk: readonly Fault[] = [
  ...faultsOf(
    "jobs/administration",
    ["unit/jobs/administration"],
    [
      {
        name: "volume-not-looked-at",
        find: "await space.refresh();",
        replace: "",
        breaks: "the usage tells what the volume has left now",
      },
      {
        name: "negative-limit",
        find: "Math.max(0, Math.floor(limitBytes))",
        replace: "Math.floor(limitBytes)",
        breaks: "a limit is never less than nothing",
      },
      {
        name: "empty-namespace-is-none",
        find: "namespace !== undefined && after === undefined)\n      throw",
        replace: "namespace !== undefined)\n      throw",
        breaks: "the end of a list is no error",
      },
      {
        name: "unknown-namespace-is-empty",
        find: "throw this.#notCached(`${namespace}/`);",
        replace: ";",
        breaks: "a namespace of which nothing is cached is told",
      },
      {
        name: "end-of-tags-is-an-error",
        find: "if (part.items.length === 0 && after === undefined) throw",
        replace: "if (part.items.length === 0) throw",
        breaks: "the end of a list is no error",
      },
      {
        name: "unknown-is-absent",
        find: "if (this.#options.ledger.totals === undefined) return new LedgerNotReady();",
        replace: "",
        breaks: "nothing is said to be absent before it is known what is stored",
      },
      {
        name: "removes-what-is-not-known",
        find: "if (removes && this.#options.ledger.totals === undefined) throw new LedgerNotReady();",
        replace: "",
        breaks: "no job removes anything before it is known what is stored",
      },
      {
        name: "running-job-is-500",
        find: "if (!(error instanceof JobRunning)) throw error;",
        replace: "throw error;",
        breaks: "who starts a second job is told of the first",
      },
      {
        name: "stopping-is-500",
        find: "if (error instanceof JobsClosed) throw",
        replace: "if (error instanceof RangeError) throw",
        breaks: "while the mirror stops a job is refused as that",
      },
      {
        name: "unknown-pin-is-success",
        find: "if (!(await this.#options.pins.remove(pattern))) throw",
        replace: "if ((await this.#options.pins.remove(pattern)) === undefined) throw",
        breaks: "who takes away a pin that is not there is told",
      },
    ],
  ),
  ...faultsOf(
    "jobs/pin-list",
    ["unit/jobs/pin-list", "unit/jobs/administration"],
    [
      {
        name: "unread-list-written",
        find: 'throw new OciError("UNAVAILABLE", "the pins that were added cannot be read", { cause: error });',
        replace: "return [];",
        breaks: "a list that could not be read is never written anew",
      },
      {
        name: "never-read-again",
        find: "onError(error);\n",
        replace: "onError(error);\n      this.#added = [];\n",
        breaks: "a list that could not be read is read again when it is needed",
      },
      {
        name: "counts-before-it-is-saved",
        find: "await this.#options.save(added);\n    this.#become(added);",
        replace: "this.#become(added);\n    await this.#options.save(added);",
        breaks: "a pin that could not be saved does not count",
      },
      {
        name: "changes-overlap",
        find: "const done = this.#last.then(work);",
        replace: "const done = work();",
        breaks: "of two changes at once none is lost",
      },
      {
        name: "added-twice",
        find: "if (!this.#all.includes(pattern)) await",
        replace: "await",
        breaks: "a pin that is there already changes nothing",
      },
      {
        name: "configured-taken-for-absent",
        find: "if (!this.#options.configured.includes(pattern)) return false;",
        replace: "return false;",
        breaks: "who takes away a pin of the configuration is told where it is",
      },
      {
        name: "read-failure-not-told",
        find: "onError(error);",
        replace: "",
        breaks: "pins that cannot be read are told",
      },
      {
        name: "start-fails-with-the-disk",
        find: "await list.#load().catch(() => undefined);",
        replace: "await list.#load();",
        breaks: "the mirror starts also where its pins cannot be read",
      },
      {
        name: "save-failure-ends-the-list",
        find: "this.#last = done.catch(() => undefined);",
        replace: "this.#last = done;",
        breaks: "a change that fails does not keep the next from its turn",
      },
      {
        name: "bad-pattern-is-500",
        find: "if (!(error instanceof Error)) throw error;\n      throw new OciError(",
        replace: "throw error;\n      throw new OciError(",
        breaks: "a pattern that cannot be read is the client's error",
      },
    ],
  ),
  ...faultsOf(
    "jobs/purge",
    ["unit/jobs/purge", "unit/jobs/administration"],
    [
      {
        name: "unknown-is-nothing",
        find: "if (ledger.totals === undefined) throw new LedgerNotReady();",
        replace: "",
        breaks: "nothing is purged before it is known what is stored",
      },
      {
        name: "first-part-only",
        find: "more = plan.more === true;\n",
        replace: "more = false;\n",
        breaks: "a large target goes in parts, all of it",
      },
      {
        name: "nothing-is-success",
        find: "if (planned + removed === 0) throw notCached(target);",
        replace: "",
        breaks: "who purges what is not there is told",
      },
      {
        name: "last-part-fails",
        find: "if (planned + removed === 0) throw",
        replace: "if (removed === 0) throw",
        breaks: "what the bucket has nothing of was in the folder perhaps",
      },
      {
        name: "bucket-not-counted",
        find: "      progress.count(inBucket);\n",
        replace: "",
        breaks: "it is told how many objects went from the bucket",
      },
      {
        name: "bucket-failure-hidden",
        find: "    throw bucketFails(target, error);\n  }\n  return removed;",
        replace: "  }\n  return removed;",
        breaks: "a purge whose bucket fails has failed",
      },
      {
        name: "failure-forgotten",
        find: "failed.abort(error);",
        replace: "",
        breaks: "a purge of which something fails has failed",
      },
      {
        name: "goes-on-when-cancelled",
        find: "AbortSignal.any([signal, failed.signal])",
        replace: "failed.signal",
        breaks: "a purge that is cancelled removes no more",
      },
      {
        name: "moved-tag-removed",
        find: "content.removeTag(id, tag, digest)",
        replace: "content.removeTag(id, tag)",
        breaks: "a tag that was moved since stays",
      },
      {
        name: "one-by-one",
        find: "const removalsAtOnce = 8;",
        replace: "const removalsAtOnce = 1;",
        breaks: "several removals wait for the disk at a time",
      },
      {
        name: "in-use-not-told",
        find: "if (!(await content.removeBlob(digest))) progress.count(counts.contentsInUse);",
        replace: "await content.removeBlob(digest);",
        breaks: "it is told what stays as it is in use",
      },
    ],
  ),
  ...faultsOf(
    "jobs/purge-target",
    ["unit/jobs/purge-target"],
    [
      {
        name: "registry-taken-for-repository",
        find: "if (slash < 0 && looksLikeNamespace(text, rules)) {",
        replace: "if (false) {",
        breaks: "what may be a registry is not taken for a repository",
      },
      {
        name: "tag-before-digest",
        find: 'if (digest !== undefined) return { kind: "digest", id, digest: parseDigest(digest) };',
        replace:
          'if (digest !== undefined && tag === undefined) return { kind: "digest", id, digest: parseDigest(digest) };',
        breaks: "where there are tag and digest the digest counts",
      },
      {
        name: "port-taken-for-tag",
        find: "/[:[A-Z]/.test(text.slice(0, Math.max(0, slash)))",
        replace: "/[[A-Z]/.test(text.slice(0, Math.max(0, slash)))",
        breaks: "a registry's port is no tag",
      },
    ],
  ),
  ...faultsOf(
    "jobs/warm",
    ["unit/jobs/warm", "unit/jobs/warm-mirror"],
    [
      {
        name: "images-one-by-one",
        find: "title: `Pull ${name}`, parallel, run",
        replace: "title: `Pull ${name}`, run",
        breaks: "one image that fails does not keep the others",
      },
      {
        name: "there-already-counts-as-pulled",
        find: 'fetched === 0 ? "images already there" : "images pulled"',
        replace: '"images pulled"',
        breaks: "it is told what was there already",
      },
      {
        name: "failure-not-counted",
        find: 'add(counts, "images failed", 1);',
        replace: "",
        breaks: "it is told how many images failed",
      },
      {
        name: "sums-left-out",
        find: "add(counts, what, by);\n      progress",
        replace: "progress",
        breaks: "the summary has the sums of all images",
      },
      {
        name: "unknown-registry-fails-all",
        find: "return { name: formatImageReference(image), open };",
        replace: "throw error;",
        breaks: "an image whose registry is not mirrored fails alone",
      },
    ],
  ),
  ...faultsOf(
    "jobs/warm-image",
    ["unit/jobs/warm", "unit/jobs/warm-image", "unit/jobs/warm-mirror"],
    [
      {
        name: "no-image-is-success",
        find: "if (this.#images === 0 && this.#failures.length === 0) {",
        replace: "if (false) {",
        breaks: "an index without an image for the platforms is a failure",
      },
      {
        name: "blobs-not-fetched",
        find: "await Promise.all(blobs.map((blob) => this.#attempt(() => this.#store(blob))));",
        replace: "",
        breaks: "an image's blobs are fetched",
      },
      {
        name: "failure-forgotten",
        find: "if (this.#failures.length > 0) throw this.#failures[0];",
        replace: "",
        breaks: "an image of which something fails has failed",
      },
      {
        name: "missing-child-fails",
        find: "if (isRoot) throw",
        replace: "throw",
        breaks: "an index may list what its registry does not have",
      },
      {
        name: "stale-not-told",
        find: 'if (answer.cache.staleReason !== undefined) progress.count("stale manifests");',
        replace: "",
        breaks: "it is told what was stale",
      },
      {
        name: "all-platforms",
        find: "chooseEntries(manifest.manifests, platforms)",
        replace: "chooseEntries(manifest.manifests, [])",
        breaks: "only the wanted platforms are pulled",
      },
      {
        name: "seen-pulled-again",
        find: "for (const digest of unseen) this.#seen.add(digest);",
        replace: "",
        breaks: "a manifest that several refer to is read once",
      },
      {
        name: "missing-blob-is-success",
        find: 'if (answer === undefined) throw new OciError("BLOB_UNKNOWN"',
        replace: 'if (answer === undefined) return;\n    if (answer === null) throw new OciError("BLOB_UNKNOWN"',
        breaks: "an image whose blob is missing has failed",
      },
      {
        name: "stored-bytes-not-counted",
        find: "progress.advance(size - advanced);",
        replace: "",
        breaks: "what is there already counts as done",
      },
      {
        name: "goes-on-when-cancelled",
        find: "await settleOrAbort(part(), signal);",
        replace: "await part();",
        breaks: "a job that is cancelled does not wait for transfers",
      },
      {
        name: "slot-kept",
        find: "} finally {\n      release();\n    }",
        replace: "} finally {\n    }",
        breaks: "a slot is given back",
      },
      {
        name: "told-after-the-end",
        find: "if (signal.aborted) return;\n      advanced",
        replace: "advanced",
        breaks: "nothing is counted after a job was cancelled",
      },
    ],
  ),
  ...faultsOf(
    "jobs/job-request",
    ["unit/jobs/administration"],
    [
      {
        name: "verify-repairs",
        find: '(request.kind === "verify" && request.repair !== true)',
        replace: "false",
        breaks: "verifying is a dry run unless it is to repair",
      },
    ],
  ),
];
