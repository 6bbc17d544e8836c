import { closeSync, openSync, readSync } from "node:fs";
import { parentPort } from "node:worker_threads";
import type { Hash } from "node:crypto";
import { type Algorithm, createHasher } from "../oci/digest.ts";
import type { HashReply, HashRequest } from "./hashing.ts";

/*
 * The thread that hashes. It reads a growing file behind its writer, a piece at a time so that one large file does not
 * hold back the others, and answers with the digest when it is asked for it.
 */
interface Running {
  readonly hash: Hash;
  fd: number | undefined;
  position: number;
  target: number;
  scheduled: boolean;
  resting: boolean;
  peeks: number;
  digestWanted: boolean;
  later: Uint8Array[];
}

const port = parentPort;
if (port === null) throw new Error("hash-worker runs as a worker thread only");

const pieceBytes = 1024 * 1024;
const buffer = Buffer.allocUnsafeSlow(pieceBytes);
const running = new Map<number, Running>();

port.on("message", (request: HashRequest) => {
  try {
    handle(request);
  } catch (error) {
    fail(request.id, error);
  }
});

function handle(request: HashRequest): void {
  if (request.kind === "start") {
    running.set(request.id, start(request.algorithm));
    return;
  }
  const job = running.get(request.id);
  if (job === undefined) return;
  switch (request.kind) {
    case "file":
      job.fd ??= openSync(request.path, "r");
      job.target = request.end;
      job.resting = false;
      break;
    case "rest":
      job.resting = true;
      break;
    case "bytes":
      job.later.push(request.bytes);
      break;
    case "peek":
      job.peeks++;
      break;
    case "digest":
      job.digestWanted = true;
      break;
    case "drop":
      end(request.id, job);
      return;
  }
  schedule(request.id, job);
}

function start(algorithm: Algorithm): Running {
  const hash = createHasher(algorithm);
  return {
    hash,
    fd: undefined,
    position: 0,
    target: 0,
    scheduled: false,
    resting: false,
    peeks: 0,
    digestWanted: false,
    later: [],
  };
}

function schedule(id: number, job: Running): void {
  if (job.scheduled) return;
  job.scheduled = true;
  setImmediate(() => {
    job.scheduled = false;
    if (running.get(id) !== job) return;
    try {
      step(id, job);
    } catch (error) {
      fail(id, error);
    }
  });
}

function step(id: number, job: Running): void {
  if (job.fd !== undefined && job.position < job.target) {
    const count = readSync(job.fd, buffer, 0, Math.min(pieceBytes, job.target - job.position), job.position);
    if (count === 0) throw new Error(`the file ends at ${job.position}, before ${job.target}`);
    job.hash.update(buffer.subarray(0, count));
    job.position += count;
    schedule(id, job);
    return;
  }
  // Bytes that are sent as messages follow those of the file: the file came first and takes no more.
  for (const bytes of job.later) {
    job.hash.update(bytes);
    reply({ id, taken: true });
  }
  job.later = [];
  if (job.resting) closeFile(job);
  for (; job.peeks > 0; job.peeks--) reply({ id, soFar: job.hash.copy().digest("hex") });
  if (!job.digestWanted) return;
  // Who gets the answer may remove the file, and finds it closed.
  end(id, job);
  reply({ id, hex: job.hash.digest("hex") });
}

function fail(id: number, error: unknown): void {
  const job = running.get(id);
  if (job === undefined) return;
  end(id, job);
  reply({ id, error: error instanceof Error ? error.message : String(error) });
}

function end(id: number, job: Running): void {
  running.delete(id);
  closeFile(job);
}

function closeFile(job: Running): void {
  if (job.fd !== undefined) closeSync(job.fd);
  job.fd = undefined;
}

function reply(message: HashReply): void {
  port?.postMessage(message);
}
