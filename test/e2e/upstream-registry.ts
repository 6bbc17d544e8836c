import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Digest } from "../../src/oci/digest.ts";
import { request } from "../support/http.ts";
import type { BuiltImage, BuiltManifest } from "../support/image.ts";
import { freePort, type Program, start } from "./programs.ts";

/** A real registry (`docker-registry`) with its content in a folder. */
export interface UpstreamRegistry extends AsyncDisposable {
  /** `127.0.0.1:<port>`. */
  readonly host: string;
  readonly program: Program;
  /** Puts an image into it: blobs, the platforms' manifests, and the tag. */
  push(repository: string, tag: string, image: BuiltImage): Promise<void>;
  /**
   * How often a blob or manifest was sent, by the registry's own access log. That of its first byte alone is the question
   * whether a repository has it.
   */
  countGets(digest: Digest): Promise<number>;
  /** Ends the registry: from then on connections to it are refused. */
  stop(): Promise<void>;
}

/** Starts an empty registry. */
export async function startUpstreamRegistry(name: string, directory: string): Promise<UpstreamRegistry> {
  const host = `127.0.0.1:${await freePort()}`;
  const file = join(directory, `${name}.yml`);
  const configuration = {
    version: 0.1,
    log: { level: "error", accesslog: { disabled: false } },
    storage: { filesystem: { rootdirectory: join(directory, name) } },
    http: { addr: host },
  };
  await writeFile(file, JSON.stringify(configuration));
  const program = await start(name, {
    directory,
    command: ["/usr/bin/docker-registry", "serve", file],
    isReady: async () => (await request(`http://${host}/v2/`)).status === 200,
  });

  return {
    host,
    program,
    push: (repository, tag, image) => pushImage(`${host}/${repository}`, tag, image),
    async countGets(digest) {
      const lines = (await program.log()).split("\n");
      const gets = lines.filter((line) => line.includes('"GET /v2/') && line.includes(`/${digest} HTTP`));
      return gets.filter((line) => !line.includes('" 206 1 "')).length;
    },
    stop: () => program.stop(),
    [Symbol.asyncDispose]: () => program.stop(),
  };
}

/** Puts an image into a repository of any registry that is pushed to without TLS: `127.0.0.1:<port>/<name>`. */
export async function pushImage(repository: string, tag: string, image: BuiltImage): Promise<void> {
  const base = repositoryUrl(repository);
  for (const [digest, bytes] of image.blobs) {
    await pushBlob(base, digest, bytes);
  }
  for (const { manifest } of image.platforms) {
    await pushManifest(repository, manifest.digest, manifest);
  }
  await pushManifest(repository, tag, image.root);
}

/** Puts a manifest under a tag or its digest; what it lists is there. */
export async function pushManifest(repository: string, reference: string, manifest: BuiltManifest): Promise<void> {
  await put(`${repositoryUrl(repository)}/manifests/${reference}`, manifest.bytes, manifest.mediaType);
}

function repositoryUrl(repository: string): string {
  const [, host, name] = /^([^/]+)\/(.+)$/.exec(repository) ?? [];
  return `http://${host}/v2/${name}`;
}

async function pushBlob(base: string, digest: Digest, bytes: Buffer): Promise<void> {
  const upload = await request(`${base}/blobs/uploads/`, { method: "POST" });
  assert.equal(upload.status, 202, upload.body.toString());
  const location = new URL(upload.headers.location ?? "", base);
  location.searchParams.set("digest", digest);
  await put(location, bytes, "application/octet-stream");
}

async function put(url: string | URL, bytes: Buffer, mediaType: string): Promise<void> {
  const headers = { "content-type": mediaType, "content-length": String(bytes.length) };
  const response = await request(url, { method: "PUT", headers, body: bytes });
  assert.equal(response.status, 201, response.body.toString());
}
