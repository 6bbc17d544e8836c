import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { createServer } from "node:net";
import { test } from "node:test";

const guard = new URL("../../support/network.ts", import.meta.url).href;

/** Runs a program in a process of its own, as what is refused makes that process fail. */
function run(program: string): { status: number | null; output: string } {
  const source = `import "${guard}";\n${program}`;
  const { status, stdout, stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", source], {
    encoding: "utf8",
  });
  return { status, output: stdout + stderr };
}

const refused: Record<string, string> = {
  "an address": `import { connect } from "node:net"; connect({ host: "192.0.2.1", port: 443 });`,
  "an address as a second parameter": `import { connect } from "node:net"; connect(443, "192.0.2.1");`,
  "an address over TLS": `import { connect } from "node:tls"; connect({ host: "192.0.2.1", port: 443 });`,
  "a name": `import { connect } from "node:net"; connect({ host: "registry.example.com", port: 443 });`,
  "fetch of a name": `await fetch("http://registry.example.com/");`,
  "a look-up": `import { lookup } from "node:dns"; lookup("registry.example.com", () => {});`,
  "a look-up by promise": `import { lookup } from "node:dns/promises"; await lookup("registry.example.com");`,
  "a question to a name server": `import { Resolver } from "node:dns/promises";
    const resolver = new Resolver(); resolver.setServers(["192.0.2.1:53"]); await resolver.resolve4("a.example.com");`,
  "a look-up of its own": `import { connect } from "node:net";
    connect({ host: "registry.example.com", port: 443,
      lookup: (name, options, done) => done(null, [{ address: "192.0.2.1", family: 4 }]) });`,
};
for (const [what, program] of Object.entries(refused)) {
  test(`${what} that leads outside is refused, and the process fails`, () => {
    const { status, output } = run(program);
    assert.notEqual(status, 0);
    assert.match(output, /a test tried to reach (?:192\.0\.2\.1|registry\.example\.com)/);
  });
}

test("the process fails also where the error was caught", () => {
  const { status } = run(`import { connect } from "node:net"; try { connect(443, "192.0.2.1"); } catch {}`);
  assert.equal(status, 1);
});

test("loopback is let through: by address, by name, and by a look-up of its own", async () => {
  const server = createServer((socket) => socket.end());
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  // The test's own event loop has to serve, so that the child process may not block it.
  const program = `import "${guard}";
    import { connect } from "node:net";
    import { once } from "node:events";
    const lookup = (name, options, done) => done(null, [{ address: "127.0.0.1", family: 4 }]);
    for (const host of ["127.0.0.1", "localhost", "registry.example.com"]) {
      await once(connect({ port: ${address.port}, host, ...(host.includes("example") ? { lookup } : {}) }), "connect");
    }
    process.exit();`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", program], { stdio: "inherit" });
  const status = await new Promise((resolve) => child.once("exit", resolve));
  server.close();
  assert.equal(status, 0);
});
