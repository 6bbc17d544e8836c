import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { runCommandLine } from "../../../src/cli/program.ts";
import { createListener } from "../../support/listener.ts";
import { NodeFolder } from "../../support/node-folder.ts";

interface Outcome {
  readonly exitCode: number;
  readonly out: string;
  readonly err: string;
}

/** Runs `node` with these words. */
async function run(args: readonly string[], env: Record<string, string> = {}, stop?: AbortSignal): Promise<Outcome> {
  let out = "";
  let err = "";
  const terminal = {
    env,
    readFile: () => assert.fail("no file is read here"),
    out: (text: string) => (out += text),
    err: (text: string) => (err += text),
  };
  const actions = {
    serve: () => assert.fail("nothing is served"),
    openStore: () => assert.fail("nothing is opened"),
    stopSignal: () => stop ?? assert.fail("nothing stays here"),
  };
  const person = { screen: undefined, ask: undefined, onInterrupt: () => () => undefined };
  const exitCode = await runCommandLine(["node", ...args], terminal, "1.2.3", actions, person);
  return { exitCode, out, err };
}

const hosts = "/etc/containerd/certs.d/docker.io/hosts.toml";
const config =
  'version = 3\n[plugins."io.containerd.cri.v1.images".registry]\nconfig_path = "/etc/containerd/certs.d"\n';

describe("by hand", () => {
  test("write, status and remove say what they did, and by exit code whether all is in order", async () => {
    await using node = await NodeFolder.create({ "etc/containerd/config.toml": config });
    const mirror = await createListener((_, response) => {
      response.setHeader("Docker-Distribution-Api-Version", "registry/2.0").end("{}");
    });
    const env = { ENTREPOT_NODE_HOST_ROOT: `${node.path}/` };
    const all = ["--mirror", `http://${mirror.host}`, "--registry", "docker.io"];
    const ok = { exitCode: 0, err: "" };
    assert.deepEqual(await run(["status"], env), { ...ok, out: "nothing of entrepot is here\n" });
    assert.deepEqual(await run(["status", ...all], env), { ...ok, exitCode: 1, out: `missing: ${hosts}\n` });
    assert.deepEqual(await run(["write", ...all], env), { ...ok, out: `written: ${hosts}\n` });
    assert.deepEqual(await run(["status", ...all], env), { ...ok, out: `there: ${hosts}\n` });
    assert.deepEqual(await run(["status"], env), { ...ok, out: `there: ${hosts}\n` });
    assert.deepEqual(await run(["status", "--owner", "b"], env), { ...ok, out: "nothing of b is here\n" });
    const more = await run(["status", "--mirror", `http://${mirror.host}`], {
      ...env,
      ENTREPOT_NODE_REGISTRY: "quay.io ghcr.io",
    });
    assert.deepEqual([more.exitCode, more.out.split("\n").length], [1, 4]);
    await mirror.down();
    const down = `http://${mirror.host} does not answer: connect ECONNREFUSED ${mirror.host}`;
    assert.deepEqual(await run(["status", ...all], env), { ...ok, exitCode: 1, out: `${down}\nthere: ${hosts}\n` });
    assert.deepEqual(await run(["remove"], env), { ...ok, out: `removed: ${hosts}\n` });
    assert.deepEqual(await run(["write", ...all], env), {
      exitCode: 1,
      out: "",
      err: `entrepot: nothing is written, as ${down}\n`,
    });
    assert.ok(!(hosts.slice(1) in (await node.everything())));
  });

  test("what is not used yet is said, and what is in the way", async () => {
    await using node = await NodeFolder.create({ "etc/containerd/config.toml": "version = 2\n", [hosts]: "[" });
    const { exitCode, out } = await run([
      "status",
      "--registry=docker.io",
      "--mirror=http://127.0.0.1:1",
      "--host-root",
      node.path,
    ]);
    assert.equal(exitCode, 1);
    assert.match(out, /^left alone: \/etc\/containerd\/certs\.d\/docker\.io\/hosts\.toml: it is no valid TOML/m);
    assert.match(out, /^note: \/etc\/containerd\/config\.toml sets no config_path: containerd 2\.2 and later looks/m);
  });

  test("where the node's folders are not, nothing is said to be gone", async () => {
    await using node = await NodeFolder.create();
    const { exitCode, err } = await run(["remove", "--host-root", `${node.path}/nowhere`]);
    assert.deepEqual([exitCode, err], [1, `entrepot: there is no folder ${node.path}/nowhere\n`]);
  });
});

