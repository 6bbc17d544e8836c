import assert from "node:assert/strict";
import { once } from "node:events";
import { type AddressInfo, connect } from "node:net";
import { test, type TestContext } from "node:test";
import { createServer } from "node:tls";
import type { Key } from "../../../src/store/object-store.ts";
import type { S3Options } from "../../../src/store/s3-options.ts";
import { S3Store } from "../../../src/store/s3.ts";
import { FakeS3 } from "../../support/fake-s3.ts";
import { readAll } from "../../support/s3-store.ts";
import { certificate } from "../upstream/certificate.ts";

const key = "blobs/sha256/00/01" as Key;

/** A fake server, and how it is reached with TLS. */
async function startWithTls(context: TestContext): Promise<{ readonly server: FakeS3; readonly endpoint: string }> {
  const server = await FakeS3.start();
  const port = Number(new URL(server.endpoint).port);
  const front = createServer(certificate, (socket) => {
    const back = connect(port, "127.0.0.1");
    for (const [from, to] of [[socket, back] as const, [back, socket] as const]) {
      from.on("error", () => to.destroy()).pipe(to);
    }
  }).listen(0, "127.0.0.1");
  await once(front, "listening");
  context.after(async () => {
    await server[Symbol.asyncDispose]();
    front.close();
  });
  return { server, endpoint: `https://127.0.0.1:${(front.address() as AddressInfo).port}` };
}

test("a server's certificate has to be known, or given, or nobody looks at it", async (context) => {
  const { server, endpoint } = await startWithTls(context);
  const open = (options: Partial<S3Options>): Promise<S3Store> =>
    S3Store.open({ ...server.options({ endpoint }), ...options });
  const unknown = await open({ retries: 0 });
  await assert.rejects(unknown.get(key), { name: "StoreError", message: /DEPTH_ZERO_SELF_SIGNED_CERT.*ca_file/ });
  await unknown.close();
  for (const options of [{ caPem: certificate.cert }, { insecureSkipVerify: true }]) {
    const store = await open(options);
    await store.put(key, Buffer.alloc(100_000, 1));
    assert.equal((await readAll(store, key))?.length, 100_000);
    await store.close();
  }
});

test("with TLS nobody hashes what is sent", async (context) => {
  const { server, endpoint } = await startWithTls(context);
  const store = await S3Store.open(server.options({ endpoint, caPem: certificate.cert }));
  await store.put(key, Buffer.alloc(100_000, 1));
  assert.equal(server.asked[0]?.headers["x-amz-content-sha256"], "UNSIGNED-PAYLOAD");
  await store.close();
});
