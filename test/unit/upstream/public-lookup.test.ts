import assert from "node:assert/strict";
import type { LookupAddress } from "node:dns";
import { lookup as systemLookup } from "node:dns/promises";
import { writeFile } from "node:fs/promises";
import { test } from "node:test";
import "../../support/network.ts";
import type { NameLookup } from "../../../src/upstream/addresses.ts";
import { createPublicLookup } from "../../../src/upstream/public-lookup.ts";
import { createTemporaryDirectory } from "../../support/temporary.ts";
import { startNameServer } from "./name-server.ts";

const nowhere = "/nonexistent/hosts";
const six = "2606:4700:0:0:0:0:0:1";

function ask(lookup: NameLookup, name: string): Promise<LookupAddress[]> {
  return new Promise((resolve, reject) => {
    lookup(name, { all: true }, (error, addresses) => (error === null ? resolve(addresses) : reject(error)));
  });
}

test("all addresses of a name, IPv4 first; none is an error", async (context) => {
  const names: Record<string, string[]> = {
    "both.example.com": ["8.8.8.8", six, "9.9.9.9"],
    "four.example.com": ["8.8.8.8"],
    "six.example.com": [six],
  };
  const server = await startNameServer(context, (name) => names[name] ?? []);
  const lookup = createPublicLookup({ servers: [server.address], hostsFile: nowhere });
  assert.deepEqual(
    (await ask(lookup, "both.example.com")).map(({ family }) => family),
    [4, 4, 6],
  );
  assert.deepEqual(await ask(lookup, "four.example.com"), [{ address: "8.8.8.8", family: 4 }]);
  assert.deepEqual(
    (await ask(lookup, "six.example.com")).map(({ address, family }) => [address, family]),
    [["2606:4700::1", 6]],
  );
  await assert.rejects(ask(lookup, "none.example.com"), { code: "ENODATA" });
});

test("what the hosts file says comes first, and no server is asked", async (context) => {
  const server = await startNameServer(context, () => ["8.8.8.8"]);
  await using folder = await createTemporaryDirectory();
  const hostsFile = `${folder.path}/hosts`;
  await writeFile(
    hostsFile,
    "# a.example.com\n9.9.9.9\tother Pinned.example.com # x\n2606:4700::1 pinned.example.com\n",
  );
  const lookup = createPublicLookup({ servers: [server.address], hostsFile });
  assert.deepEqual(await ask(lookup, "pinned.example.com"), [
    { address: "9.9.9.9", family: 4 },
    { address: "2606:4700::1", family: 6 },
  ]);
  assert.deepEqual(server.asked, []);
  assert.deepEqual(await ask(lookup, "a.example.com"), [{ address: "8.8.8.8", family: 4 }]);
});

test("names whose servers never answer hold nobody else up, are given up, and their number is bounded", async (context) => {
  const server = await startNameServer(context, (name) => (name.startsWith("good") ? ["8.8.8.8"] : undefined));
  const lookup = createPublicLookup({ servers: [server.address], hostsFile: nowhere });
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const names = Array.from({ length: 127 }, (_, at) => `r${at}.silent.example.com`);
  const silent = Promise.allSettled(names.map((name) => ask(lookup, name)));
  await server.questions(2 * names.length);
  assert.deepEqual(await ask(lookup, "good.example.com"), [{ address: "8.8.8.8", family: 4 }]);
  // The threads of `getaddrinfo`, which configured upstreams are looked up by, are free.
  assert.ok((await systemLookup("localhost")).address);
  const last = ask(lookup, "one-more.silent.example.com");
  await server.questions(2 * (names.length + 2));
  await assert.rejects(ask(lookup, "good.example.com"), { code: "EAI_AGAIN" });
  context.mock.timers.tick(5_000);
  for (const outcome of [...(await silent), ...(await Promise.allSettled([last]))]) {
    assert.equal(outcome.status === "rejected" && (outcome.reason as NodeJS.ErrnoException).code, "ECANCELLED");
  }
  assert.deepEqual(await ask(lookup, "good.example.com"), [{ address: "8.8.8.8", family: 4 }]);
});
