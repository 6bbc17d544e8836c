import { createHash } from "node:crypto";
import { setImmediate } from "node:timers/promises";
import type { Asker } from "../concurrency/interest.ts";
import { type Content, isBlobLink } from "../registry/content.ts";
import type { Fills } from "../registry/fills.ts";
import { holdBackBytes } from "../registry/hold-back.ts";
import type { AdmittedCall, PeerGuard } from "../replicas/peer-guard.ts";
import {
  callHeader,
  epochHeader,
  parseQuestion,
  type PeerQuestion,
  proofHeader,
  sizeHeader,
} from "../replicas/peer-protocol.ts";
import type { Sharing } from "../replicas/sharing.ts";
import type { Handler } from "./request.ts";
import type { BodyStream, Reply } from "./reply.ts";

/** What other replicas are answered with. */
export interface PeersOptions {
  readonly guard: PeerGuard;
  readonly sharing: Pick<Sharing, "answers" | "isFromPeer">;
  readonly fills: Pick<Fills, "find">;
  readonly content: Pick<Content, "link" | "openBlob" | "statBlob">;
  /** As of `Clock`. */
  readonly now: () => number;
}

/** A blob as it is here: the part that is asked for, and the size of the whole, where it is known. */
interface Found extends BodyStream {
  readonly sizeBytes: number | undefined;
}

/**
 * Answers other replicas: with what this one fetches or has, and nothing that it would have to ask for. A call that is
 * not one of theirs is told which epoch to name, and nothing else.
 */
export function createPeerHandler(options: PeersOptions): Handler {
  return async ({ method, target, headers, asker }, facts) => {
    facts.endpoint = "peer";
    const call = method === "GET" ? options.guard.admit(target, String(headers[callHeader] ?? "")) : undefined;
    if (call === undefined)
      return { status: 401, headers: { [epochHeader]: options.guard.epoch, "Content-Length": 0 } };
    const question = parseQuestion(target);
    try {
      const reply = question && (await answer(options, question, call, asker));
      return reply ?? refusal(call, 404, question);
    } catch (error) {
      facts.error = error;
      return refusal(call, 502, question);
    }
  };
}

async function answer(
  options: PeersOptions,
  question: PeerQuestion,
  call: AdmittedCall,
  asker: Asker | undefined,
): Promise<Reply | undefined> {
  switch (question.kind) {
    case "alive":
      return jsonReply(call, {});
    case "answer": {
      const told = await options.sharing.answers.find(question.name);
      if (told === undefined) return undefined;
      const { checkedAt, ...rest } = told;
      return jsonReply(call, { ...rest, ageMs: Math.max(0, options.now() - checkedAt) });
    }
    case "progress": {
      const readyBytes = await progressOf(options, question);
      return readyBytes === undefined ? undefined : jsonReply(call, { readyBytes });
    }
    case "blob": {
      const found = await open(options, question, asker);
      if (found === undefined) return undefined;
      const size = String(found.sizeBytes ?? "");
      return {
        status: 200,
        headers: {
          "Content-Type": "application/octet-stream",
          [sizeHeader]: size,
          [proofHeader]: call.prove("200", size),
          ...(found.sizeBytes !== undefined && { "Content-Length": found.sizeBytes - question.offset }),
        },
        body: found,
      };
    }
  }
}

/** How much of a blob whoever reads it here can have by now; `undefined`: it is not to be had here. */
async function progressOf(
  { fills, content, sharing }: PeersOptions,
  { id, digest }: Extract<PeerQuestion, { kind: "progress" }>,
): Promise<number | undefined> {
  const fill = fills.find(id, digest, false);
  if (fill !== undefined) {
    if (sharing.isFromPeer(id, digest)) return undefined;
    // What may turn out to be something else is not told of, however much of it is here.
    const isOpen = await Promise.race([fill.opened.catch(() => "absent"), setImmediate("waits")]);
    if (isOpen !== "streaming") return 0;
    return fill.isVerified ? fill.receivedBytes : Math.max(0, fill.receivedBytes - holdBackBytes);
  }
  return (await content.link(id, digest)) && (await content.statBlob(digest))?.sizeBytes;
}

/** A blob from a fill, or as it is stored. What comes from another replica is not sent on. */
async function open(
  { fills, content, sharing }: PeersOptions,
  { id, digest, offset }: Extract<PeerQuestion, { kind: "blob" }>,
  asker: Asker | undefined,
): Promise<Found | undefined> {
  const fill = fills.find(id, digest, false);
  if (fill !== undefined) {
    const reader = fill.join(asker);
    const opened = await fill.opened.catch(() => "absent" as const);
    // Only now it is known whence it comes.
    const isOwn = !sharing.isFromPeer(id, digest);
    if (opened === "streaming" && isOwn && offset <= (fill.sizeBytes ?? Infinity)) {
      const { sizeBytes } = fill;
      return {
        sizeBytes,
        read: (signal) => reader.read({ start: offset, end: sizeBytes ?? Infinity }, signal),
        close: () => reader.close(),
      };
    }
    await reader.close();
    if (opened !== "stored") return undefined;
  }
  const link = await content.link(id, digest);
  const stored = link !== undefined && isBlobLink(link) ? await content.openBlob(digest) : undefined;
  if (stored === undefined) return undefined;
  const { sizeBytes } = stored;
  if (sizeBytes !== link?.sizeBytes || offset > sizeBytes) {
    await stored.close();
    return undefined;
  }
  return {
    sizeBytes,
    read: () => stored.read({ start: offset, end: sizeBytes }),
    close: () => stored.close(),
  };
}

function jsonReply(call: AdmittedCall, document: object, status = 200): Reply {
  const body = Buffer.from(JSON.stringify(document));
  const proof = call.prove(String(status), createHash("sha256").update(body).digest("hex"));
  return {
    status,
    headers: { "Content-Type": "application/json", "Content-Length": body.length, [proofHeader]: proof },
    body,
  };
}

/** A refusal, signed as an answer to that question would be. */
function refusal(call: AdmittedCall, status: number, question: PeerQuestion | undefined): Reply {
  if (question?.kind !== "blob") return jsonReply(call, {}, status);
  return { status, headers: { "Content-Length": 0, [sizeHeader]: "", [proofHeader]: call.prove(String(status), "") } };
}
