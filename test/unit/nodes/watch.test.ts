import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer as createTcpServer } from "node:net";
import { describe, test } from "node:test";
import type { Clock } from "../../../src/concurrency/clock.ts";
import { probe } from "../../../src/nodes/probe.ts";
import { watch, type WatchOptions } from "../../../src/nodes/watch.ts";
import { request } from "../../support/http.ts";
import { createListener, type Listener } from "../../support/listener.ts";
import { NodeFolder, oneFolder, settingsOf } from "../../support/node-folder.ts";

const hosts = "etc/containerd/certs.d/docker.io/hosts.toml";

/** A clock whose waits end when the test says so. */
class Steps implements Clock {
  #arrived = Promise.withResolvers<void>();
  #go: (() => void) | undefined;

  now(): number {
    return 0;
  }

  monotonic(): number {
    return 0;
  }

  async wait(_ms: number, signal: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    signal.addEventListener("abort", () => reject(signal.reason as Error), { once: true });
    if (signal.aborted) reject(signal.reason as Error);
    this.#go = resolve;
    this.#arrived.resolve();
    await promise;
  }

  /** Resolves when a check is done. */
  arrived(): Promise<void> {
    return this.#arrived.promise;
  }

  /** Lets the next check be done. */
  async next(): Promise<void> {
    await this.arrived();
    this.#arrived = Promise.withResolvers();
    this.#go?.();
    await this.arrived();
  }
}

/** A mirror as it answers to probes. */
function createMirror(): Promise<Listener> {
  return createListener((_, response) => {
    response.setHeader("Docker-Distribution-Api-Version", "registry/2.0").end("{}");
  });
}

/** A watch of a node, and what it has logged. */
class World implements AsyncDisposable {
  readonly steps = new Steps();
  readonly lines: string[] = [];
  readonly node: NodeFolder;
  readonly ended: Promise<boolean>;
  readonly #stop = new AbortController();

