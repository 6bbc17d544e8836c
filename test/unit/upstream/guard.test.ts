import assert from "node:assert/strict";
import { test } from "node:test";
import type { AddressScope } from "../../../src/upstream/addresses.ts";
import { createRedirectGuard, isPublicName, OwnPlace, publicGuard } from "../../../src/upstream/guard.ts";

const addresses: Record<AddressScope, string[]> = {
  public: ["8.8.8.8", "2606:4700::1", "::ffff:8.8.8.8", "64:ff9b::808:808"],
  private: ["10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1", "fd12::1", "::ffff:10.0.0.1", "64:ff9b::a00:1"],
  loopback: ["127.0.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"],
  special: ["169.254.169.254", "fe80::1", "224.0.0.1", "ff02::1", "0.0.0.0", "::", "100.100.100.200", "fd00:ec2::254"],
};

const reaches: Record<AddressScope, AddressScope[]> = {
  public: ["public"],
  private: ["public", "private"],
  loopback: ["public", "private", "loopback"],
  special: ["public"],
};

for (const [own, allowed] of Object.entries(reaches) as [AddressScope, AddressScope[]][]) {
  test(`an upstream at a ${own} address may lead to ${allowed.join(", ")} ones, and to no others`, () => {
    const place = new OwnPlace(new URL("https://registry.example.com"));
    const guard = createRedirectGuard(place);
    for (const address of addresses[own]) {
      place.note("registry.example.com", address);
      for (const [scope, targets] of Object.entries(addresses) as [AddressScope, string[]][]) {
        for (const target of targets) {
          assert.equal(guard.mayReach(target), allowed.includes(scope), `${address} to ${target}`);
          const url = new URL(target.includes(":") ? `https://[${target}]:8443/` : `https://${target}:8443/`);
          assert.equal(guard.refusalOf(url, false) === undefined, allowed.includes(scope), url.href);
        }
      }
    }
  });
}

for (const [upstream, scope, hasPublicName] of [
  ["https://registry.example.com", "public", true],
  ["https://registry.corp.internal", "public", false],
  ["http://registry:5000", "public", false],
  ["http://127.0.0.1:5000", "loopback", false],
  ["https://[fd12::1]:5000", "private", false],
  ["https://10.0.0.1", "private", false],
] as const) {
  test(`before its first connection ${upstream} is taken to be ${scope}`, () => {
    const place = new OwnPlace(new URL(upstream));
    assert.deepEqual([place.scope, place.hasPublicName], [scope, hasPublicName]);
  });
}

test("where another host is, a token server for one, says nothing of where the upstream is", () => {
  const place = new OwnPlace(new URL("https://registry.example.com"));
  for (const host of ["auth.example.com", "registry.example.com:8443"]) {
    place.note(host, "10.0.0.1");
    assert.equal(place.scope, "public");
  }
});

const names: [hostname: string, isPublic: boolean][] = [
  ["registry.example.com", true],
  ["cdn.example.co.uk", true],
  ["x.s3.amazonaws.com", true],
  ["localhost", false],
  ["a.localhost", false],
  ["metadata.google.internal", false],
  ["minio.storage.svc.cluster.local", false],
  ["nas.home.arpa", false],
  ["nas.lan", false],
  ["minio", false],
  ["com", false],
];

for (const [hostname, isPublic] of names) {
  test(`behind a proxy ${hostname} is ${isPublic ? "asked for" : "refused"} by its name`, () => {
    const url = new URL(`https://${hostname}/`);
    assert.equal(publicGuard.refusalOf(url, true) === undefined, isPublic);
    assert.equal(publicGuard.refusalOf(url, false), undefined, "without one, its addresses decide");
    const guard = createRedirectGuard(new OwnPlace(new URL("https://registry.example.com")));
    assert.equal(guard.refusalOf(url, true) === undefined, isPublic);
    const inside = createRedirectGuard(new OwnPlace(new URL("https://registry.corp.internal")));
    assert.equal(inside.refusalOf(url, true), undefined, "an upstream without a public name may lead there");
  });
}

test("a public name is one to all who ask, and never has a port or is an address", () => {
  for (const [hostname, isPublic] of names) {
    assert.equal(isPublicName(hostname), isPublic, hostname);
    assert.equal(isPublicName(`${hostname}:443`), false, hostname);
  }
  for (const hostname of [
    "8.8.8.8",
    "10.1",
    "0x7f.1",
    "::1",
    "[::1]",
    "registry.example.0x1",
    "1.0.0.127.in-addr.arpa",
  ]) {
    assert.equal(isPublicName(hostname), false, hostname);
  }
  assert.equal(isPublicName("registry.example.com."), true);
});
