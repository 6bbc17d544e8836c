/*
 * `npm start`, as the documentation has it: npm runs a shell, which runs the program. Whoever stops one stops them all.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import "../support/network.ts";
import { createBarrier } from "../support/barrier.ts";
import { pseudoRandomBytes } from "../support/content.ts";
import { open } from "../support/http.ts";
import { type MirrorProcess, startProcess } from "../support/process.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";
import { createUpstream } from "../support/upstream.ts";

const bytes = pseudoRandomBytes(300_000, "npm start");
const launcher = ["npm", "start", "--"] as const;

const ways: Readonly<Record<string, (npm: MirrorProcess) => void>> = {
  "SIGTERM to npm": (npm) => npm.kill("SIGTERM"),
  "SIGINT to npm": (npm) => npm.kill("SIGINT"),
  "SIGTERM to all processes, as by systemd": (npm) => npm.killGroup("SIGTERM"),
  "SIGINT to all processes, as by Ctrl-C": (npm) => npm.killGroup("SIGINT"),
};

for (const [what, stop] of Object.entries(ways)) {
  test(
    `${what}: running answers end whole, then npm ends with 0, and nothing stays`,
    { timeout: 60_000 },
    async (context) => {
      await using folder = await createTemporaryDirectory();
      await using upstream = await createUpstream();
      const path = `/v2/library/test/blobs/${upstream.addBlob(bytes)}`;
      const rest = createBarrier();
      upstream.when({ path }, { stallAfterBytes: 100_000, stallAt: rest });
      await using npm = await startProcess({ root: `${folder.path}/root`, upstream: upstream.host, launcher });
      context.signal.addEventListener("abort", () => npm.killGroup("SIGKILL"));
      using response = await open(`${await npm.listening}${path}`);
      stop(npm);
      const gone = npm.exited.then(() => assert.fail("npm ended before the answer"));
      await Promise.race([npm.logged("stopping"), gone]);
      rest.release();
      assert.ok((await Promise.race([response.rest(), gone])).equals(bytes));
      await npm.exited;
      assert.equal(npm.killGroup(0), false, "a process was left behind");
      const { code, signal } = await npm.ended;
      assert.deepEqual([code, signal], [0, null]);
      assert.equal(npm.log().at(-1)?.["msg"], "stopped");
    },
  );
}

test("the exit code of a start that fails is npm's", async () => {
  await using folder = await createTemporaryDirectory();
  const config = { unknown_key: 1 };
  await using npm = await startProcess({ root: `${folder.path}/root`, upstream: "127.0.0.1:1", config, launcher });
  await assert.rejects(npm.listening, /unknown_key/);
  assert.equal((await npm.ended).code, 2);
});
