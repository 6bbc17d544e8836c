/* The container image: buildah makes it of the Dockerfile, podman runs it, a client pulls through it. */
import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { createBarrier } from "../support/barrier.ts";
import { pseudoRandomBytes } from "../support/content.ts";
import { until } from "../support/event-loop.ts";
import { open, request } from "../support/http.ts";
import { createTemporaryDirectory, type TemporaryDirectory } from "../support/temporary.ts";
import { createUpstream } from "../support/upstream.ts";
import { writeContainersConfiguration } from "./containers-configuration.ts";
import { ImageEngines } from "./image.ts";
import { freePort, run } from "./programs.ts";

const mib = 1024 * 1024;
const image = "localhost/entrepot:test";

describe("the container image", () => {
  let directory: TemporaryDirectory;
  let engines: ImageEngines;

  const podman = (...args: string[]): Promise<string> => engines.podman(...args);

  before(async () => {
    directory = await createTemporaryDirectory();
    engines = await ImageEngines.create(directory.path);
    await engines.build(image, "1.2.3");
  });
  after(async () => {
    await engines[Symbol.asyncDispose]();
    await directory[Symbol.asyncDispose]();
  });

  /** Runs it as a cautious user does; its program's process is that of `pid`. */
  async function start(upstream: string, ...variables: string[]): Promise<AsyncDisposable & Container> {
    const host = `127.0.0.1:${await freePort()}`;
    const configuration = join(directory.path, `${host.replace(":", "-")}.yaml`);
    await writeFile(
      configuration,
      JSON.stringify({ upstreams: [{ namespace: "docker.io", host: upstream, tls: false }] }),
    );
    const restrictions = [
      "--read-only",
      "--read-only-tmpfs=false",
      "--cap-drop=all",
      "--security-opt=no-new-privileges",
    ];
    // podman's own timer for it is systemd's; here it is asked for.
    const more = ["--network=host", "--health-interval=disable", "--volume", `${configuration}:/etc/entrepot.yaml:ro`];
    const env = [`LISTEN=${host}`, "CONFIG=/etc/entrepot.yaml", ...variables].flatMap((each) => ["--env", each]);
    const id = (await podman("run", "--detach", ...restrictions, ...more, ...env, image)).trim();
    const remove = async (): Promise<void> => void (await podman("rm", "--force", "--volumes", "--time=0", id));
    try {
      await until(async () => (await request(`http://${host}/readyz`).catch(() => undefined))?.status === 200);
      const pid = Number(await podman("inspect", "--format", "{{.State.Pid}}", id));
      return { id, host, pid, [Symbol.asyncDispose]: remove };
    } catch (error) {
      const log = await podman("logs", id);
      await remove();
      throw new Error(`the container did not become ready\n${log}`, { cause: error });
    }
  }

  test("says what it is, and runs as a user that is not root", async () => {
    const [{ Config: config }] = JSON.parse(await podman("image", "inspect", image)) as [{ Config: ImageConfig }];
    assert.equal(config.User, "65532:65532");
    assert.deepEqual(config.Volumes, { "/var/lib/entrepot": {} });
    assert.deepEqual(config.ExposedPorts, { "8080/tcp": {} });
    assert.deepEqual(config.Entrypoint.slice(0, 1), ["node"]);
    assert.equal(config.Labels["org.opencontainers.image.version"], "1.2.3");
    assert.equal(config.Labels["org.opencontainers.image.licenses"], "Apache-2.0");
  });

  test("is small, and is healthy", async (context) => {
    await using upstream = await createUpstream();
    await using container = await start(upstream.host);
    const { pid, id } = container;
    const status = await readFile(`/proc/${pid}/status`, "utf8");
    assert.match(status, /^Uid:\s+65532\s+65532\s+65532\s+65532$/m);
    context.diagnostic(
      `resident when it is ready: ${Math.round(Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024)} MiB`,
    );
    context.diagnostic(`from its start until it listens: ${await startMs(container)} ms`);
    const [{ Size: size }] = JSON.parse(await podman("image", "inspect", image)) as [{ Size: number }];
    const more = size - (await readFile(process.execPath)).length;
    context.diagnostic(`size beyond Node: ${(more / mib).toFixed(1)} MiB`);
    assert.ok(more < 80 * mib);

    await podman("healthcheck", "run", id);
    await assert.rejects(podman("exec", id, "node", "--eval", 'require("fs").writeFileSync("/opt/x", "")'), /EROFS/);
  });

  test("all that a start and a pull load is compiled already, in its threads too; SIGINT ends it as well", async () => {
    await using upstream = await createUpstream();
    const path = `/v2/library/test/blobs/${upstream.addBlob(pseudoRandomBytes(300_000, "compiled"))}`;
    await using container = await start(upstream.host, "NODE_DEBUG_NATIVE=COMPILE_CACHE");
    assert.equal((await request(`http://${container.host}${path}`)).status, 200);
    await podman("kill", "--signal=INT", container.id);
    assert.equal((await podman("wait", container.id)).trim(), "0");
    // What is written to standard error, too.
    const log = (await podman("inspect", "--format", "{{.HostConfig.LogConfig.Path}}", container.id)).trim();
    const loaded = (await readFile(log, "utf8")).matchAll(/V8 code cache for ESM \S*\/(\S+?)\.js was (\w+ ?\w+)/g);
    const found = new Map([...loaded].map(([, name = "", outcome = ""]) => [name.replace(/-.{8}$/, ""), outcome]));
    for (const name of ["main", "command", "configuration", "server", "thread", "hash-worker"]) {
      assert.equal(found.get(name), "accepted", name);
    }
    assert.deepEqual(
      [...found.values()].filter((outcome) => outcome !== "accepted"),
      [],
    );
  });

  test("a client pulls through it", async () => {
    await using upstream = await createUpstream();
    const { digest } = upstream.addImage("library/test", "1", { layerBytes: 2_000_000 });
    await using container = await start(upstream.host);
    const { registries, policy } = await writeContainersConfiguration(directory.path, container.host, ["docker.io"]);
    const copy = async (name: string): Promise<string> => {
      const target = join(directory.path, name);
      const common = ["--registries-conf", registries, "--policy", policy];
      await run(["/usr/bin/skopeo", ...common, "copy", "docker://docker.io/library/test:1", `dir:${target}`]);
      return readFile(join(target, "manifest.json"), "utf8");
    };
    const first = await copy("first");
    const asked = upstream.requests.length;
    assert.equal(await copy("second"), first);
    assert.equal(upstream.requests.length, asked, digest);
  });

  test("SIGTERM lets running answers end, then it ends with 0", async () => {
    await using upstream = await createUpstream();
    const bytes = pseudoRandomBytes(300_000, "image");
    const path = `/v2/library/test/blobs/${upstream.addBlob(bytes)}`;
    const barrier = createBarrier();
    upstream.when({ path }, { stallAfterBytes: 100_000, stallAt: barrier });
    await using container = await start(upstream.host);
    using response = await open(`http://${container.host}${path}`);
    const stopped = podman("stop", "--time=60", container.id);
    await until(async () => (await podman("logs", container.id)).includes('"msg":"stopping"'));
    barrier.release();
    assert.ok((await response.rest()).equals(bytes));
    await stopped;
    assert.equal((await podman("inspect", "--format", "{{.State.ExitCode}}", container.id)).trim(), "0");
    assert.match(await podman("logs", container.id), /"msg":"stopped"\}\n$/);
  });

  /** Milliseconds from when the process was made until its log says that it listens. */
  async function startMs({ id, pid }: Container): Promise<number> {
    const lines = (await podman("logs", id)).trim().split("\n");
    const listening = lines
      .map((line) => JSON.parse(line) as Record<string, string>)
      .find(({ msg }) => msg === "listening");
    const sinceBoot = Number((await readFile("/proc/uptime", "utf8")).split(" ")[0]) * 1_000;
    const made = Number((await readFile(`/proc/${pid}/stat`, "utf8")).split(") ")[1]?.split(" ")[19]) * 10;
    return Math.round(Date.parse(listening?.["time"] ?? "") - (Date.now() - sinceBoot + made));
  }
});

interface Container {
  readonly id: string;
  readonly host: string;
  readonly pid: number;
}

interface ImageConfig {
  readonly User: string;
  readonly Volumes: object;
  readonly ExposedPorts: object;
  readonly Entrypoint: readonly string[];
  readonly Labels: Readonly<Record<string, string>>;
}
