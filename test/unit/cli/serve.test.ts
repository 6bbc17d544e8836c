import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { describe, test } from "node:test";
import { explain, type RunningApp, serve } from "../../../src/cli/serve.ts";
import { ConfigError } from "../../../src/config/config-error.ts";

/** A process that can be told what happens to it, and an app that waits to be told that it is closed. */
class Scene {
  readonly #events = new EventEmitter();
  readonly lines: string[] = [];
  err = "";
  readonly started = Promise.withResolvers<void>();
  readonly closing = Promise.withResolvers<void>();
  readonly closed = Promise.withResolvers<void>();

  serve(start: () => Promise<RunningApp> = async () => this.app()): Promise<number> {
    return serve(
      start,
      {
        onSignal: (listener) => this.#events.on("signal", listener),
        onUncaught: (listener) => this.#events.on("uncaught", listener),
      },
      (text) => {
        this.err += text;
      },
    );
  }

  app(): RunningApp {
    const write =
      (level: string) =>
      (...args: unknown[]): void => {
        this.lines.push(`${level}: ${String(args.at(-1))}`);
        if (args.at(-1) === "listening") {
          this.started.resolve();
        }
      };
    return {
      addresses: ["http://127.0.0.1:1"],
      log: { info: write("info"), error: write("error"), fatal: write("fatal"), flush: () => {} } as RunningApp["log"],
      close: () => {
        this.closing.resolve();
        return this.closed.promise;
      },
    };
  }

  signal(name: string): void {
    this.#events.emit("signal", name);
  }

  uncaught(error: unknown): void {
    this.#events.emit("uncaught", error);
  }
}

describe("serve", () => {
  test("a signal closes the app; when that is done, 0", async () => {
    const scene = new Scene();
    const exitCode = scene.serve();
    await scene.started.promise;
    scene.signal("SIGTERM");
    await scene.closing.promise;
    assert.deepEqual(scene.lines, ["info: listening", "info: stopping"]);
    scene.closed.resolve();
    assert.equal(await exitCode, 0);
    assert.deepEqual(scene.lines, ["info: listening", "info: stopping", "info: stopped"]);
  });

  test("a second signal ends it at once, 1", async () => {
    const scene = new Scene();
    const exitCode = scene.serve();
    await scene.started.promise;
    scene.signal("SIGTERM");
    await scene.closing.promise;
    scene.signal("SIGINT");
    assert.equal(await exitCode, 1);
  });

  test("a signal before it has started is not lost", async () => {
    const scene = new Scene();
    const start = Promise.withResolvers<RunningApp>();
    const exitCode = scene.serve(() => start.promise);
    scene.signal("SIGTERM");
    scene.closed.resolve();
    start.resolve(scene.app());
    assert.equal(await exitCode, 0);
  });

  test("a second signal also ends a start that hangs", async () => {
    const scene = new Scene();
    const exitCode = scene.serve(() => new Promise(() => {}));
    scene.signal("SIGTERM");
    scene.signal("SIGTERM");
    assert.equal(await exitCode, 1);
  });

  test("a close that fails is logged, 1", async () => {
    const scene = new Scene();
    const exitCode = scene.serve();
    await scene.started.promise;
    scene.signal("SIGTERM");
    scene.closed.reject(new Error("disk"));
    assert.equal(await exitCode, 1);
    assert.equal(scene.lines.at(-1), "error: stopping failed");
  });

  test("an error that nobody caught is fatal, 1", async () => {
    const scene = new Scene();
    const exitCode = scene.serve();
    await scene.started.promise;
    scene.uncaught(new Error("oops"));
    assert.equal(await exitCode, 1);
    assert.match(scene.lines.at(-1) ?? "", /^fatal: /);
    assert.equal(scene.err, "");
  });

  test("before there is a log, it goes to standard error", async () => {
    const scene = new Scene();
    const exitCode = scene.serve(() => new Promise(() => {}));
    scene.uncaught(new Error("oops"));
    assert.equal(await exitCode, 1);
    assert.equal(scene.err, "entrepot: oops\n");
  });

  test("a start that fails is one line, 1", async () => {
    const scene = new Scene();
    const cause = new Error("permission\ndenied");
    assert.equal(await scene.serve(() => Promise.reject(new Error("no root", { cause }))), 1);
    assert.equal(scene.err, "entrepot: no root: permission denied\n");
    assert.deepEqual(scene.lines, []);
  });

  test("a configuration that the app refuses is the command line's matter", async () => {
    const scene = new Scene();
    await assert.rejects(
      scene.serve(() => Promise.reject(new ConfigError(["x"]))),
      ConfigError,
    );
    assert.equal(scene.err, "");
  });
});

describe("explain", () => {
  const failure = (fields: object): Error => Object.assign(new Error("listen failed"), { syscall: "listen" }, fields);
  const cases: [string, unknown, string][] = [
    [
      "a port in use",
      failure({ code: "EADDRINUSE", address: "127.0.0.1", port: 80 }),
      "cannot listen at 127.0.0.1:80: another program listens there (EADDRINUSE)",
    ],
    [
      "IPv6",
      failure({ code: "EADDRINUSE", address: "::", port: 80 }),
      "cannot listen at [::]:80: another program listens there (EADDRINUSE)",
    ],
    [
      "a low port",
      failure({ code: "EACCES", address: "0.0.0.0", port: 80 }),
      "cannot listen at 0.0.0.0:80: permission denied (EACCES)",
    ],
    [
      "a socket",
      failure({ code: "EACCES", address: "/run/x", port: -1 }),
      "cannot listen at /run/x: permission denied, or there is no such folder (EACCES)",
    ],
    [
      "a name",
      failure({ code: "ENOTFOUND", syscall: "getaddrinfo" }),
      "cannot listen: the host name is not known (ENOTFOUND)",
    ],
    ["another call", failure({ code: "EACCES", syscall: "mkdir" }), "listen failed"],
    ["no message", new RangeError(), "RangeError"],
    ["no error", "text", "text"],
  ];
  for (const [name, error, text] of cases) {
    test(name, () => assert.equal(explain(error), text));
  }
});
