import assert from "node:assert/strict";
import { test } from "node:test";
import { refuseAsHost } from "../../../src/nodes/settings.ts";

test("an IPv6 address cannot be told to containerd 1.x", () => {
  assert.match(refuseAsHost("http://[fd00::1]:5000") ?? "", /name a host .*--relay/);
  assert.equal(refuseAsHost("http://127.0.0.1:6500"), undefined);
});
