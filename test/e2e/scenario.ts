import assert from "node:assert/strict";
import { type BuiltImage, type BuiltPlatform, buildImage } from "../support/image.ts";
import { createTemporaryDirectory } from "../support/temporary.ts";
import { type Mirror, startMirror } from "./mirror.ts";
import type { Program } from "./programs.ts";
import { startUpstreamRegistry, type UpstreamRegistry } from "./upstream-registry.ts";

/** An image as it lies in an upstream registry. */
export interface PublishedImage {
  /** What a user types: `docker.io/library/test:1`. */
  readonly reference: string;
  readonly namespace: string;
  readonly image: BuiltImage;
}

/** A client that was set up to use the mirror. */
export interface Client extends AsyncDisposable {
  /** Its long-running programs, for their logs. */
  readonly programs: readonly Program[];
  /** Pulls an image for one platform; fails where the client fails. */
  pull(reference: string, platform: BuiltPlatform): Promise<void>;
  /** Asserts that the client has the image, with the right digest and configuration. */
  verify(published: PublishedImage, platform: BuiltPlatform): Promise<void>;
  /** Makes the client forget the image, so that the next pull needs all of it again. */
  remove(reference: string): Promise<void>;
}

/** What a client's test says about it. */
export interface Scenario {
  readonly name: string;
  /** Registries whose images the client can pull through the mirror. */
  readonly namespaces: readonly string[];
  /** Sets the client up to use the mirror, with all that it keeps in `directory`. */
  start(directory: string, mirror: Mirror): Promise<Client>;
}

const repositories: Readonly<Record<string, string>> = {
  "docker.io": "library/test",
  "registry.example.com": "team/project/test",
};

/**
 * Pulls an image of each registry, for two platforms: first with empty folders everywhere, then with the upstream
 * registries gone, then once more after a restart of the mirror. Prints one line a step, and all logs on failure.
 */
export async function pullColdThenWarm(scenario: Scenario): Promise<void> {
  await using directory = await createTemporaryDirectory();
  await using stack = new AsyncDisposableStack();
  const programs: (() => Program)[] = [];

  async function step<T>(what: string, work: () => Promise<T>): Promise<T> {
    const startedAt = performance.now();
    try {
      const result = await work();
      say(`${scenario.name}: ${what} (${((performance.now() - startedAt) / 1000).toFixed(1)} s)`);
      return result;
    } catch (error) {
      say(`${scenario.name}: ${what} FAILED`);
      for (const program of programs) {
        say(`--- the log of ${program().name} ---\n${lastLines(await program().log(), 60)}\n---`);
      }
      throw error;
    }
  }

  const upstreams = new Map<string, UpstreamRegistry>();
  const published: PublishedImage[] = [];
  for (const namespace of scenario.namespaces) {
    const repository = repositories[namespace] ?? "test";
    const image = buildImage({ layers: 4, layerBytes: 1_500_000, platforms: 2, seed: `${scenario.name} ${namespace}` });
    await step(`push ${repository}:1 to the upstream that stands for ${namespace}`, async () => {
      const upstream = stack.use(await startUpstreamRegistry(namespace, directory.path));
      upstreams.set(namespace, upstream);
      programs.push(() => upstream.program);
      await upstream.push(repository, "1", image);
    });
    published.push({ reference: `${namespace}/${repository}:1`, namespace, image });
  }

  const mirror = await step("start the mirror", async () => {
    const hosts = [...upstreams].map(([namespace, { host }]) => [namespace, host] as const);
    return stack.use(await startMirror(directory.path, Object.fromEntries(hosts)));
  });
  programs.push(() => mirror.program);
  const client = await step("start the client", async () => stack.use(await scenario.start(directory.path, mirror)));
  programs.push(...client.programs.map((program) => () => program));

  async function pullAll(how: string): Promise<void> {
    for (const each of published) {
      for (const platform of each.image.platforms) {
        await step(`pull ${each.reference} for ${platform.architecture}, ${how}`, async () => {
          await client.pull(each.reference, platform);
          await client.verify(each, platform);
          await client.remove(each.reference);
        });
      }
    }
  }

  await pullAll("cold");
  await step("the cold pulls asked the upstream for each blob once", async () => {
    for (const { namespace, image } of published) {
      for (const digest of image.blobs.keys()) {
        assert.equal(await upstreams.get(namespace)?.countGets(digest), 1, `GETs of ${digest}`);
      }
    }
  });
  await step("stop the upstreams", async () => {
    for (const upstream of upstreams.values()) {
      await upstream.stop();
    }
  });
  await pullAll("warm, upstream stopped");
  await step("restart the mirror", () => mirror.restart());
  await pullAll("warm, mirror restarted");
}

/** The end of a log, without what long lines have too much. */
function lastLines(text: string, count: number): string {
  const lines = text.trimEnd().split("\n").slice(-count);
  return lines.map((line) => (line.length > 500 ? `${line.slice(0, 500)}…` : line)).join("\n");
}

/** Not a diagnostic of the test runner's, which would hold it back until the test has ended. */
function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