describe("until SIGTERM", () => {
  test("remove --stay ends with 0 when nothing is left", async () => {
    await using node = await NodeFolder.create({ "etc/containerd/config.toml": config });
    const outcome = await run(["remove", "--stay", "--host-root", node.path], {}, AbortSignal.abort());
    assert.deepEqual(outcome, { exitCode: 0, out: "", err: "" });
  });

  test("watch that cannot listen ends with 1", async () => {
    await using node = await NodeFolder.create();
    const other = await createListener(() => undefined);
    const relay = `--relay=${other.host}=127.0.0.1:1`;
    const stop = new AbortController();
    const watching = run(["watch", relay, "--registry=docker.io", `--host-root=${node.path}`], {}, stop.signal);
    const { exitCode, err } = await watching;
    assert.deepEqual(
      [exitCode, err],
      [1, `entrepot: cannot listen at ${other.host}: another program listens there (EADDRINUSE)\n`],
    );
    await other.down();
  });
});

describe("what is asked for wrongly", () => {
  const mirror = "--mirror=http://m.example.com";
  const docker = "--registry=docker.io";
  const cases: [args: string[], err: RegExp][] = [
    [[], /^entrepot: name one: node watch, write, remove, status or await\n$/],
    [["wriet"], /^entrepot: unknown command "wriet"; the commands are watch, write, remove, status, await\n$/],
    [["write", docker], /^entrepot: --mirror: is needed: http:\/\/host:port\n$/],
    [["write", mirror], /^entrepot: --registry: is needed, once for each registry/],
    [
      ["write", docker, "--mirror=http://u:hunter2@m.example.com"],
      /^entrepot: --mirror: expected http:\/\/host:port, with nothing/,
    ],
    [
      ["write", docker, "--mirror=http://m.example.com/path"],
      /^entrepot: --mirror: expected http:\/\/host:port, with nothing/,
    ],
    [["write", docker, "--mirror=m.example.com:80"], /^entrepot: --mirror: expected http:\/\/host:port, with nothing/],
    [
      ["write", docker, "--mirror=http://[fd00::1]:5000"],
      /^entrepot: --mirror: containerd 1\.x cannot read .*name a host .*--relay/,
    ],
    [["write", mirror, "--registry=https://docker.io"], /^entrepot: --registry: /],
    [["write", mirror, docker, "--owner=A b"], /^entrepot: --owner: expected a name of a-z/],
    [["write", mirror, docker, "--host-root=host"], /^entrepot: --host-root: expected an absolute path, got "host"\n$/],
    [["write", mirror, docker, "--relay=a:1=b:2"], /^entrepot: unknown option '--relay'\n$/],
    [
      ["watch", mirror, docker, "--relay=127.0.0.1:1=b:2"],
      /^entrepot: --mirror: with --relay it is where the relay listens: leave it out\n$/,
    ],
    [["watch", docker, "--relay=127.0.0.1:1"], /^entrepot: --relay: expected LISTEN=TARGET/],
    [["watch", docker, "--relay=:1=b:2"], /^entrepot: --relay: expected host:port, got ":1"\n$/],
    [["watch", docker, "--relay=[::1]:1=b:2"], /^entrepot: --relay: containerd 1\.x cannot read/],
    [["watch", mirror, docker, "--interval=1ms"], /^entrepot: --interval: expected 1s at least\n$/],
    [["watch", mirror, docker, "--interval=1"], /^entrepot: --interval: a duration needs a unit/],
    [["watch", mirror, docker, "--probe-listen=unix:/x"], /^entrepot: --probe-listen: expected host:port/],
    [["await", "ds"], /^entrepot: either --gone or --ready\n$/],
    [["await", "ds", "--gone", "--ready"], /^entrepot: either --gone or --ready\n$/],
    [["await", "ds", "--ready", "--delete"], /^entrepot: --delete is for --gone\n$/],
    [["await", "ds", "--gone"], /^entrepot: this is no pod: KUBERNETES_SERVICE_HOST is not set\n$/],
    [["await", "--gone"], /^entrepot: missing required argument 'daemonset'\n$/],
  ];
  for (const [args, expected] of cases) {
    test(args.join(" "), async () => {
      const { exitCode, out, err } = await run(args);
      assert.deepEqual([exitCode, out], [2, ""]);
      assert.match(err, expected);
    });
  }
});

test("await in a pod without a service account says what is missing", async () => {
  const env = { KUBERNETES_SERVICE_HOST: "fd00::1", KUBERNETES_SERVICE_PORT: "6443" };
  const { exitCode, out, err } = await run(["await", "ds", "--gone", "--timeout=0s"], env);
  assert.equal(exitCode, 1);
  assert.match(
    out,
    /^waiting: ENOENT: .*\/var\/run\/secrets\/kubernetes\.io\/serviceaccount\/(?:token|ca\.crt|namespace)'\n$/,
  );
  assert.match(err, /^entrepot: not gone within 0 s: ENOENT/);
});

test("help names the variable and the default of each option", async () => {
  const { out } = await run(["watch", "--help"]);
  const text = out.replaceAll(/\s+/g, " ");
  assert.match(text, /--host-root <folder> .*? \[env: ENTREPOT_NODE_HOST_ROOT\] \[default: \/\]/);
  assert.doesNotMatch(text, /--listen <address>/);
});
