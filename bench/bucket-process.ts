/*
 * A server that speaks as much of S3 as Entrepot needs, a process of its own, so that what a bucket costs the mirror is
 * measured and not what a storage costs: it counts requests, and of large objects it keeps the sizes alone. Signatures
 * are not looked at. Its parent asks for the counts by messages.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { buffer } from "node:stream/consumers";
import type { BucketCounts, BucketQuestion } from "./bucket.ts";

/** Of a larger object nothing is kept but its size: records and manifests are smaller. */
const keptBytes = 256 * 1024;

interface Stored {
  readonly size: number;
  readonly etag: string;
  /** Without it the object was large. */
  readonly bytes: Buffer | undefined;
}

const objects = new Map<string, Stored>();
/** The sizes of the parts by the ids of uploads that are open. */
const uploads = new Map<string, number[]>();
let requests: Record<string, number> = {};
let active = 0;
let versions = 0;

/** Reads a body to its end, and keeps it where it is small. */
async function receive(request: IncomingMessage): Promise<Stored> {
  const kept: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size <= keptBytes) kept.push(chunk);
  }
  return { size, etag: `"${++versions}"`, bytes: size <= keptBytes ? Buffer.concat(kept) : undefined };
}

async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? "/", "http://bucket");
  const [, , ...rest] = url.pathname.split("/");
  const key = decodeURIComponent(rest.join("/"));
  const uploadId = url.searchParams.get("uploadId");
  const count = (operation: string): void => {
    const [, kind = ""] = /^(?:repositories\/.*\/_)?(\w+)/.exec(key) ?? [];
    const name = `${operation} ${kind}`;
    requests[name] = (requests[name] ?? 0) + 1;
  };
  switch (request.method ?? "") {
    case "HEAD":
      count("HeadObject");
      return answerObject(key, request, response);
    case "GET":
      if (url.searchParams.has("list-type")) {
        count("ListObjectsV2");
        return answerListing(url.searchParams, response);
      }
      count("GetObject");
      return answerObject(key, request, response);
    case "PUT": {
      count(uploadId === null ? "PutObject" : "UploadPart");
      const stored = await receive(request);
      if (uploadId !== null) {
        uploads.get(uploadId)?.push(stored.size);
      } else if (isRefused(key, request)) {
        return answerError(response, 412, "PreconditionFailed");
      } else {
        objects.set(key, stored);
      }
      response.writeHead(200, { ETag: stored.etag, "Content-Length": 0 }).end();
      return;
    }
    case "POST": {
      const body = await buffer(request);
      if (uploadId === null) {
        count("CreateMultipartUpload");
        const id = `upload-${++versions}`;
        uploads.set(id, []);
        return answerXml(response, "InitiateMultipartUploadResult", `<UploadId>${id}</UploadId>`);
      }
      count("CompleteMultipartUpload");
      const parts = uploads.get(uploadId);
      if (parts === undefined || body.length === 0) return answerError(response, 404, "NoSuchUpload");
      uploads.delete(uploadId);
      const etag = `"${++versions}"`;
      objects.set(key, { size: parts.reduce((sum, part) => sum + part, 0), etag, bytes: undefined });
      return answerXml(response, "CompleteMultipartUploadResult", `<ETag>${etag.replaceAll('"', "&quot;")}</ETag>`);
    }
    case "DELETE":
      count(uploadId === null ? "DeleteObject" : "AbortMultipartUpload");
      if (uploadId !== null) uploads.delete(uploadId);
      else if (isRefused(key, request)) return answerError(response, 412, "PreconditionFailed");
      else objects.delete(key);
      response.writeHead(204).end();
      return;
    default:
      answerError(response, 400, "InvalidRequest");
  }
}

/** Whether a condition of the request does not hold. */
function isRefused(key: string, { headers }: IncomingMessage): boolean {
  const { "if-match": match, "if-none-match": noneMatch } = headers;
  const found = objects.get(key);
  return (noneMatch === "*" && found !== undefined) || (match !== undefined && found?.etag !== match);
}

function answerObject(key: string, request: IncomingMessage, response: ServerResponse): void {
  const found = objects.get(key);
  if (found === undefined) return answerError(response, 404, "NoSuchKey");
  const about = { ETag: found.etag, "Last-Modified": new Date().toUTCString() };
  if (request.method === "HEAD") {
    response.writeHead(200, { ...about, "Content-Length": found.size }).end();
    return;
  }
  const { bytes, size } = found;
  if (bytes === undefined) return answerError(response, 500, "InternalError");
  const [, first, last = ""] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "") ?? [];
  if (first === undefined) {
    response.writeHead(200, { ...about, "Content-Length": size }).end(bytes);
    return;
  }
  const end = Math.min(size, last === "" ? size : Number(last) + 1);
  const range = `bytes ${first}-${end - 1}/${size}`;
  const part = bytes.subarray(Number(first), end);
  response.writeHead(206, { ...about, "Content-Range": range, "Content-Length": part.length }).end(part);
}

function answerListing(query: URLSearchParams, response: ServerResponse): void {
  const prefix = query.get("prefix") ?? "";
  const after = query.get("start-after") ?? "";
  const keys = [...objects.keys()].filter((key) => key.startsWith(prefix) && key > after).toSorted();
  const contents = keys.slice(0, 1000).map((key) => {
    const { size = 0, etag = "" } = objects.get(key) ?? {};
    const moment = new Date().toISOString();
    const quoted = etag.replaceAll('"', "&quot;");
    return `<Contents><Key>${key}</Key><LastModified>${moment}</LastModified><ETag>${quoted}</ETag><Size>${size}</Size></Contents>`;
  });
  answerXml(response, "ListBucketResult", `<IsTruncated>${keys.length > 1000}</IsTruncated>${contents.join("")}`);
}

function answerXml(response: ServerResponse, name: string, content: string, status = 200): void {
  const body = `<?xml version="1.0" encoding="UTF-8"?><${name}>${content}</${name}>`;
  response.writeHead(status, { "Content-Type": "application/xml", "Content-Length": Buffer.byteLength(body) });
  response.end(body);
}

function answerError(response: ServerResponse, status: number, code: string): void {
  answerXml(response, "Error", `<Code>${code}</Code>`, status);
}

const server = createServer((request, response) => {
  active += 1;
  response.once("close", () => {
    active -= 1;
  });
  response.on("error", () => undefined);
  serve(request, response).catch(() => response.destroy());
});
server.keepAliveTimeout = 60_000;
server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  process.send?.({ port: typeof address === "object" ? address?.port : undefined });
});
process.on("message", (question: BucketQuestion) => {
  const counts: BucketCounts = { requests, active, keys: [...objects.keys()], openUploads: uploads.size };
  process.send?.(counts);
  if (question.reset === true) requests = {};
});
process.on("disconnect", () => process.exit());