  constructor(node: NodeFolder, options: Partial<WatchOptions>) {
    this.node = node;
    const add = (fields: object, message: string): unknown =>
      this.lines.push([message, ...Object.values(fields)].join(" "));
    const log = { info: add, warn: add, error: add } as never;
    const all = {
      settings: settingsOf(node),
      wanted: undefined,
      relay: undefined,
      probeListen: undefined,
      intervalMs: 1,
      ...options,
    };
    this.ended = watch(all, { log, clock: this.steps, stop: this.#stop.signal });
    this.ended.catch(() => undefined);
  }

  async stop(): Promise<boolean> {
    this.#stop.abort();
    return this.ended;
  }

  async isWritten(): Promise<boolean> {
    return hosts in (await this.node.everything());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop().catch(() => undefined);
  }
}

const createNode = (files: Record<string, string> = {}): Promise<NodeFolder> =>
  NodeFolder.create({ "etc/containerd/config.toml": oneFolder, ...files });

/** A port of 127.0.0.1 at which nobody listens. */
async function freePort(): Promise<number> {
  const listener = await createListener(() => undefined);
  await listener.down();
  return Number(listener.host.replace(/.*:/, ""));
}

describe("a watch", () => {
  test("writes when the mirror answers, and takes back in the end", async () => {
    await using node = await createNode();
    const before = await node.everything();
    const mirror = await createMirror();
    await mirror.down();
    await using world = new World(node, { wanted: { mirror: `http://${mirror.host}`, registries: ["docker.io"] } });
    await world.steps.arrived();
    assert.equal(await world.isWritten(), false);
    await world.steps.next();
    await mirror.up();
    await world.steps.next();
    assert.equal(await world.isWritten(), true);
    await world.steps.next();
    assert.equal(await world.stop(), true);
    assert.deepEqual(await node.everything(), before);
    const down = `the mirror does not answer http://${mirror.host} connect ECONNREFUSED ${mirror.host}`;
    assert.deepEqual(world.lines, [down, `written /${hosts}`, `removed /${hosts}`]);
    await mirror.down();
  });

  test("withdraws after three checks without an answer, not before, and writes again", async () => {
    await using node = await createNode();
    const mirror = await createMirror();
    await using world = new World(node, { wanted: { mirror: `http://${mirror.host}`, registries: ["docker.io"] } });
    await world.steps.arrived();
    await mirror.down();
    await world.steps.next();
    await world.steps.next();
    assert.equal(await world.isWritten(), true);
    await mirror.up();
    await world.steps.next();
    await mirror.down();
    for (const isWritten of [true, true, false, false]) {
      await world.steps.next();
      assert.equal(await world.isWritten(), isWritten);
    }
    await mirror.up();
    await world.steps.next();
    assert.equal(await world.isWritten(), true);
    await mirror.down();
    await world.steps.next();
    assert.ok(world.lines.includes(`the mirror answers again http://${mirror.host}`));
    // Once for each time that it was away.
    assert.equal(world.lines.filter((line) => line.startsWith("the mirror does not answer")).length, 3);
    await mirror.down();
  });

  test("puts back what another process of the same owner has taken away", async () => {
    await using node = await createNode();
    const mirror = await createMirror();
    const wanted = { mirror: `http://${mirror.host}`, registries: ["docker.io"] };
    await using old = new World(node, { wanted });
    await old.steps.arrived();
    await using next = new World(node, { wanted });
    await next.steps.arrived();
    assert.equal(await old.stop(), true);
    assert.equal(await next.isWritten(), false);
    await next.steps.next();
    assert.equal(await next.isWritten(), true);
    await mirror.down();
  });

  test("is ready when the files are as they should be, and says why not", async () => {
    await using node = await createNode();
    const mirror = await createMirror();
    const port = await freePort();
    const ready = async (): Promise<string> => {
      const { status, body } = await request(`http://127.0.0.1:${port}/readyz`);
      return `${status} ${body.toString()}`;
    };
    await using world = new World(node, {
      wanted: { mirror: `http://${mirror.host}`, registries: ["docker.io"] },
      probeListen: { host: "127.0.0.1", port },
    });
    await world.steps.arrived();
    assert.equal(await ready(), "200 ok\n");
    await mirror.down();
    await world.steps.next();
    assert.equal(await ready(), `503 http://${mirror.host} does not answer: connect ECONNREFUSED ${mirror.host}\n`);
    assert.equal((await request(`http://127.0.0.1:${port}/healthz`)).status, 200);
    await mirror.up();
    await node.write({ [hosts]: "[host" });
    await world.steps.next();
    assert.match(await ready(), /^503 \/etc\/.*hosts\.toml: it is no valid TOML/);
    assert.equal((await request(`http://127.0.0.1:${port}/metrics`)).status, 404);
    await mirror.down();
  });

  test("says once what it could not write, and fails in the end where something of ours is left", async () => {
    await using node = await createNode();
    const mirror = await createMirror();
    await using world = new World(node, { wanted: { mirror: `http://${mirror.host}`, registries: ["docker.io"] } });
    await world.steps.arrived();
    await node.write({ [hosts]: (await node.read(hosts)).replace("2s", "9s") });
    await world.steps.next();
    await world.steps.next();
    assert.equal(await world.stop(), false);
    assert.equal(world.lines.filter((line) => line.startsWith("left ")).length, 1);
    await mirror.down();
  });

  test("with nothing wanted it keeps all of this owner's away", async () => {
    await using node = await createNode();
    const mirror = await createMirror();
    const writer = new World(node, { wanted: { mirror: `http://${mirror.host}`, registries: ["docker.io"] } });
    await writer.steps.arrived();
    await using world = new World(node, {});
    await world.steps.arrived();
    assert.equal(await world.isWritten(), false);
    assert.equal(await world.stop(), true);
    await writer.stop();
    await mirror.down();
  });
});

describe("a watch with a relay", () => {
  test("asks for the mirror through it, and stops it after the files are gone", async () => {
    await using node = await createNode();
    const mirror = await createMirror();
    const port = await freePort();
    const [host = "", targetPort] = mirror.host.split(":");
    await using world = new World(node, {
      wanted: { mirror: `http://127.0.0.1:${port}`, registries: ["docker.io"] },
      relay: { listen: { host: "127.0.0.1", port }, target: { host, port: Number(targetPort) } },
    });
    await world.steps.arrived();
    assert.match(await node.read(hosts), new RegExp(`"http://127\\.0\\.0\\.1:${port}"`));
    await mirror.down();
    await world.steps.next();
    await world.steps.next();
    const [failed, unanswered, ...others] = world.lines.slice(1);
    assert.equal(failed, `relay failed ${mirror.host} connect ECONNREFUSED ${mirror.host}`);
    assert.match(unanswered ?? "", new RegExp(`^the mirror does not answer http://127\\.0\\.0\\.1:${port} `));
    // Each is said once, unless the system has another word for it.
    assert.ok(
      others.every((line) => line.startsWith("the mirror does not answer")),
      others.join("\n"),
    );
    await mirror.up();
    await world.steps.next();
    assert.equal(await world.stop(), true);
    assert.equal(await probe(`http://127.0.0.1:${port}`, 5_000), `connect ECONNREFUSED 127.0.0.1:${port}`);
    await mirror.down();
  });

  test("that cannot listen fails; what an earlier process wrote stays while a mirror is there, else it is withdrawn", async () => {
    await using node = await createNode();
    const mirror = await createMirror();
    const wanted = { mirror: `http://${mirror.host}`, registries: ["docker.io"] };
    const [host = "", port] = mirror.host.split(":");
    const relay = { listen: { host, port: Number(port) }, target: { host: "127.0.0.1", port: 1 } };
    const first = new World(node, { wanted, relay });
    await assert.rejects(first.ended, { code: "EADDRINUSE" });
    assert.equal(await first.isWritten(), false);
    await using writer = new World(node, { wanted });
    await writer.steps.arrived();
    await assert.rejects(new World(node, { wanted, relay }).ended, { code: "EADDRINUSE" });
    const written = await node.read(hosts);
    await mirror.down();
    const stranger = createTcpServer((socket) => socket.end("what?\r\n")).listen(Number(port), host);
    await once(stranger, "listening");
    await assert.rejects(new World(node, { wanted, relay }).ended, { code: "EADDRINUSE" });
    assert.equal(await writer.isWritten(), false);
    await writer.node.write({ [hosts]: written });
    await assert.rejects(new World(node, { wanted, probeListen: relay.listen }).ended, { code: "EADDRINUSE" });
    assert.equal(await writer.isWritten(), false);
    stranger.close();
  });
});

describe("an address that is asked", () => {
  const answers: [name: string, status: number, version: string | undefined, why: string | undefined][] = [
    ["a registry", 200, "registry/2.0", undefined],
    ["a registry that wants a login", 401, "registry/2.0", "it answers 401 to GET /v2/"],
    ["a web server", 200, undefined, "it answers, and is no registry"],
    ["a web server without the page", 404, undefined, "it answers 404 to GET /v2/"],
  ];
  for (const [name, status, version, why] of answers) {
    test(name, async () => {
      const paths: (string | undefined)[] = [];
      const listener = await createListener((asked, response) => {
        paths.push(asked.url);
        response
          .writeHead(status, version === undefined ? {} : { "Docker-Distribution-Api-Version": version })
          .end("{}");
      });
      assert.equal(await probe(`http://${listener.host}`, 5_000), why);
      assert.deepEqual(paths, ["/v2/"]);
      await listener.down();
    });
  }

  test("what accepts and says nothing, or does not end, is given up", async () => {
    const silent = await createListener(() => undefined);
    assert.equal(await probe(`http://${silent.host}`, 50), "no answer within 0.05 s");
    await silent.down();
    const endless = await createListener((_, response) => {
      response.writeHead(200, { "Docker-Distribution-Api-Version": "registry/2.0" }).write("{");
    });
    assert.equal(await probe(`http://${endless.host}`, 50), "no answer within 0.05 s");
    await endless.down();
  });
});
