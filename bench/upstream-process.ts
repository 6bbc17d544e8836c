/*
 * The upstream registry, a process of its own: serves a tree of files, at a limited rate on each connection, and counts.
 * argv: the folder. Its parent tells it the rate and asks for the counts by messages.
 */
import { createHash } from "node:crypto";
import { open, readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { join, normalize } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { manifestMediaType } from "./content.ts";
import type { Counts, Question } from "./upstream.ts";

const root = process.argv[2] ?? "";
const chunkBytes = 256 * 1024;
// How far a connection may fall behind its rate and still catch up: a network's queue, not a pause of a second.
const burstMs = 50;
const nothing: Counts = { blobGets: 0, blobBytes: 0, blobHeads: 0, manifestGets: 0, manifestHeads: 0, active: 0 };
let counts = { ...nothing };
let active = 0;
let bytesPerSecond = Infinity;
const manifests = new Map<string, { readonly bytes: Buffer; readonly digest: string }>();

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const path = normalize(new URL(request.url ?? "/", "http://upstream").pathname);
  response.setHeader("Docker-Distribution-Api-Version", "registry/2.0");
  if (path === "/v2/" || path === "/v2") response.end("{}");
  else if (path.includes("/manifests/")) await serveManifest(path, request.method === "HEAD", response);
  else if (path.includes("/blobs/")) await serveBlob(path, request.method === "HEAD", response);
  else response.writeHead(404).end();
}

async function serveManifest(path: string, head: boolean, response: ServerResponse): Promise<void> {
  if (head) counts.manifestHeads += 1;
  else counts.manifestGets += 1;
  let manifest = manifests.get(path);
  if (manifest === undefined) {
    const bytes = await readFile(join(root, path));
    manifest = { bytes, digest: `sha256:${createHash("sha256").update(bytes).digest("hex")}` };
    manifests.set(path, manifest);
  }
  response.writeHead(200, {
    "Content-Type": manifestMediaType,
    "Content-Length": manifest.bytes.length,
    "Docker-Content-Digest": manifest.digest,
  });
  response.end(head ? undefined : manifest.bytes);
}

async function serveBlob(path: string, head: boolean, response: ServerResponse): Promise<void> {
  if (head) counts.blobHeads += 1;
  else counts.blobGets += 1;
  await using file = await open(join(root, path));
  const { size } = await file.stat();
  response.writeHead(200, {
    "Content-Type": "application/octet-stream",
    "Content-Length": size,
    "Docker-Content-Digest": path.slice(path.lastIndexOf("/") + 1),
  });
  if (head) {
    response.end();
    return;
  }
  response.flushHeaders();
  let began = performance.now();
  for (let sent = 0; sent < size;) {
    const { buffer, bytesRead } = await file.read(Buffer.allocUnsafe(chunkBytes), 0, chunkBytes, sent);
    if (bytesRead === 0 || response.destroyed) break;
    await write(response, buffer.subarray(0, bytesRead));
    sent += bytesRead;
    counts.blobBytes += bytesRead;
    const due = (sent / bytesPerSecond) * 1000;
    began = Math.max(began, performance.now() - due - burstMs);
    const aheadMs = began + due - performance.now();
    if (aheadMs > 1) await delay(aheadMs);
  }
  response.end();
}

/** Resolves when the kernel has taken the bytes, or when nobody wants them any more. */
function write(response: ServerResponse, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    response.write(bytes, () => resolve());
  });
}

const server = createServer((request, response) => {
  active += 1;
  response.once("close", () => {
    active -= 1;
  });
  response.on("error", () => undefined);
  serve(request, response).catch(() => {
    if (response.headersSent) response.destroy();
    else response.writeHead(404).end();
  });
});
server.keepAliveTimeout = 60_000;
server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  process.send?.({ port: typeof address === "object" ? address?.port : undefined });
});
process.on("message", (question: Question) => {
  if (question.bytesPerSecond !== undefined) bytesPerSecond = question.bytesPerSecond || Infinity;
  process.send?.({ ...counts, active });
  if (question.reset === true) counts = { ...nothing };
});
process.on("disconnect", () => process.exit());
