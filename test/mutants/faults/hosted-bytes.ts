import { type Fault, faultsOf } from "../fault.ts";

export const hostedBytes: readonly Fault[] = [
  ...faultsOf(
    "hosted/folder-bytes",
    ["contract/hosted-bytes", "unit/hosted/folder-bytes"],
    [
      {
        name: "wrong-digest-stored",
        find: "if (!isRight || (await",
        replace: "if ((await",
        breaks: "what has another digest is not stored",
      },
      {
        name: "stored-content-not-renewed",
        find: "return found?.sizeBytes === sizeBytes && (await this.#files.renew(hostedBlobKey(digest)));",
        replace: "return found?.sizeBytes === sizeBytes;",
        breaks: "a commit of what is stored already makes it young",
      },
      {
        name: "young-enough-not-asked",
        find: "return Math.max(0, this.now() - found.writtenAt) < maxAgeMs || ",
        replace: "return ",
        breaks: "what is young enough is not renewed",
      },
      {
        name: "rest-lost",
        find: "} finally {\n        await appender.end();\n      }",
        replace:
          "} catch (error) {\n        appender.end().catch(() => undefined);\n        throw error;\n      }\n      await appender.end();",
        breaks: "what has come before a source failed is stored when the append has failed",
      },
      {
        name: "old-hash-goes-on",
        find: "hash === undefined || hash.bytes === bytes",
        replace: "hash === undefined || bytes !== undefined",
        breaks: "an upload that another has gone on with is hashed as it is",
      },
      {
        name: "not-one-after-the-other",
        find: "return this.#turns.run(session, async () => {\n      const staged",
        replace:
          "return (async (_: string, work: () => Promise<number | undefined>) => work())(session, async () => {\n      const staged",
        breaks: "a commit waits for the append before it",
        tests: ["unit/hosted/folder-bytes"],
      },
    ],
  ),
  ...faultsOf(
    "hosted/file-appender",
    ["contract/hosted-bytes", "unit/hosted/folder-bytes"],
    [
      {
        name: "chunk-kept",
        find: "this.#filling.set(piece, this.#filledBytes);",
        replace: "this.#filling.set(piece, 0);",
        breaks: "what comes while a write runs is written behind what came before",
      },
      {
        name: "lost-bytes-kept",
        find: "if (this.#isLost) await",
        replace: "if (this.#lent.length > 9) await",
        breaks: "what could not be flushed does not count as received",
      },
      {
        name: "never-flushed-on-the-way",
        find: "this.#unflushedBytes >= unflushedBytes",
        replace: "this.#unflushedBytes < 0",
        breaks: "a long upload is flushed while it comes, so that its commit does not take long",
      },
      {
        name: "buffers-kept",
        find: "for (const buffer of this.#lent.splice(0)) this.#options.pool.release(buffer);",
        replace: "",
        breaks: "buffers are given back",
      },
    ],
  ),
  ...faultsOf(
    "hosted/upload-hash",
    ["contract/hosted-bytes", "unit/hosted/folder-bytes"],
    [
      {
        name: "file-open-while-resting",
        find: "this.#running?.rest();",
        replace: "",
        breaks: "an upload that rests has nothing open",
      },
      {
        name: "hashed-twice",
        find: "if (end <= hereBytes && this.#here !== undefined) this.#here.update(bytes);",
        replace: "if (end <= hereBytes && this.#here !== undefined) this.#here.update(bytes).update(bytes);",
        breaks: "a short upload has its own digest",
      },
    ],
  ),
  ...faultsOf(
    "hosted/hosted-files",
    ["unit/hosted/hosted-files", "unit/hosted/folder-bytes"],
    [
      {
        name: "counted-twice",
        find: "if (!changed.has(key)) this.#bytes",
        replace: "this.#bytes",
        breaks: "what changes while it is counted counts once",
      },
      {
        name: "noted-late",
        find: "this.note(key, before, before);\n      const version",
        replace: "const version",
        breaks: "the count does not come upon what is noted later",
      },
      {
        name: "nothing-set-aside",
        find: "if (room !== undefined) return room;",
        replace: "return room as Reservation;",
        breaks: "nothing is written for which there is no room",
      },
      {
        name: "old-bytes-old-content",
        find: "if (this.now() - staged.writtenAt > youngMs) await this.#files.renew(staged.key);",
        replace: "",
        breaks: "content is as young as its commit",
      },
    ],
  ),
  ...faultsOf(
    "hosted/upload-room",
    ["unit/hosted/hosted-files"],
    [
      {
        name: "all-or-nothing",
        find: "if (step === missing || codeOf(error) !== limitReached) throw error;",
        replace: "throw error;",
        breaks: "where there is little room, an upload gets what it needs",
      },
    ],
  ),
  ...faultsOf(
    "hosted/bucket-bytes",
    ["unit/hosted/bucket-bytes"],
    [
      {
        name: "end-not-told",
        find: "if (record.pieces.length > 0) {",
        replace: "if (record.pieces.length < 0) {",
        breaks: "an upload that is being ended takes nothing more, and is not dropped",
      },
      {
        name: "ended-upload-dropped",
        find: "if (committing !== undefined && this.now() - found.writtenAt < longestCommitMs) return;",
        replace: "",
        breaks: "an upload that is being ended is not dropped",
      },
      {
        name: "content-goes-with-its-upload",
        find: "await this.#discard(key, found, stored).catch",
        replace: "await this.#discard(key, found).catch",
        breaks: "the pieces of an upload are those of its content",
      },
      {
        name: "dropped-upload-takes-content-along",
        find: "await this.#discard(key, found, committing && (await this.#content(committing))?.record);",
        replace: "await this.#discard(key, found);",
        breaks: "the pieces of an upload that was ended are those of its content",
      },
      {
        name: "pieces-before-the-record",
        find: "if (names.length > 0 && (",
        replace: "if (names.length < 0 && (",
        breaks: "pieces go only when nobody can make them content any more",
      },
      {
        name: "uploads-swept",
        find: "[hostedUploadsPrefix, hostedBlobsPrefix] : []",
        replace: "[hostedBlobsPrefix] : []",
        breaks: "what an upload names is not swept",
      },
      {
        name: "swept-while-it-ends",
        find: "[hostedUploadsPrefix, hostedBlobsPrefix] : []",
        replace: "[hostedBlobsPrefix, hostedUploadsPrefix] : []",
        breaks: "what an upload becomes while it is looked for is not swept",
      },
      {
        name: "damaged-content-renewed",
        find: "if (isStored && (await arePartsWhole(this.#store, found.record))) {",
        replace: "if (isStored) {",
        breaks: "what its bytes are missing of is stored again",
      },
      {
        name: "renewed-while-removed",
        find: "return found?.record.removed === true ? undefined : found;",
        replace: "return found;",
        breaks: "what is being removed is absent",
      },
      {
        name: "wrong-digest-stored",
        find: "if (actual !== digest || isLost) {",
        replace: "if (isLost) {",
        breaks: "what has another digest is not stored",
        tests: ["contract/hosted-bytes"],
      },
      {
        name: "lost-pieces-committed",
        find: "if (actual !== digest || isLost) {",
        replace: "if (actual !== digest) {",
        breaks: "what was removed since is not stored again by a commit that was broken off",
      },
    ],
  ),
  ...faultsOf(
    "hosted/bucket-uploads",
    ["unit/hosted/bucket-bytes"],
    [
      {
        name: "pieces-without-end",
        find: "if (before.pieces.length >= mostPieces) throw tooManyPieces();",
        replace: "",
        breaks: "an upload of ever more pieces is refused in the end",
      },
      {
        name: "piece-not-told-before",
        find: "garbage: [...before.garbage, name]",
        replace: "garbage: [...before.garbage]",
        breaks: "a piece is named by a record before it is written",
      },
      {
        name: "loser-leaves-its-piece",
        find: "if (error instanceof PreconditionFailed) await store.delete(hostedDataKey(name)).catch(() => undefined);",
        replace: "",
        breaks: "who loses an upload leaves nothing",
      },
      {
        name: "record-grows-old",
        find: "if (store.now() - claim.writtenAt < freshMs) continue;",
        replace: "if (store.now() > 0) continue;",
        breaks: "an upload of which bytes come is young",
      },
      {
        name: "always-read-again",
        find: "const isUsable = isOfThese === true &&",
        replace: "const isUsable = isOfThese !== isOfThese &&",
        breaks: "what was hashed is not read again",
      },
      {
        name: "failure-swallowed",
        find: "if (incoming.failure !== undefined) throw incoming.failure.reason;",
        replace: "",
        breaks: "who adds hears of a source that failed",
        tests: ["contract/hosted-bytes"],
      },
    ],
  ),
  ...faultsOf(
    "hosted/stream-hash",
    ["unit/hosted/bucket-bytes"],
    [
      {
        name: "order-lost",
        find: "this.#held.copy(larger);",
        replace: "",
        breaks: "what is hashed in a thread begins with what was held back",
      },
    ],
  ),
];
