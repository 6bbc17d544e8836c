import { type Fault, faultsOf } from "../fault.ts";

export const storeS3: readonly Fault[] = [
  ...faultsOf(
    "store/s3-connection",
    [],
    [
      {
        name: "checksums-always",
        find: 'endpoint === undefined ? "when_supported" : "when_required")',
        replace: '"when_supported")',
        breaks: "servers of other makers are sent no checksums",
        tests: ["unit/store/s3-write"],
      },
      {
        name: "waits-for-ever",
        find: "throwOnRequestTimeout: true,",
        replace: "",
        breaks: "who gets no answer, or no connection, hears of it within bounds",
        tests: ["unit/store/s3-read"],
      },
      {
        name: "ended-credentials-kept",
        find: "await this.keys(true);",
        replace: "await this.keys();",
        breaks: "credentials that the server says have ended are got anew",
        tests: ["unit/store/s3-credentials"],
      },
      {
        name: "head-never-suspects-credentials",
        find: "(failure.isExpiredCredential || this.#mayHaveEnded(failure))",
        replace: "failure.isExpiredCredential",
        breaks: "a HEAD that is refused without a reason has newer credentials got",
        tests: ["unit/store/s3-credentials"],
      },
      {
        name: "head-always-suspects-credentials",
        find: "this.#suspectAgainAt = performance.now() + suspicionMs;",
        replace: "",
        breaks: "each refused HEAD does not have credentials got",
        tests: ["unit/store/s3-credentials"],
      },
      {
        name: "body-hashed-by-nobody",
        find: 'request.protocol === "https:"',
        replace: "true",
        breaks: "what is sent without TLS is covered by the signature",
        tests: ["unit/store/s3-write"],
      },
    ],
  ),
  ...faultsOf(
    "store/s3-keys",
    ["unit/store/s3-credentials"],
    [
      {
        name: "renewal-fails-requests",
        find: "if (isUrgent) return this.#ask();",
        replace: "return this.#ask();",
        breaks: "while keys are good, that there are no newer ones fails nothing",
      },
      {
        name: "asked-for-each-request",
        find: "if (left > 0 && performance.now() - this.#askedAt < (isUrgent ? urgentRestMs : restMs)) return held;",
        replace: "",
        breaks: "keys near their end are not got anew for each request",
      },
      {
        name: "token-read-once",
        find: "return () => chain({ forceRefresh: true });",
        replace: "return () => chain();",
        breaks: "the file of a web identity is read each time",
      },
    ],
  ),
  ...faultsOf(
    "store/s3-object",
    ["unit/store/s3-read"],
    [
      {
        name: "any-version",
        find: "IfMatch: this.version,",
        replace: "",
        breaks: "what was replaced meanwhile fails by its condition",
      },
      {
        name: "body-left-open",
        find: "answer.body.destroy();\n      throw new StoreError",
        replace: "throw new StoreError",
        breaks: "the body of an answer that will not do is destroyed",
      },
      {
        name: "from-the-start-again",
        find: "await this.#ask(position, end);",
        replace: "await this.#ask(start, end);",
        breaks: "a body that broke off is taken up where it broke",
      },
      {
        name: "stands-still-for-ever",
        find: "body.destroy(Object.assign(",
        replace: "void (Object.assign(",
        breaks: "a body that stands still is given up",
      },
      {
        name: "no-first-byte",
        find: "error.status === 416",
        replace: "error.status === 417",
        breaks: "an empty object can be read",
      },
      {
        name: "short-start",
        find: 'if (length < window.length) throw new Error("the answer ended early");',
        replace: "",
        breaks: "an answer that broke off in the first part is no object",
      },
    ],
  ),
  ...faultsOf(
    "store/s3-writer",
    ["unit/store/s3-write"],
    [
      {
        name: "own-success-refused",
        find: "if (version !== undefined) return version;",
        replace: "",
        breaks: "a write that was repeated after a lost answer is not refused for its own success",
      },
      {
        name: "any-success-is-ones-own",
        find: "found?.Metadata?.[nonceName] === nonce ?",
        replace: "found !== undefined ?",
        breaks: "another one's object of the same bytes is not taken for one's own",
      },
      {
        name: "undecided-is-lost",
        find: "if (!error.isUndecidedConflict || attempt === conflictTries)",
        replace: "if (error.isUndecidedConflict) throw new PreconditionFailed(key);\n        if (attempt > 0)",
        breaks: "a conflict that S3 did not decide is not a lost race",
      },
      {
        name: "wins-believed",
        find: "this.#doubtsWins && (await",
        replace: "false && (await",
        breaks: "on a server that lets two win a win is looked at",
      },
      {
        name: "refusal-is-absence",
        find: "if (error instanceof S3Failure && error.isAbsence) return undefined;",
        replace: "if (error instanceof S3Failure) return undefined;",
        breaks: "a HEAD that is refused is no absence",
        tests: ["unit/store/s3-read"],
      },
    ],
  ),
  ...faultsOf(
    "store/s3-upload",
    ["unit/store/s3-upload"],
    [
      {
        name: "not-aborted",
        find: "await running?.abort();",
        replace: "",
        breaks: "an upload that fails leaves nothing",
      },
      {
        name: "parts-unbounded",
        find: "await this.#sending;\n    this.#sending = this.#send(part);",
        replace: "this.#sending = Promise.all([this.#sending, this.#send(part)]).then(() => undefined);",
        breaks: "two parts are in memory at most, and none changes while it is sent",
      },
      {
        name: "late-completion-missed",
        find: "if (await this.abort()) throw error;",
        replace: "await this.abort();\n      throw error;",
        breaks: "an upload that was completed after the key was looked at is done",
      },
      {
        name: "aborted-under-a-part",
        find: "await this.#sending.catch(() => {}); // A part that arrives behind the abort would stay.",
        replace: "",
        breaks: "an upload is aborted when its last part has arrived",
      },
      {
        name: "record-left",
        find: "await this.#open.remove(this.#recorded);",
        replace: "",
        breaks: "a completed upload has no record",
      },
      {
        name: "short-stream-taken",
        find: "assertSize(sizeBytes === undefined || length === sizeBytes);",
        replace: "",
        breaks: "a stream that is shorter than was said is not stored",
      },
      {
        name: "no-checksum-of-the-whole",
        find: '...(connection.checksums === "when_supported" ? { ChecksumAlgorithm: "CRC32" as const } : {}),',
        replace: "",
        breaks: "an upload in parts has checksums where they are wanted",
      },
    ],
  ),
  ...faultsOf(
    "store/s3-open-uploads",
    ["unit/store/s3-upload"],
    [
      {
        name: "running-ones-swept",
        find: "if (this.#writer.connection.now() - writtenAt < olderThanMs) continue;",
        replace: "",
        breaks: "an upload that goes on is not swept",
      },
      {
        name: "own-clock",
        find: "this.#writer.connection.now() - writtenAt",
        replace: "Date.now() - writtenAt",
        breaks: "records are as old as the server's clock says",
      },
      {
        name: "gone-uploads-stay",
        find: "if (!(error instanceof S3Failure && error.status === 404)) throw error;",
        replace: "throw error;",
        breaks: "the record of an upload that is gone is removed",
      },
    ],
  ),
  ...faultsOf(
    "store/s3-parts",
    ["unit/store/s3-upload"],
    [
      {
        name: "size-fixed",
        find: "return least <= partSizeBytes ? partSizeBytes : Math.ceil(least / mib) * mib;",
        replace: "return partSizeBytes;",
        breaks: "no blob needs more than 10,000 parts",
      },
      {
        name: "parts-not-shared",
        find: "return this.#takenBytes + sizeBytes <= this.#limitBytes;",
        replace: "return true;",
        breaks: "many uploads at once have one part in memory each",
      },
      {
        name: "part-changed-while-sent",
        find: "if (this.#held.length === 1) await sent();",
        replace: "",
        breaks: "a part that is alone in memory is not changed while it is sent",
      },
      {
        name: "parts-kept",
        find: "for (const buffer of this.#held.splice(0)) this.#memory.give(buffer);",
        replace: "",
        breaks: "what an upload had in memory is there for others behind it",
      },
      {
        name: "unknown-size-fixed",
        find: "partSizeBytes * longerBy",
        replace: "partSizeBytes",
        breaks: "a stream of unknown size may be 350 GiB long",
      },
      {
        name: "chunk-borrowed",
        find: "buffer.set(piece, length);",
        replace:
          "if (length === 0 && piece.length === buffer.length) buffer = piece as Buffer;\n      else buffer.set(piece, length);",
        breaks: "a part is a copy of what is lent",
      },
    ],
  ),
  ...faultsOf(
    "store/s3-presigner",
    ["unit/store/s3-credentials"],
    [
      {
        name: "outlives-its-credentials",
        find: "Math.max(1, Math.min(expiresInSeconds, Math.floor(leftMs / 1000)))",
        replace: "expiresInSeconds",
        breaks: "a signed URL ends with the credentials that sign it",
      },
      {
        name: "signed-by-the-old-ones",
        find: "leftMs = msLeft(await this.#connection.keys(true));",
        replace: "leftMs = 0;",
        breaks: "credentials that end before the URL are got anew first",
      },
      {
        name: "path-lost",
        find: 'if (pathname !== "/" || search !== "") {',
        replace: "if (search !== search) {",
        breaks: "a public endpoint with a path is refused",
      },
      {
        name: "signed-for-the-endpoint",
        find: "endpoint: origin.origin,",
        replace: "endpoint: connection.place.endpoint as string,",
        breaks: "URLs are signed for the host that clients reach",
      },
    ],
  ),
  ...faultsOf(
    "store/s3-probe",
    ["unit/store/s3-probe"],
    [
      {
        name: "one-by-one",
        find: "const writers = 8;",
        replace: "const writers = 1;",
        breaks: "conditional writes are probed by several at once",
      },
      {
        name: "traces-left",
        find: "await removeAll(store, folder as Key);",
        replace: "",
        breaks: "the probe leaves nothing",
      },
    ],
  ),
  ...faultsOf(
    "store/s3",
    [],
    [
      {
        name: "probes-kept",
        find: "if (this.#connection.now() - writtenAt >= olderThanMs) await this.delete(key);",
        replace: "",
        breaks: "nothing stays of a probe that was not brought to its end",
        tests: ["unit/store/s3-upload"],
      },
      {
        name: "running-probes-swept",
        find: "if (this.#connection.now() - writtenAt >= olderThanMs) await",
        replace: "await",
        breaks: "a probe that goes on is not swept",
        tests: ["unit/store/s3-upload"],
      },
      {
        name: "first-page-only",
        find: "if (page.IsTruncated !== true) return;",
        replace: "return;",
        breaks: "a listing goes on behind 1,000 keys",
        tests: ["unit/store/s3-read"],
      },
      {
        name: "disorder-taken",
        find: "if (!follows(key, last)) throw new StoreError(`the server's listing of ${prefix} is not in order`, undefined);",
        replace: "",
        breaks: "a listing in no order is an error",
        tests: ["unit/store/s3-read"],
      },
      {
        name: "order-of-utf-16",
        find: "return key > last || Buffer.compare(Buffer.from(key), Buffer.from(last)) > 0;",
        replace: "return key > last;",
        breaks: "other programs' keys are listed, whatever characters they have",
        tests: ["unit/store/s3-read"],
      },
      {
        name: "own-delete-refused",
        find: "if (error.attempts === 1 || (await this.head(key)) !== undefined) throw",
        replace: "throw",
        breaks: "a delete that was repeated after a lost answer is not refused for its own success",
        tests: ["unit/store/s3-write"],
      },
    ],
  ),
  ...faultsOf(
    "store/s3-failure",
    [],
    [
      {
        name: "missing-bucket-is-absence",
        find: 'this.code !== "NoSuchBucket" && ',
        replace: "",
        breaks: "a bucket that is not there is no absence",
        tests: ["unit/store/s3-read"],
      },
      {
        name: "queries-told",
        find: 'message.replaceAll(/\\?[^\\s"\'<>]*/g, "?…")',
        replace: "message",
        breaks: "no signed query is in a message",
        tests: ["unit/store/s3-errors"],
      },
    ],
  ),
];
