import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { closeSync, openSync, readSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { join } from "node:path";
import { promisify } from "node:util";
import { manifestMediaType } from "./content.ts";
import { programPath } from "./programs.ts";

const run = promisify(execFile);
const limitMs = 600_000;

/** A file that is pushed as a blob, whole and in parts. */
export interface PushedFile {
  readonly path: string;
  readonly digest: string;
  readonly sizeBytes: number;
  /** Files of its parts, in order, all but the last of the same size. */
  readonly parts: readonly { readonly path: string; readonly sizeBytes: number }[];
}

/** Bytes that are pushed, with their digest. */
export interface Content {
  readonly bytes: Buffer;
  readonly digest: string;
}

/** An image that is pushed from memory. */
export interface SmallImage {
  readonly blobs: readonly Content[];
  readonly manifest: Content;
}

/** Cuts a file into parts below `folder`. */
export function cut(file: Omit<PushedFile, "parts">, partBytes: number, folder: string): PushedFile {
  const descriptor = openSync(file.path, "r");
  const buffer = Buffer.alloc(partBytes);
  const parts = Array.from({ length: Math.ceil(file.sizeBytes / partBytes) }, (_, index) => {
    const path = join(folder, `part-${index}`);
    const sizeBytes = readSync(descriptor, buffer, 0, partBytes, index * partBytes);
    writeFileSync(path, buffer.subarray(0, sizeBytes));
    return { path, sizeBytes };
  });
  closeSync(descriptor);
  return { ...file, parts };
}

/** Pushes a file with one PUT, with curl. Resolves to seconds, from the POST to the answer 201. */
export async function pushWhole(origin: string, repository: string, file: PushedFile): Promise<number> {
  const began = performance.now();
  const location = await beginUpload(origin, repository);
  await upload("PUT", finished(location, file.digest), file.path, 201);
  return (performance.now() - began) / 1000;
}

/** Pushes a file with one PATCH for each of its parts, with curl. Resolves to seconds, from the POST to the answer 201. */
export async function pushParts(origin: string, repository: string, file: PushedFile): Promise<number> {
  const began = performance.now();
  let location = await beginUpload(origin, repository);
  let offset = 0;
  for (const { path, sizeBytes } of file.parts) {
    const range = `Content-Range: ${offset}-${offset + sizeBytes - 1}`;
    location = new URL(await upload("PATCH", location, path, 202, range), origin);
    offset += sizeBytes;
  }
  await answered(finished(location, file.digest), { method: "PUT", wanted: 201 });
  return (performance.now() - began) / 1000;
}

/** Images of a configuration and layers of this size, none of which is equal to another. */
export function makeSmallImages(count: number, layers: number, layerBytes: number): SmallImage[] {
  return Array.from({ length: count }, (_, index) => {
    const blobs = Array.from({ length: 1 + layers }, (_unused, part) => {
      const bytes = Buffer.alloc(part === 0 ? 2048 : layerBytes, `${index} ${part} `);
      return { bytes, digest: digestOf(bytes) };
    });
    const [config, ...rest] = blobs.map(({ bytes, digest }, part) => ({
      mediaType: `application/vnd.oci.image.${part === 0 ? "config.v1+json" : "layer.v1.tar+gzip"}`,
      digest,
      size: bytes.length,
    }));
    const document = { schemaVersion: 2, mediaType: manifestMediaType, config, layers: rest };
    const bytes = Buffer.from(JSON.stringify(document));
    return { blobs, manifest: { bytes, digest: digestOf(bytes) } };
  });
}

/**
 * Pushes images all at once, each as its own client: what is not there yet of its blobs at the same time, then the
 * manifest under a tag. Resolves to seconds, until the last answer.
 */
export async function pushImages(origin: string, repository: string, images: readonly SmallImage[]): Promise<number> {
  const began = performance.now();
  await Promise.all(
    images.map(async ({ blobs, manifest }, index) => {
      const agent = new Agent({ keepAlive: true });
      const base = `${origin}/v2/${repository}`;
      await Promise.all(
        blobs.map(async ({ bytes, digest }) => {
          await answered(new URL(`${base}/blobs/${digest}`), { method: "HEAD", wanted: 404, agent });
          const location = await beginUpload(origin, repository, agent);
          await answered(finished(location, digest), { method: "PUT", wanted: 201, body: bytes, agent });
        }),
      );
      const url = new URL(`${base}/manifests/image-${index}`);
      await answered(url, { method: "PUT", wanted: 201, body: manifest.bytes, type: manifestMediaType, agent });
      agent.destroy();
    }),
  );
  return (performance.now() - began) / 1000;
}

function digestOf(bytes: Buffer): string {
  return `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
}

async function beginUpload(origin: string, repository: string, agent?: Agent): Promise<URL> {
  const url = new URL(`${origin}/v2/${repository}/blobs/uploads/`);
  return new URL(await answered(url, { method: "POST", wanted: 202, ...(agent && { agent }) }), origin);
}

function finished(location: URL, digest: string): URL {
  const url = new URL(location);
  url.searchParams.set("digest", digest);
  return url;
}

/** Sends a file with curl, and gives the Location of the answer. */
async function upload(method: string, url: URL, path: string, wanted: number, ...headers: string[]): Promise<string> {
  const lines = ["Content-Type: application/octet-stream", "Expect:", ...headers].flatMap((line) => ["--header", line]);
  const output = ["--silent", "--show-error", "--output", "/dev/null", "--write-out", "%{http_code} %header{location}"];
  const args = [...output, "--request", method, "--upload-file", path, ...lines, url.href];
  const { stdout } = await run(programPath("curl"), args, { timeout: limitMs });
  const [status, location = ""] = stdout.split(" ");
  if (status !== `${wanted}`) throw new Error(`${method} ${url.href}: ${stdout}`);
  return location;
}

interface Sent {
  readonly method: string;
  /** The status without which it has failed. */
  readonly wanted: number;
  readonly body?: Buffer;
  readonly type?: string;
  readonly agent?: Agent;
}

/** Sends a request, and gives the Location of the answer, whose body is read to its end. */
function answered(url: URL, { method, wanted, body, type, agent }: Sent): Promise<string> {
  return new Promise((resolve, reject) => {
    const headers = { "Content-Type": type ?? "application/octet-stream", "Content-Length": body?.length ?? 0 };
    const sent = request(url, { method, headers, timeout: limitMs, ...(agent && { agent }) }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (part: string) => (text += part));
      response.on("error", reject);
      response.on("end", () => {
        if (response.statusCode === wanted) resolve(response.headers.location ?? "");
        else reject(new Error(`${method} ${url.href}: ${response.statusCode} ${text}`));
      });
    });
    sent.on("timeout", () => sent.destroy(new Error(`${url.href}: no answer`)));
    sent.on("error", reject);
    sent.end(body);
  });
}
