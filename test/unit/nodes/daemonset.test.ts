import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer as createPlainServer, type RequestListener } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, test } from "node:test";
import { awaitDaemonSet, type ClusterAccess, type Goal } from "../../../src/nodes/daemonset.ts";
import { createTemporaryDirectory, type TemporaryDirectory } from "../../support/temporary.ts";
import { certificate } from "../upstream/certificate.ts";

type Answer = readonly [status: number, body: unknown];

/** An API of a cluster that answers by a script: to each request the next answer, to those after the last the last. */
class Api implements AsyncDisposable {
  readonly requests: string[] = [];
  readonly access: ClusterAccess;
  readonly #directory: TemporaryDirectory;
  readonly #server: ReturnType<typeof createPlainServer>;

  private constructor(directory: TemporaryDirectory, server: ReturnType<typeof createPlainServer>, url: string) {
    this.#directory = directory;
    this.#server = server;
    this.access = { url, account: directory.path };
  }

  static async start(answers: Readonly<Record<string, readonly Answer[]>>, hasTls = false): Promise<Api> {
    const counts = new Map<string, number>();
    const serve: RequestListener = (request, response) => {
      const { pathname, searchParams } = new URL(request.url ?? "", "http://x");
      const place = `${request.method} ${pathname.replace(/^.*\/namespaces\/apps\//, "")}`;
      const token = request.headers.authorization?.replace("Bearer ", "");
      api.requests.push(
        `${place}${searchParams.has("continue") ? ` from ${searchParams.get("continue")}` : ""} ${token}`,
      );
      const count = counts.get(place) ?? 0;
      counts.set(place, count + 1);
      const [status, body] = answers[place]?.at(Math.min(count, (answers[place]?.length ?? 0) - 1)) ?? [404, {}];
      response.writeHead(status, { "Content-Type": "application/json" }).end(JSON.stringify(body));
    };
    const server = hasTls ? createServer(certificate, serve) : createPlainServer(serve);
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const directory = await createTemporaryDirectory();
    const { port } = server.address() as AddressInfo;
    const api: Api = new Api(directory, server, `${hasTls ? "https" : "http"}://127.0.0.1:${port}`);
    for (const [name, text] of Object.entries({ token: "t1\n", "ca.crt": certificate.cert, namespace: "apps" })) {
      await writeFile(join(directory.path, name), text);
    }
    return api;
  }

