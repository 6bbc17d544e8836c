/*
 * Makes the compile cache, by running the program as it is run in the image, so that what is compiled at a start and for
 * a pull is in it:
 *
 *   node compile-cache.ts FOLDER
 *
 * Node has a cache for each of its versions, each kind of processor, and each user; that of other users and processors is
 * absent, and they start as if there were none.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, request } from "node:http";
import { type AddressInfo, createServer as createSocketServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { argv, execPath } from "node:process";
import { setTimeout as rest } from "node:timers/promises";

const user = 65_532;
/** As in the Dockerfile: other flags have another cache. */
const flags = ["--max-semi-space-size=4", "--max-old-space-size=512"];
const main = "/opt/entrepot/dist/bundle/main.js";
const readyMs = 60_000;

const digestOf = (bytes: Buffer): string => `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
const blob = Buffer.alloc(300_000, "entrepot");
const mediaType = "application/vnd.oci.image.manifest.v1+json";
const config = { mediaType: "application/vnd.oci.image.config.v1+json", digest: digestOf(blob), size: blob.length };
const manifest = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, config, layers: [] }));

/** A registry with one image. */
async function startRegistry(): Promise<{ readonly host: string; readonly close: () => void }> {
  const server = createServer(({ url = "", method }, response) => {
    const isBlob = url.includes("/blobs/");
    const body = isBlob ? blob : manifest;
    const type = isBlob ? "application/octet-stream" : mediaType;
    response.setHeader("Docker-Content-Digest", digestOf(body));
    response.writeHead(200, { "Content-Type": type, "Content-Length": body.length });
    response.end(method === "HEAD" ? undefined : body);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    host: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

async function freePort(): Promise<number> {
  const server = createSocketServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

async function statusOf(url: string): Promise<number> {
  const asking = request(url, { agent: false }).end();
  const [response] = (await once(asking, "response")) as [IncomingMessage];
  await response.resume().toArray();
  return response.statusCode ?? 0;
}

/** Runs the program as the image's user, with its cache in a folder. */
function run(args: readonly string[], cache: string, folder: string): ChildProcess {
  const env = { NODE_COMPILE_CACHE: cache };
  return spawn(execPath, [...flags, main, ...args], { env, cwd: folder, uid: user, gid: user, stdio: "inherit" });
}

async function end(child: ChildProcess): Promise<void> {
  const [code] = (await once(child, "exit")) as [number | null];
  if (code !== 0) throw new Error(`the program ended with ${code}`);
}

/** Runs a mirror for two pulls, the second of which it has. */
async function serve(name: string, storage: object, cache: string, folder: string): Promise<void> {
  const registry = await startRegistry();
  const [listen, adminListen] = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`];
  const file = join(folder, `${name}.json`);
  const upstreams = [{ namespace: "docker.io", host: registry.host, tls: false }];
  writeFileSync(
    file,
    JSON.stringify({ listen, admin_listen: adminListen, upstreams, storage: { root: join(folder, name), ...storage } }),
  );
  const mirror = run(["--config", file], cache, folder);
  const ended = end(mirror);
  ended.catch(() => undefined);
  const deadline = Date.now() + readyMs;
  while ((await statusOf(`http://${listen}/readyz`).catch(() => 0)) !== 200) {
    if (mirror.exitCode !== null || Date.now() > deadline) throw new Error("the program did not start");
    await rest(20);
  }
  for (const path of ["manifests/1", `blobs/${digestOf(blob)}`, "manifests/1", `blobs/${digestOf(blob)}`]) {
    const status = await statusOf(`http://${listen}/v2/library/test/${path}`);
    if (status !== 200) throw new Error(`${path}: ${status}`);
  }
  for (const command of ["health", "du"]) await end(run(["--config", file, command], cache, folder));
  mirror.kill("SIGTERM");
  await ended;
  registry.close();
}

const cache = argv[2] ?? "cache";
mkdirSync(cache, { recursive: true });
chownSync(cache, user, user);
const folder = mkdtempSync(join(tmpdir(), "entrepot-"));
chownSync(folder, user, user);
await serve("plain", {}, cache, folder);
// Nobody answers there, so the mirror goes on without; what speaks with buckets is loaded all the same.
const bucket = { bucket: "none", endpoint: "http://127.0.0.1:1", access_key: "none", secret_key: "none" };
await serve("bucket", { type: "s3", s3: bucket }, cache, folder);
rmSync(folder, { recursive: true });
