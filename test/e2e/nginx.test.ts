/* nginx in front of Entrepot, as docs/nginx.md says. */
import assert from "node:assert/strict";
import { chmod, mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, describe, it } from "node:test";
import { digestOf } from "../../src/oci/digest.ts";
import { blobKey } from "../../src/store/layout.ts";
import { request, type WholeResponse } from "../support/http.ts";
import { buildImage } from "../support/image.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";
import { writeContainersConfiguration } from "./containers-configuration.ts";
import { startProgram } from "./mirror.ts";
import { documentedConfiguration, startNginx } from "./nginx.ts";
import { freePort, run } from "./programs.ts";
import { startUpstreamRegistry } from "./upstream-registry.ts";

const token = "an-example-of-a-token";

describe("nginx in front of Entrepot sends stored blobs", () => {
  const image = buildImage({ layers: 3, layerBytes: 300_000, seed: "accelerated" });
  const [platform] = image.platforms;
  const [layer = assert.fail()] = platform?.layers ?? [];
  const bytes = image.blobs.get(layer) ?? assert.fail();
  const path = `/v2/library/test/blobs/${layer}`;
  let stack: AsyncDisposableStack;
  let directory: string;
  let root: string;
  let front: string;
  let entrepot: string;

  before(async () => {
    stack = new AsyncDisposableStack();
    directory = stack.use(await createTemporaryDirectory()).path;
    // Its workers are of another user than its files here.
    await chmod(directory, 0o755);
    const upstream = stack.use(await startUpstreamRegistry("upstream", directory));
    await upstream.push("library/test", "1", image);
    root = join(directory, "root");
    entrepot = `127.0.0.1:${await freePort()}`;
    front = `127.0.0.1:${await freePort()}`;
    const file = join(directory, "entrepot.yaml");
    const settings = {
      listen: entrepot,
      storage: { root },
      accel_redirect: "/internal/",
      admin_token: token,
      upstreams: [{ namespace: "docker.io", host: upstream.host, tls: false }],
    };
    await writeFile(file, JSON.stringify(settings));
    stack.use(await startProgram("entrepot", directory, file, entrepot));
    stack.use(await startNginx(directory, front, await documentedConfiguration(front, entrepot, root)));
  });

  after(() => stack[Symbol.asyncDispose]());

  const get = (headers: Record<string, string> = {}, host = front): Promise<WholeResponse> =>
    request(`http://${host}${path}`, { headers });
  const comparable = ({ headers }: WholeResponse): object => {
    const { date: _date, server: _server, connection: _connection, "keep-alive": _alive, ...rest } = headers;
    return rest;
  };
  /** How many bytes of blobs Entrepot has sent itself. */
  const sentBytes = async (): Promise<number> => {
    for (;;) {
      const text = (await request(`http://${entrepot}/metrics`)).body.toString();
      // An answer is counted when it is complete, which its client may know earlier.
      if (!text.includes("\nentrepot_http_requests_in_flight 1\n")) continue;
      return Number(/^entrepot_http_response_body_bytes_total\{endpoint="blob"\} (\d+)$/m.exec(text)?.[1] ?? 0);
    }
  };

  it("podman pulls cold blobs through both, and warm ones from nginx", async () => {
    const { registries, policy } = await writeContainersConfiguration(directory, front, ["docker.io"]);
    const own = join(directory, "podman");
    await mkdir(join(own, "tmp"), { recursive: true });
    const folders = ["--root", join(own, "root"), "--runroot", join(own, "runroot"), "--tmpdir", join(own, "tmp")];
    const engine = ["--storage-driver", "vfs", "--cgroup-manager", "cgroupfs", "--events-backend", "none"];
    const variables = { CONTAINERS_REGISTRIES_CONF: registries, HOME: own, TMPDIR: join(own, "tmp") };
    const podman = (...args: string[]): Promise<string> =>
      run(["/usr/bin/podman", ...folders, ...engine, ...args], variables);
    const pull = async (): Promise<void> => {
      await podman("pull", "--signature-policy", policy, "docker.io/library/test:1");
      const [inspected] = JSON.parse(await podman("image", "inspect", "docker.io/library/test:1")) as [{ Id: string }];
      assert.equal(`sha256:${inspected.Id}`, platform?.config);
      await podman("rmi", "docker.io/library/test:1");
    };
    await pull();
    const cold = await sentBytes();
    assert.ok(cold >= bytes.length * 3);
    await pull();
    assert.equal(await sentBytes(), cold);
  });

  it("the same header fields, whoever sends", async () => {
    const direct = await get({}, entrepot);
    const sent = await sentBytes();
    const accelerated = await get();
    assert.equal(await sentBytes(), sent);
    assert.deepEqual(accelerated.body, bytes);
    assert.deepEqual(comparable(accelerated), comparable(direct));
    const head = await request(`http://${front}${path}`, { method: "HEAD" });
    assert.deepEqual(comparable(head), comparable(direct));
  });

  it("ranges and conditions", async () => {
    const etag = `"${layer}"`;
    const other = `"${digestOf(Buffer.from("other"))}"`;
    for (const [status, headers, body] of [
      [206, { range: "bytes=10-19" }, bytes.subarray(10, 20)],
      [206, { range: "bytes=-5" }, bytes.subarray(-5)],
      [206, { range: `bytes=10-`, "if-range": etag }, bytes.subarray(10)],
      [200, { range: "bytes=10-19", "if-range": other }, bytes],
      [200, { range: "bytes=0-1,5-6" }, bytes],
      [200, { "if-match": etag }, bytes],
      [200, { "if-none-match": other }, bytes],
      [200, { "if-modified-since": new Date().toUTCString() }, bytes],
      [304, { "if-none-match": etag }, Buffer.alloc(0)],
      [412, { "if-match": other }, undefined],
      [416, { range: `bytes=${bytes.length}-` }, undefined],
    ] as const) {
      const seen = await get(headers);
      const told = JSON.stringify(headers);
      assert.equal(seen.status, status, told);
      if (body === undefined) assert.match(String(seen.headers["content-type"]), /json/, told);
      else assert.deepEqual(seen.body, body, told);
      if (status === 206) assert.equal(seen.headers["docker-content-digest"], layer);
    }
    const all = await Promise.all([0, 1, 2, 3].map((n) => get({ range: `bytes=${n * 1_000}-${n * 1_000 + 999}` })));
    assert.deepEqual(Buffer.concat(all.map(({ body }) => body)), bytes.subarray(0, 4_000));
  });

  it("nobody else can have a file, and who is no nginx gets nothing by saying so", async () => {
    for (const file of [`blobs/sha256/${layer.slice(7, 9)}/${layer.slice(9)}`, "format", "ledger.sqlite"]) {
      assert.equal((await request(`http://${front}/internal/${file}`)).status, 404, file);
    }
    const { status, body } = await get({ "x-sendfile-type": "X-Accel-Redirect" }, entrepot);
    assert.deepEqual([status, body.length], [200, 0]);
    assert.deepEqual((await get({ "x-sendfile-type": "nothing" })).body, bytes);
  });

  it("a file that is gone when nginx opens it is sent, or fetched again, by Entrepot", async () => {
    const file = join(root, blobKey(layer));
    // nginx is led to it as it was opened: between that and its own opening it goes.
    const stand = `127.0.0.1:${await freePort()}`;
    const misled = await documentedConfiguration(stand, entrepot, join(directory, "elsewhere"));
    const second = join(directory, "second");
    await mkdir(second);
    await using _nginx = await startNginx(second, stand, misled);
    const sent = await sentBytes();
    const whole = await get({}, stand);
    assert.deepEqual([whole.status, whole.body], [200, bytes]);
    assert.deepEqual(comparable(whole), comparable(await get({}, front)));
    assert.deepEqual((await get({ range: "bytes=10-19" }, stand)).body, bytes.subarray(10, 20));
    assert.equal(await sentBytes(), sent + bytes.length + 10);

    await rename(file, `${file}.gone`);
    assert.deepEqual((await get({}, front)).body, bytes);
  });

  it("while it is purged again and again, everybody has the whole blob", async () => {
    let purged = 0;
    let isOver = false;
    const headers = { "content-type": "application/json", authorization: `Bearer ${token}` };
    const body = JSON.stringify({ target: `docker.io/library/test@${layer}` });
    const purge = async (): Promise<void> => {
      while (!isOver) {
        const { status } = await request(`http://${entrepot}/_admin/purge`, { method: "POST", headers, body });
        if (status === 200) purged++;
      }
    };
    const pull = async (): Promise<void> => {
      for (let count = 0; count < 100 || purged < 50; count++) {
        const { status, body: sent } = await get();
        assert.equal(status, 200);
        assert.deepEqual(sent, bytes);
      }
    };
    const purging = purge();
    try {
      await Promise.all([pull(), pull(), pull(), pull()]);
    } finally {
      isOver = true;
      await purging;
    }
  });
});
