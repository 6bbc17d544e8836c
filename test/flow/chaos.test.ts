import assert from "node:assert/strict";
import { Agent } from "node:http";
import { test } from "node:test";
import { type Digest, digestOf } from "../../src/oci/digest.ts";
import { createRandom } from "../support/random.ts";
import type { Behaviour } from "../support/behaviour.ts";
import { BrokenBody, request } from "../support/http.ts";
import { startProcess } from "../support/process.ts";
import { soaks } from "../support/soak.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";
import { createUpstream, type ScriptedUpstream } from "../support/upstream.ts";

/*
 * An upstream that is healthy, slow, resetting, limiting, failing and gone in turn, under clients that pull what is
 * cached and what is not. A few seconds of it, or a minute (`npm run soak`); CHAOS_SECONDS asks for more.
 */
const seconds = Number(process.env["CHAOS_SECONDS"] ?? (soaks ? 60 : 6));
const images = soaks ? 200 : 100;
const layerBytes = soaks ? 20_000 : 5_000;
/** Of fewer it would be chance what the upstream is asked for. */
const leastPulls = 900;
const clients = 50;
const pullsPerMode = soaks ? 60 : 30;
const memorySlackBytes = 96 * 1024 * 1024;
const seed = 20_26_11;

const modes: readonly (readonly [name: string, behaviour: Behaviour | "gone" | undefined])[] = [
  ["healthy", undefined],
  ["slow", { dripBytes: 4_096, dripEveryMs: 20 }],
  ["healthy", undefined],
  ["resetting", { cutAfterBytes: 1_000, cutBy: "reset" }],
  ["limiting", { status: 429, headers: { "retry-after": "1" }, body: "{}" }],
  ["healthy", undefined],
  ["failing", { status: 503, body: "{}" }],
  ["gone", "gone"],
];

interface Image {
  readonly tag: string;
  readonly digest: Digest;
  readonly blobs: readonly Digest[];
}

test(
  "chaos: what is cached is always served, and nothing wrong ever is",
  { timeout: (seconds + 120) * 1000 },
  async () => {
    await using folder = await createTemporaryDirectory();
    await using upstream = await createUpstream();
    const random = createRandom(seed);
    const all = Array.from({ length: images }, (_, index): Image => {
      const tag = `v${index}`;
      const { digest, blobs } = upstream.addImage("library/chaos", tag, {
        layers: 2,
        layerBytes,
        platforms: 1,
      });
      return { tag, digest, blobs };
    });
    await using mirror = await startProcess({
      root: `${folder.path}/root`,
      upstream: upstream.host,
      settings: { manifest_invalidation_time: "1s", retries: 2, header_timeout: "2s", idle_timeout: "2s" },
    });
    const url = await mirror.listening;
    const agent = new Agent({ keepAlive: true, maxSockets: clients });
    try {
      const cached = all.slice(0, images / 2);
      for (const image of cached) assert.deepEqual(await pull(url, image, agent), "whole");
      const askedBefore = upstream.requests.length;
      const behave = createMoods(upstream);
      const change = async (before: Promise<void>, next: Behaviour | "gone" | undefined): Promise<void> => {
        await before;
        await behave(next);
      };
      let pulls = 0;
      let mode = 0;
      const outcomes = { whole: 0, refused: 0, broken: 0 };
      let deadline = 0;
      let target = 0;
      const changes = { running: Promise.resolve() };
      const client = async (): Promise<void> => {
        while (performance.now() < deadline || pulls < target) {
          const image = all[Math.floor(random() * images)];
          assert.ok(image !== undefined);
          const outcome = await pull(url, image, agent);
          outcomes[outcome]++;
          if (cached.includes(image))
            assert.equal(outcome, "whole", `${image.tag} is cached, in mode ${modes[mode]?.[0]}`);
          if (++pulls % pullsPerMode === 0) {
            mode = (mode + 1) % modes.length;
            const next = modes[mode]?.[1];
            changes.running = change(changes.running, next);
          }
        }
      };
      const run = async (share: number): Promise<void> => {
        deadline = performance.now() + seconds * 1_000 * share;
        target += leastPulls * share;
        await Promise.all(Array.from({ length: clients }, client));
        await changes.running;
      };
      // What a process takes once it has been busy it keeps; what it goes on taking is a leak.
      await run(0.4);
      const memoryBefore = await residentBytes(url);
      await run(0.6);
      await behave(undefined);
      const asked = upstream.requests.length - askedBefore;
      assert.ok(pulls > pullsPerMode * modes.length, `only ${pulls} pulls: not every mode was seen`);
      assert.ok(outcomes.refused + outcomes.broken > 0, "the upstream was never in anybody's way");
      // A pull is three or four requests of a client; asked for each of them, once and twice again, would be the worst.
      assert.ok(asked < pulls * 2, `${asked} upstream requests for ${pulls} pulls`);
      const memoryAfter = await residentBytes(url);
      assert.ok(
        memoryAfter - memoryBefore < memorySlackBytes,
        `memory went from ${memoryBefore} to ${memoryAfter} bytes`,
      );
    } finally {
      agent.destroy();
    }
  },
);

/** Pulls an image by tag. Every complete body must be right, whatever the upstream does. */
async function pull(url: string, image: Image, agent: Agent): Promise<"whole" | "refused" | "broken"> {
  try {
    const manifest = await request(`${url}/v2/library/chaos/manifests/${image.tag}`, { agent });
    if (manifest.status !== 200) return refused(manifest.status);
    assert.equal(digestOf(manifest.body), image.digest);
    for (const digest of image.blobs) {
      const blob = await request(`${url}/v2/library/chaos/blobs/${digest}`, { agent });
      if (blob.status !== 200) return refused(blob.status);
      assert.equal(digestOf(blob.body), digest);
    }
    return "whole";
  } catch (error) {
    if (error instanceof BrokenBody) return "broken";
    throw error;
  }
}

function refused(status: number): "refused" {
  assert.ok([502, 503, 504].includes(status), `status ${status}`);
  return "refused";
}

/** Lets the upstream behave in one way after the other. */
function createMoods(upstream: ScriptedUpstream): (behaviour: Behaviour | "gone" | undefined) => Promise<void> {
  let gone = false;
  return async (behaviour) => {
    upstream.behave();
    if (gone !== (behaviour === "gone")) {
      gone = !gone;
      await (gone ? upstream.down() : upstream.up());
    }
    if (behaviour !== undefined && behaviour !== "gone") upstream.when({ path: /^\/v2\// }, behaviour);
  };
}

async function residentBytes(url: string): Promise<number> {
  const { body } = await request(`${url}/metrics`);
  return Number(/^process_resident_memory_bytes (\S+)$/m.exec(body.toString("utf8"))?.[1]);
}