  setToken(token: string): Promise<void> {
    return writeFile(join(this.#directory.path, "token"), token);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    await this.#directory[Symbol.asyncDispose]();
  }
}

/** Waits with a clock that stands only while an answer is awaited; what was said. */
async function run(
  api: Pick<Api, "access">,
  goal: Partial<Goal>,
  onWait: (ms: number) => Promise<void> = async () => undefined,
): Promise<string[]> {
  const said: string[] = [];
  let ms = 0;
  const clock = {
    now: () => ms,
    monotonic: () => ms,
    wait: async (each: number) => {
      ms += each;
      await onWait(ms);
    },
  };
  const whole = { daemonSet: "ds", until: "gone", isDeleted: false, timeoutMs: 60_000, ...goal } as const;
  await awaitDaemonSet(api.access, whole, (text) => said.push(text), clock).catch((error: Error) => {
    said.push(`${error.name}: ${error.message}`);
  });
  return said;
}

const pod = (owner: string, nodeName: string | undefined, ready: "True" | "False" = "False"): unknown => ({
  metadata: { ownerReferences: [{ kind: "DaemonSet", name: owner }] },
  spec: { nodeName },
  status: { conditions: [{ type: "Ready", status: ready }] },
});
const set = (
  generation: number,
  observedGeneration: number,
  wanted: number,
  updated: number,
  ready: number,
): unknown => ({
  metadata: { generation },
  status: { observedGeneration, desiredNumberScheduled: wanted, updatedNumberScheduled: updated, numberReady: ready },
});
const ds = "GET daemonsets/ds";
const pods = "GET pods";

describe("until a DaemonSet is gone", () => {
  test("it is deleted once, and waited for with its pods, over TLS with the account's authority", async () => {
    const api = await Api.start(
      {
        "DELETE daemonsets/ds": [[200, {}]],
        [ds]: [
          [200, {}],
          [404, {}],
        ],
        [pods]: [
          [200, { items: [pod("ds", "node-b"), pod("ds", "node-a"), pod("other", "node-c"), { metadata: {} }] }],
          [200, { items: [pod("other", "node-c")] }],
        ],
      },
      true,
    );
    await using _ = api;
    assert.deepEqual(await run(api, { isDeleted: true }), [
      "the DaemonSet ds is still there",
      "pods of ds are still there: node-a, node-b",
    ]);
    assert.deepEqual(
      api.requests.map((each) => each.replace(" t1", "")),
      ["DELETE daemonsets/ds", ds, ds, pods, ds, pods],
    );
  });

  test("one that is not there is gone, and long lists are read to the end", async () => {
    await using api = await Api.start({
      [pods]: [
        [200, { metadata: { continue: "x" }, items: [] }],
        [200, { items: [pod("ds", undefined)] }],
        [200, {}],
      ],
    });
    assert.deepEqual(await run(api, { isDeleted: true }), ["pods of ds are still there: no node yet"]);
    assert.equal(api.requests[3], "GET pods from x t1");
  });

  test("the token is read anew, as the cluster replaces it", async () => {
    await using api = await Api.start({
      [ds]: [
        [401, { message: "old" }],
        [404, {}],
      ],
      [pods]: [[200, {}]],
    });
    const said = await run(api, {}, () => api.setToken("t2"));
    assert.deepEqual(said, ["GET /apis/apps/v1/namespaces/apps/daemonsets/ds is answered 401: old"]);
    assert.deepEqual(api.requests, [`${ds} t1`, `${ds} t2`, `${pods} t2`]);
  });

  test("the time is up: what is missing is said", async () => {
    await using api = await Api.start({ [ds]: [[200, {}]] });
    assert.deepEqual(await run(api, { timeoutMs: 5_000 }), [
      "the DaemonSet ds is still there",
      "GoalMissed: not gone within 5 s: the DaemonSet ds is still there",
    ]);
    assert.equal(api.requests.length, 4);
  });

  test("an account that may not do it yet, as its role was made a moment ago", async () => {
    const denied: Answer = [403, { message: "no role" }];
    await using api = await Api.start({ [ds]: [denied, denied, [404, {}]], [pods]: [[200, {}]] });
    assert.deepEqual(await run(api, {}), ["GET /apis/apps/v1/namespaces/apps/daemonsets/ds is answered 403: no role"]);
  });

  test("an API that cannot be reached", async () => {
    const api = await Api.start({});
    await using _ = api;
    const access = { ...api.access, url: "http://127.0.0.1:1" };
    const said = await run({ access }, { timeoutMs: 1_000 });
    assert.match(
      said.at(-1) ?? "",
      /^GoalMissed: not gone within 1 s: the API at http:\/\/127\.0\.0\.1:1 cannot be reached: connect ECONNREFUSED/,
    );
  });
});

describe("until a DaemonSet is ready", () => {
  test("on each node that should have a pod of its newest form", async () => {
    await using api = await Api.start({
      [ds]: [
        [404, {}],
        [200, { metadata: { generation: 1 } }],
        [200, set(2, 1, 2, 2, 2)],
        [200, set(2, 2, 3, 1, 3)],
        [200, set(2, 2, 3, 3, 1)],
        [200, set(2, 2, 3, 3, 3)],
      ],
      [pods]: [
        [200, { items: [pod("ds", "a", "True")] }],
        [200, { items: [pod("ds", "a", "True"), pod("ds", "c"), pod("ds", "b")] }],
      ],
    });
    assert.deepEqual(await run(api, { until: "ready" }), [
      "there is no DaemonSet ds",
      "the cluster has not looked at ds yet",
      "of 3 nodes 3 have a ready pod of ds, 1 a pod of its newest form",
      "of 3 nodes 1 have a ready pod of ds, 3 a pod of its newest form; not ready: b, c",
    ]);
  });

  test("with no node that should have one", async () => {
    await using api = await Api.start({ [ds]: [[200, set(1, 1, 0, 0, 0)]] });
    assert.deepEqual(await run(api, { until: "ready" }), []);
  });
});
