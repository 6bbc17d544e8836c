/* What is verified does not make way for what may never be. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { digestOf } from "../../src/oci/digest.ts";
import { adminListen, adminOf } from "../support/cache-admin.ts";
import type { Behaviour } from "../support/behaviour.ts";
import { pseudoRandomBytes } from "../support/content.ts";
import { until } from "../support/event-loop.ts";
import { open } from "../support/http.ts";
import { startMirror } from "../support/mirror.ts";
import { createUpstream } from "../support/upstream.ts";

const megabyte = 1024 * 1024;

/** A body that is longer than the whole storage, and how it is told of. */
const bodies: Readonly<Record<string, { readonly behaviour: Behaviour; readonly linkedBytes?: number }>> = {
  "that does not say how long it is": { behaviour: { announceLength: false } },
  "that says another length than the manifest": { behaviour: {}, linkedBytes: 39 * megabyte },
};

describe("a blob evicts nothing", () => {
  for (const [what, { behaviour, linkedBytes }] of Object.entries(bodies)) {
    test(what, async () => {
      await using upstream = await createUpstream();
      await using mirror = await startMirror(upstream.host, {
        graceMs: 0,
        config: { adminListen },
        storage: { maxSize: { kind: "bytes", bytes: 40 * megabyte } },
      });
      await until(async () => (await adminOf(mirror).usage()).exact);
      const path = (digest: string): string => `/v2/library/test/blobs/${digest}`;
      const known = Array.from({ length: 10 }, (_, number) =>
        upstream.addBlob(pseudoRandomBytes(2 * megabyte, String(number))),
      );
      for (const digest of known) assert.equal((await mirror.get(path(digest))).status, 200);
      const endless = upstream.addLargeBlob(38 * megabyte, 1);
      if (linkedBytes !== undefined) {
        const config = upstream.addBlob(Buffer.from("{}"));
        const layer = { mediaType: "application/vnd.oci.image.layer.v1.tar", digest: endless, size: linkedBytes };
        const document = {
          schemaVersion: 2,
          config: { mediaType: "application/vnd.oci.image.config.v1+json", digest: config, size: 2 },
          layers: [layer],
        };
        upstream.addManifest("library/test", "1", document);
        assert.equal((await mirror.get("/v2/library/test/manifests/1")).status, 200);
      }
      await mirror.app.idle();
      upstream.when({ path: path(endless) }, behaviour);
      using response = await open(`${mirror.url}${path(endless)}`);
      assert.equal((await response.hash()).sizeBytes, 38 * megabyte);
      const asked = upstream.requests.length;
      for (const digest of known) assert.equal(digestOf((await mirror.get(path(digest))).body), digest);
      assert.equal(upstream.requests.length, asked, "something was evicted");
    });
  }
});
