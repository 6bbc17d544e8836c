import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import type { BucketServer } from "./bucket.ts";
import { Child, freePort } from "./child.ts";
import { type Blob, type ContentTree, type Image, manifestMediaType } from "./content.ts";
import { programPath } from "./programs.ts";
import type { UpstreamRegistry } from "./upstream.ts";

/**
 * The servers that are compared. `entrepot` is what `npm start` runs; `entrepot-uncached` is the same as at its very
 * first start, without Node's compile cache; `entrepot-dist` is the compiled program of the package, and `entrepot-bucket`
 * the same as `entrepot` with the bucket of its place behind the folder, `entrepot-replica` one of several on that.
 * `nginx-in-front` is set up as docs/nginx.md says, and has the other server's folder as `/alone/`, too. `docker-registry`
 * is distribution 2.8, `distribution-3` its successor.
 */
export type ServerName =
  | "entrepot"
  | "entrepot-uncached"
  | "entrepot-dist"
  | "entrepot-bucket"
  | "entrepot-replica"
  | "nginx"
  | "nginx-in-front"
  | RegistryName;

/** Other registries, and pull-through caches. */
export type RegistryName = "docker-registry" | "distribution-3";

/** What servers are started with. */
export interface Place {
  /** A folder for their data. */
  readonly folder: string;
  readonly content: ContentTree;
  readonly images: readonly Image[];
  readonly upstream: UpstreamRegistry;
  /** The program of distribution 3, where there is one. */
  readonly distribution: string | undefined;
  /** Behind the folder of `entrepot-bucket`. */
  readonly bucket?: BucketServer;
  /** Whether `entrepot` and the other registries are pushed to, below `apps/`, and are no caches. */
  readonly isHosted?: boolean;
  /** Whether `entrepot` lets an nginx send its blobs. */
  readonly isAccelerated?: boolean;
  /** The `entrepot` behind `nginx-in-front`. */
  readonly behind?: Server;
}

/** A running server, ready to be asked. */
export interface Server {
  readonly name: ServerName;
  readonly origin: string;
  /** The folder of its storage. */
  readonly root: string;
  readonly child: Child;
  /** From before its process was started to the first answer 200, in milliseconds. */
  readonly readyMs: number;
  /** Waits until a blob that was pulled lies in the server's own storage. */
  stored(blob: Blob): Promise<void>;
  /** Ends the process and removes its data. */
  [Symbol.asyncDispose](): Promise<void>;
}

interface Recipe {
  readonly command: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly readyPath: string;
  /** Where a blob lies when it is stored. */
  readonly blobPath: (hex: string) => string;
}

const projectFolder = fileURLToPath(new URL("..", import.meta.url));
let started = 0;

/** Whether `npm run build` has been run. */
export function hasDist(): boolean {
  return existsSync(join(projectFolder, "dist", "main.js"));
}

/** The command that `npm start` runs, with these arguments for the program. */
export function entrepotCommand(args: readonly string[]): Pick<Recipe, "command" | "args" | "env"> {
  return nodeCommand(join(projectFolder, "src", "main.ts"), args);
}

/** Starts a server with empty storage. `upstreamSettings` are more of those that Entrepot has for its upstream. */
export async function startServer(name: ServerName, place: Place, upstreamSettings: object = {}): Promise<Server> {
  started += 1;
  const folder = join(place.folder, `${name}-${started}`);
  mkdirSync(join(folder, "data"), { recursive: true });
  const port = await freePort();
  const recipe = recipes[name](folder, port, place, upstreamSettings);
  const origin = `http://127.0.0.1:${port}`;
  const began = performance.now();
  const child = new Child(recipe.command, recipe.args, join(folder, "output.log"), recipe.env);
  const dispose = async (): Promise<void> => {
    await child.stop();
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await child.ready(`${origin}${recipe.readyPath}`);
  } catch (error) {
    await dispose();
    throw error;
  }
  return {
    name,
    origin,
    root: join(folder, "data"),
    child,
    readyMs: performance.now() - began,
    stored: (blob) => waitForFile(recipe.blobPath(blob.digest.replace(/^sha256:/, "")), blob.sizeBytes),
    [Symbol.asyncDispose]: dispose,
  };
}

