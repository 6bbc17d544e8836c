import assert from "node:assert/strict";
import type { LookupAddress } from "node:dns";
import { test } from "node:test";
import {
  guardLookup,
  isAddress,
  isPublicAddress,
  RefusedAddressError,
  refusalOf,
  scopeOf,
} from "../../../src/upstream/addresses.ts";

const publicAddresses = [
  // NAT64: what it translates to is public.
  "64:ff9b::808:808",
  "8.8.8.8",
  "104.18.121.25",
  "::ffff:8.8.8.8",
  "2606:4700::6812:7919",
  "2a00:1450:4001::1",
];
const otherAddresses = {
  loopback: ["127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.1", "::ffff:7f00:1"],
  "this network": ["0.0.0.0", "0.1.2.3", "::"],
  private: ["10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fc00::1", "fd12::1", "::ffff:10.0.0.1"],
  "link-local and metadata": ["169.254.169.254", "169.254.0.1", "fe80::1", "fe80::1%eth0", "::ffff:169.254.169.254"],
  "carrier NAT": ["100.64.0.1", "100.127.255.255"],
  "multicast and broadcast": ["224.0.0.1", "239.1.1.1", "255.255.255.255", "ff02::1"],
  "documentation, benchmarking, reserved": ["192.0.2.1", "198.18.0.1", "203.0.113.9", "240.0.0.1", "2001:db8::1"],
  "translators and tunnels": ["64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::1", "2001::1", "::ffff:0:127.0.0.1"],
  "IPv4-compatible": ["::127.0.0.1", "::a00:1"],
  metadata: ["fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "::ffff:168.63.129.16"],
  "not an address": ["", "localhost", "127.1", "0x7f000001", "2130706433", "256.1.1.1"],
};

for (const address of publicAddresses) {
  test(`${address} is public`, () => assert.equal(isPublicAddress(address), true));
}
for (const [why, addresses] of Object.entries(otherAddresses)) {
  for (const address of addresses) {
    test(`${address} is not public: ${why}`, () => assert.equal(isPublicAddress(address), false));
  }
}

const scopes: [address: string, scope: ReturnType<typeof scopeOf>][] = [
  ["8.8.8.8", "public"],
  ["10.0.0.1", "private"],
  ["100.64.0.1", "private"],
  ["fd12::1", "private"],
  ["::ffff:192.168.0.1", "private"],
  ["64:ff9b::a00:1", "private"],
  ["127.0.0.2", "loopback"],
  ["::1", "loopback"],
  ["64:ff9b::7f00:1", "loopback"],
  ["169.254.169.254", "special"],
  ["64:ff9b::a9fe:a9fe", "special"],
  ["fd00:ec2::254", "special"],
  ["100.100.100.200", "special"],
  ["224.0.0.1", "special"],
  ["0.0.0.0", "special"],
  ["registry.example.com", "special"],
];

for (const [address, scope] of scopes) {
  test(`${address} is ${scope}`, () => assert.equal(scopeOf(address), scope));
}

const targets: [url: string, refused: boolean][] = [
  ["https://registry.example.com/", false],
  ["https://registry.example.com:443/", false],
  ["https://registry.example.com:8443/", true],
  ["http://registry.example.com/", true],
  ["http://registry.example.com:443/", true],
  ["https://127.0.0.1/", true],
  ["https://8.8.8.8/", true],
  ["https://[2606:4700::6812:7919]/", true],
  // URL parsing turns each of these into 127.0.0.1.
  ["https://127.1/", true],
  ["https://0x7f.0.0.1/", true],
  ["https://2130706433/", true],
  ["https://0177.0.0.1/", true],
  ["https://127.0.0.1./", true],
  ["https://１２７.0.0.1/", true],
];

for (const [url, refused] of targets) {
  test(`a connection for ${url} is ${refused ? "refused" : "tried"}`, () => {
    assert.equal(refusalOf(new URL(url)) instanceof RefusedAddressError, refused);
  });
}

function look(answers: LookupAddress[][], all: boolean): { ask: () => Promise<unknown>; calls: string[] } {
  const calls: string[] = [];
  const guarded = guardLookup((hostname, options, callback) => {
    assert.equal(options.all, true);
    calls.push(hostname);
    callback(null, answers.shift() ?? []);
  });
  const ask = (): Promise<unknown> =>
    new Promise((resolve, reject) => {
      guarded("registry.example.com", { all }, (error, address, family) => {
        if (error === null) {
          resolve(all ? address : [address, family]);
        } else {
          reject(error);
        }
      });
    });
  return { ask, calls };
}

const good: LookupAddress = { address: "8.8.8.8", family: 4 };
const bad: LookupAddress = { address: "::ffff:10.0.0.1", family: 6 };

test("the guarded look-up gives public addresses, in the form that was asked for", async () => {
  assert.deepEqual(await look([[good]], true).ask(), [good]);
  assert.deepEqual(await look([[good]], false).ask(), ["8.8.8.8", 4]);
});

test("one address that is not public refuses the name; so does none", async () => {
  await assert.rejects(look([[good, bad]], true).ask(), RefusedAddressError);
  await assert.rejects(look([[bad]], false).ask(), RefusedAddressError);
  await assert.rejects(look([[]], true).ask(), RefusedAddressError);
});

test("each look-up is judged by its own answer, so a name that changes its answer is refused then", async () => {
  const { ask, calls } = look([[good], [bad]], true);
  assert.deepEqual(await ask(), [good]);
  await assert.rejects(ask(), RefusedAddressError);
  assert.equal(calls.length, 2);
});

test("a failed look-up stays what it was", async () => {
  const notFound = Object.assign(new Error("no such name"), { code: "ENOTFOUND" });
  const guarded = guardLookup((_hostname, _options, callback) => callback(notFound, []));
  const { promise, resolve } = Promise.withResolvers<unknown>();
  guarded("registry.example.com", { all: true }, resolve);
  assert.equal(await promise, notFound);
});

test("a host is an address, or a name", () => {
  for (const host of [...publicAddresses, "127.0.0.1", "::1", "fe80::1%eth0"]) assert.ok(isAddress(host), host);
  for (const host of ["registry.example.com", "1.2.3.4.5", "10.1", "0x7f.1", "a:b", "::1.example.com", "[::1]", ""]) {
    assert.ok(!isAddress(host), host);
  }
});
