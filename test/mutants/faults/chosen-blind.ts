import { type Fault, faultsOf } from "../fault.ts";

/** Chosen by one who had not read the tests. */
export const chosenBlind: readonly Fault[] = [
  ...faultsOf(
    "jobs/evict",
    ["unit/jobs/evict-runs"],
    [
      {
        name: "dry-run-empties-quarantine",
        find: "const missing = remover.dryRun ? 0 : space.overage(more).bytes;",
        replace: "const missing = space.overage(more).bytes;",
        breaks: "a dry run removes nothing, damaged content neither",
      },
    ],
  ),
  ...faultsOf(
    "jobs/jobs",
    ["unit/jobs/jobs"],
    [
      {
        name: "starts-while-closing",
        find: "    this.#closed = true;\n    for (const id of this.#jobs.keys()) this.cancel(id);\n    await this.idle();",
        replace:
          "    for (const id of this.#jobs.keys()) this.cancel(id);\n    await this.idle();\n    this.#closed = true;",
        breaks: "no job is started while it is being closed",
      },
    ],
  ),
  ...faultsOf(
    "jobs/verify-records",
    ["unit/jobs/verify-running"],
    [
      {
        name: "unwritten-link-is-none",
        find: 'typeof (await readLink(linkKey(id, digest))) === "object" || (await content.link(id, digest)) !== undefined;',
        replace: 'typeof (await readLink(linkKey(id, digest))) === "object";',
        breaks: "a tag whose manifest is just being stored is not taken for one that stands for nothing",
      },
    ],
  ),
  ...faultsOf(
    "ledger/keeper",
    ["unit/ledger/keeper"],
    [
      {
        name: "lost-changes-are-not-read",
        find: "    this.#sayUnwritable(error);\n    this.#readLater(error);\n",
        replace: "    this.#sayUnwritable(error);\n",
        breaks: "where what was held is lost, the files are read when it can be written again",
      },
    ],
  ),
  ...faultsOf(
    "http/connections",
    ["http/gone-clients"],
    [
      {
        name: "waiting-of-the-gone-count-on",
        find: "this.#crowd.waiting -= this.#waiting.splice(0).length;",
        replace: "this.#waiting.splice(0);",
        breaks: "requests of connections that have ended do not count against the 16,384 that may wait",
      },
    ],
  ),
  ...faultsOf(
    "cli/run-job",
    ["unit/cli/administration"],
    [
      {
        name: "stop-that-cannot-be-told-hangs",
        find: "else host.cancel(id).catch(() => left.resolve(undefined));",
        replace: "else host.cancel(id).catch(() => undefined);",
        breaks: "Ctrl-C ends the command also where the job cannot be told to stop",
      },
    ],
  ),
  ...faultsOf(
    "registry/tags",
    ["unit/registry/late-upstream"],
    [
      {
        name: "answered-in-time-is-late",
        find: 'if ((await Promise.race([here, late.promise])) === "here") return await answer;',
        replace: "await Promise.race([here, late.promise]);",
        breaks: "an upstream that answered within 3 s is not spared for being late",
      },
      {
        name: "late-answer-thrown-away",
        find: 'if ((await Promise.race([here, late.promise])) === "here") return answer;',
        replace: "",
        breaks: "what comes while it is looked up what could stand in counts",
        tests: ["unit/registry/revalidation"],
      },
    ],
  ),
  ...faultsOf(
    "jobs/evict",
    ["unit/jobs/evict"],
    [
      {
        name: "same-candidates-for-ever",
        find: "const isNew = names.some((name) => !before.has(name));",
        replace: "const isNew = names.length > 0;",
        breaks: "a run ends where the ledger names the same again and again",
      },
    ],
  ),
  ...faultsOf(
    "jobs/running-job",
    ["unit/jobs/jobs"],
    [
      {
        name: "one-too-many-at-a-time",
        find: "while (running.size >= (step.parallel ?? 1))",
        replace: "while (running.size > (step.parallel ?? 1))",
        breaks: "no more steps run at a time than their parallel says",
      },
    ],
  ),
  ...faultsOf(
    "jobs/purge",
    ["unit/jobs/administration"],
    [
      {
        name: "failed-removal-succeeds",
        find: "  await Promise.all(Array.from({ length: removalsAtOnce }, work));\n  stop.throwIfAborted();",
        replace: "  await Promise.all(Array.from({ length: removalsAtOnce }, work));",
        breaks: "a purge that could not remove something fails, and goes on to nothing that is below it",
      },
    ],
  ),
  ...faultsOf(
    "jobs/administration",
    ["unit/jobs/administration"],
    [
      {
        name: "evicts-before-it-is-known",
        find: 'const removes = request.kind === "evict" || request.kind === "purge";',
        replace: 'const removes = request.kind === "purge";',
        breaks: "an eviction is answered with 503 until it is known what is stored",
      },
    ],
  ),
  ...faultsOf(
    "store/filesystem",
    ["unit/store/root"],
    [
      {
        name: "several-attempts-at-once",
        find: "    this.#attemptEndedAt = Infinity;\n    try",
        replace: "    try",
        breaks: "a folder that could not be written is owned by one attempt at a time",
      },
    ],
  ),
  ...faultsOf(
    "registry/digest-store",
    ["unit/registry/digest-store"],
    [
      {
        name: "link-made-meanwhile-does-not-count",
        find: "if (isHeld || this.#questioned.get(digest) === true || this.isBusy(digest)) return false;",
        replace: "if (isHeld || this.isBusy(digest)) return false;",
        breaks: "content is not removed that a repository has come to hold while the ledger was asked",
      },
    ],
  ),
  ...faultsOf(
    "upstream/absences",
    ["unit/upstream/absences"],
    [
      {
        name: "late-absence-hides-what-was-found",
        find: "} else if (equal.found === foundBefore) {",
        replace: "} else {",
        breaks: "an absence that ends after the same was found is not remembered",
      },
    ],
  ),
  ...faultsOf(
    "upstream/breaker",
    ["unit/upstream/breaker"],
    [
      {
        name: "failed-try-holds-the-next-back",
        find: "      if (probe === this.#probe) this.#probe = undefined;\n",
        replace: "",
        breaks: "after a try that failed the next one goes when the rest is over, not 10 s later",
      },
    ],
  ),
  ...faultsOf(
    "upstream/failover",
    ["unit/upstream/failover"],
    [
      {
        name: "page-left-open",
        find: "          kept.forEach(makeshift.giveUp);\n          return answer;",
        replace: "          return answer;",
        breaks: "a web page in whose place another source has the content is given up, with its connection and slot",
      },
    ],
  ),
  ...faultsOf(
    "oci/platform",
    ["unit/oci/platform"],
    [
      {
        name: "lower-variants-too",
        find: "    if (fit > best) found = [];\n",
        replace: "",
        breaks: "for each platform the entry of its own variant is chosen, or else the highest below it, alone",
      },
    ],
  ),
  ...faultsOf(
    "oci/pin",
    ["unit/oci/pin-grammar"],
    [
      {
        name: "all-of-the-hub-is-its-library",
        find: ' && path !== "**";',
        replace: ";",
        breaks: "docker.io/** pins all of Docker Hub",
      },
    ],
  ),
  ...faultsOf(
    "ledger/own-files",
    ["unit/ledger/ballast"],
    [
      {
        name: "ballast-is-not-measured",
        find: "[...databaseFiles(this.path), this.#ballast.path]",
        replace: "databaseFiles(this.path)",
        breaks: "the ballast counts against the limit",
      },
      {
        name: "ballast-stays-in-a-small-store",
        find: "    this.#ballast.drop();\n    return true;",
        replace: "    return true;",
        breaks: "in a store that became small the ballast goes",
      },
    ],
  ),
  ...faultsOf(
    "http/reply",
    ["http/errors"],
    [
      {
        name: "unknown-ledger-without-retry-after",
        find: "message: error.message, headers: askLater };",
        replace: "message: error.message };",
        breaks: "who asks before it is known what is stored is told when to come again",
      },
      {
        name: "retry-after-rounded-down",
        find: '"Retry-After": Math.ceil(retryAfter)',
        replace: '"Retry-After": Math.floor(retryAfter)',
        breaks: "who is to wait for a part of a second is not told to come at once",
      },
    ],
  ),
  ...faultsOf(
    "ledger/rebuild",
    ["unit/ledger/keeper"],
    [
      {
        name: "stopped-reading-goes-on",
        find: "stop(): void {\n    this.#scan++;",
        replace: "stop(): void {\n    this.#scan += 0;",
        breaks: "a reading that was ended for another one says nothing more",
      },
    ],
  ),
  ...faultsOf(
    "ledger/keeper",
    ["unit/ledger/keeper"],
    [
      {
        name: "ballast-gone-for-good",
        find: "this.#plan();\n      return work();",
        replace: "return work();",
        breaks: "ballast that was given up is made again when there is room",
      },
    ],
  ),
  ...faultsOf(
    "store/filesystem",
    ["unit/store/leftovers"],
    [
      {
        name: "leftovers-are-not-measured",
        find: "let bytes = this.#temporary.leftBytes;",
        replace: "let bytes = 0;",
        breaks: "what an earlier process has left counts against the limit",
      },
    ],
  ),
];