type MakeRecipe = (folder: string, port: number, place: Place, upstreamSettings: object) => Recipe;

const recipes: Record<ServerName, MakeRecipe> = {
  entrepot: (...settings) => entrepot(join(projectFolder, "src", "main.ts"), ...settings),
  "entrepot-uncached": (...settings) => ({
    ...recipes.entrepot(...settings),
    env: { NODE_DISABLE_COMPILE_CACHE: "1" },
  }),
  "entrepot-dist": (...settings) => entrepot(join(projectFolder, "dist", "main.js"), ...settings),
  "entrepot-bucket"(folder, port, place, upstreamSettings) {
    if (place.bucket === undefined) throw new Error("there is no bucket");
    const { settings } = place.bucket;
    return entrepot(join(projectFolder, "src", "main.ts"), folder, port, place, upstreamSettings, settings);
  },
  "entrepot-replica"(folder, port, place, upstreamSettings) {
    if (place.bucket === undefined) throw new Error("there is no bucket");
    const { settings } = place.bucket;
    const more = { replicas: { listen: "127.0.0.1:0", secret: "a-secret-that-the-replicas-of-the-bench-share" } };
    return entrepot(join(projectFolder, "src", "main.ts"), folder, port, place, upstreamSettings, settings, more);
  },
  nginx(folder, port, { content, images }) {
    const digests = images.map(({ manifestPath, manifestDigest }) => `    "${manifestPath}" ${manifestDigest};`);
    return nginx(folder, staticServer(port, content.root, digests), () => join(content.root, "v2"));
  },
  "nginx-in-front"(folder, port, { behind }) {
    if (behind === undefined) throw new Error("there is nothing behind nginx");
    return nginx(folder, serverInFront(port, behind), () => behind.root);
  },
  "docker-registry": (folder, port, place) => registry(programPath("docker-registry"), folder, port, place),
  "distribution-3"(folder, port, place) {
    if (place.distribution === undefined) throw new Error("distribution 3 is not there");
    // It would look for a collector of traces.
    return { ...registry(place.distribution, folder, port, place), env: { OTEL_TRACES_EXPORTER: "none" } };
  },
};

/** The other pull-through caches that are there. */
export function registriesOf({ distribution }: Pick<Place, "distribution">): readonly RegistryName[] {
  return distribution === undefined ? ["docker-registry"] : ["docker-registry", "distribution-3"];
}

/** Distribution of either version. */
function registry(program: string, folder: string, port: number, { upstream, isHosted }: Place): Recipe {
  const root = join(folder, "data");
  // JSON is YAML.
  const config = {
    version: "0.1",
    log: { level: "info" },
    storage: {
      filesystem: { rootdirectory: root },
      cache: { blobdescriptor: "inmemory" },
      delete: { enabled: true },
    },
    http: { addr: `127.0.0.1:${port}` },
    ...(isHosted === true ? {} : { proxy: { remoteurl: upstream.origin } }),
  };
  writeFileSync(join(folder, "config.yml"), JSON.stringify(config));
  return {
    command: program,
    args: ["serve", join(folder, "config.yml")],
    readyPath: "/v2/",
    blobPath: (hex) => join(root, "docker/registry/v2/blobs/sha256", hex.slice(0, 2), hex, "data"),
  };
}

function entrepot(
  program: string,
  folder: string,
  port: number,
  { upstream, isHosted, isAccelerated }: Place,
  upstreamSettings: object,
  s3?: object,
  more: object = {},
): Recipe {
  const root = join(folder, "data");
  const config = {
    storage: s3 === undefined ? { type: "filesystem", root } : { type: "s3", root, s3 },
    upstreams: [{ namespace: "docker.io", host: upstream.host, tls: false, ...upstreamSettings }],
    ...(isHosted === true ? { hosted: [{ namespace: "apps" }] } : {}),
    ...(isAccelerated === true ? { accel_redirect: "/internal/" } : {}),
    ...more,
  };
  writeFileSync(join(folder, "config.yaml"), JSON.stringify(config));
  return {
    ...nodeCommand(program, ["--listen", `127.0.0.1:${port}`, "--config", join(folder, "config.yaml")]),
    readyPath: "/readyz",
    blobPath: (hex) => join(root, "blobs/sha256", hex.slice(0, 2), hex.slice(2)),
  };
}

