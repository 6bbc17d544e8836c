import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { formatConfig } from "../../../src/config/resolved-yaml.ts";
import { load, loadFile } from "./loading.ts";

const rich = `
listen: "[::1]:80"
admin_listen: unix:/run/a.sock
check_cache_digest: true
allow_unlisted: ["*.example.com"]
log: { level: warn, format: pretty }
shutdown_timeout: 1m 5s
upstream_defaults: { stale_if_error: 90s, user_agent: me/1 }
upstreams:
  - { namespace: quay.io, host: a.example.com:5000, tls: false, retries: 0, server_names: [q.example.com],
      username: the-user, password: hunter2, manifest_invalidation_time: 0s, stale_if_error: forever }
`;

describe("formatConfig", () => {
  for (const [name, config] of [
    ["the defaults", load()],
    ["a rich configuration", loadFile(rich)],
  ] as const) {
    test(`${name}: what is written loads again and means the same`, () => {
      const hidden = { username: "[hidden]", password: "[hidden]" };
      assert.deepEqual(loadFile(formatConfig(config)), {
        ...config,
        upstreams: config.upstreams.map((upstream) => {
          return { ...upstream, credentials: upstream.credentials === undefined ? undefined : hidden };
        }),
      });
    });
  }

  test("hides user names and passwords, from wherever they come", () => {
    const env = { UPSTREAM_CREDENTIALS: '{"ghcr.io": {"username": "env-user", "password": "env-secret"}}' };
    const text = formatConfig(loadFile(rich, { env }));
    for (const secret of ["the-user", "hunter2", "env-user", "env-secret"]) {
      assert.ok(!text.includes(secret), text);
    }
    assert.equal(text.match(/password: "\[hidden\]"/g)?.length, 2);
    assert.equal(text.match(/password: null/g)?.length, 1);
  });
});