/**
 * Node with the flags and the variables that `npm start`, or the compiled program's first line, starts it with, and what
 * `ENTREPOT_NODE_FLAGS` adds, such as `--cpu-prof`.
 */
function nodeCommand(program: string, args: readonly string[]): Pick<Recipe, "command" | "args" | "env"> {
  const [path, line] = program.endsWith(".js")
    ? [program, /^#!.*/]
    : [join(projectFolder, "package.json"), /"start": ".*"/];
  const words = line.exec(readFileSync(path, "utf8"))?.[0].split(/[\s"]+/) ?? [];
  const more = process.env["ENTREPOT_NODE_FLAGS"]?.split(" ").filter((flag) => flag !== "") ?? [];
  const variables = words.flatMap((word) => {
    const [, name = "", value = ""] = /^([A-Z_]+)=(.+)$/.exec(word) ?? [];
    return name === "" ? [] : [[name, resolve(projectFolder, value)] as const];
  });
  return {
    command: process.execPath,
    args: [...words.filter((word) => word.startsWith("--")), ...more, program, ...args],
    env: Object.fromEntries(variables),
  };
}

/** As Debian sets it up: sendfile, tcp_nopush, an access log, a worker per core. */
function nginx(folder: string, http: string, blobPath: Recipe["blobPath"]): Recipe {
  const file = join(folder, "nginx.conf");
  writeFileSync(
    file,
    `
daemon off;
${process.getuid?.() === 0 ? "user root;" : ""}
worker_processes auto;
pid ${folder}/nginx.pid;
error_log ${folder}/error.log;
events { worker_connections 4096; }
http {
  sendfile on;
  tcp_nopush on;
  keepalive_requests 10000000;
  access_log ${folder}/access.log;
  client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy; fastcgi_temp_path ${folder}/fastcgi;
  uwsgi_temp_path ${folder}/uwsgi; scgi_temp_path ${folder}/scgi;
  ${http}
}
`,
  );
  const args = ["-e", join(folder, "error.log"), "-p", folder, "-c", file];
  return { command: programPath("nginx"), args, readyPath: "/v2/", blobPath };
}

/** Files with the headers of a registry. */
function staticServer(port: number, root: string, digests: readonly string[]): string {
  return `
  map $uri $tag_digest {
    default $uri_digest;
${digests.join("\n")}
  }
  map $uri $uri_digest { "~(?<found>sha256:[0-9a-f]+)$" $found; default ""; }
  server {
    listen 127.0.0.1:${port} backlog=1024;
    root ${root};
    add_header Docker-Distribution-Api-Version registry/2.0;
    add_header Docker-Content-Digest $tag_digest;
    location = /v2/ { default_type application/json; return 200 "{}"; }
    location ~ /manifests/ { types {} default_type ${manifestMediaType}; }
    location ~ /blobs/ { types {} default_type application/octet-stream; }
  }`;
}

/** The example of docs/nginx.md, and the same files without asking anybody. */
function serverInFront(port: number, { origin, root }: Server): string {
  const page = readFileSync(join(projectFolder, "docs", "nginx.md"), "utf8");
  const [, example = ""] = /```nginx\n(upstream entrepot [\s\S]*?)\}\n```/.exec(page) ?? [];
  return `${example
    .replace("listen 80;", `listen 127.0.0.1:${port} backlog=1024;`)
    .replace("server 127.0.0.1:8080;", `server ${new URL(origin).host};`)
    .replace("alias /var/lib/entrepot/;", `alias ${root}/;`)}
    location /alone/ { alias ${root}/; }
  }`;
}

async function waitForFile(path: string, sizeBytes: number): Promise<void> {
  for (let waited = 0; waited < 120_000; waited += 50) {
    const info = statSync(path, { throwIfNoEntry: false });
    if (info !== undefined && (info.isDirectory() || info.size === sizeBytes)) return;
    await delay(50);
  }
  throw new Error(`${path} was not stored in 120 s`);
}
