import { setTimeout as delay } from "node:timers/promises";
import { download, firstByteMs, pullImage } from "../clients.ts";
import type { Blob } from "../content.ts";
import { aim } from "../report.ts";
import type { Bench, Scenario } from "../scenario.ts";
import { type ServerName, startServer } from "../servers.ts";
import { median, Samples } from "../statistics.ts";

const settleMs = 1_500;
const firstRequests = 100;
const mebibyte = 2 ** 20;

/** Resident memory of a server that does little: at rest, after its first requests, after cold and after warm blobs. */
export const resident: Scenario = {
  name: "resident",
  title: "resident memory of a server that does little",
  async run(bench) {
    const { settings, registries, content, upstream, progress } = bench;
    await upstream.limit(Infinity);
    const blobs = [content.addBlob(settings.smallBytes), content.addBlob(settings.smallBytes)];
    const samples = new Samples();
    for (let round = 0; round < settings.residentRounds; round++) {
      for (const name of ["entrepot", ...registries] as const) {
        progress(`round ${round + 1}, ${name}`);
        await observe(name, blobs, bench, samples);
      }
    }
    const size = settings.smallBytes / mebibyte;
    const states = {
      rest: "after the start",
      requests: `after ${firstRequests} requests`,
      cold: `after two blobs of ${size} MiB`,
      warm: `after ${settings.warmPulls} more pulls of them`,
    };
    const ours = (state: string): number => median(samples.of(state, "entrepot"));
    return {
      rows: Object.entries(states).map(([state, name]) => ({ name, unit: "MiB", samples: samples.all(state) })),
      aims: [
        aim(states.requests, ours("requests"), "at most", 100, "MiB"),
        aim(states.cold, ours("cold"), "at most", 110, "MiB"),
        ...registries
          .filter((name) => name === "distribution-3")
          .flatMap((name) =>
            Object.entries(states).map(([state, text]) =>
              aim(`${text}, of ${name}`, ours(state) / median(samples.of(state, name)), "at most", 2),
            ),
          ),
      ],
      notes: [],
    };
  },
};

async function observe(name: ServerName, blobs: readonly Blob[], bench: Bench, samples: Samples): Promise<void> {
  const { settings, warmUp, place } = bench;
  await using server = await startServer(name, place());
  const note = async (state: string): Promise<void> => {
    await delay(settleMs);
    samples.add(state, name, server.child.memory().rss / mebibyte);
  };
  await note("rest");
  await pullImage(server.origin, warmUp);
  const small = [
    { path: warmUp.manifestPath, sizeBytes: warmUp.manifestBytes },
    { path: warmUp.manifestPath.replace(/[^/]*$/, warmUp.manifestDigest), sizeBytes: warmUp.manifestBytes },
    ...warmUp.blobs,
  ];
  for (let count = 0; count < firstRequests; count++) {
    const asked = small[count % small.length] ?? warmUp.blobs[0];
    if (asked !== undefined) await firstByteMs(server.origin + asked.path, asked.sizeBytes);
  }
  await note("requests");
  for (const blob of blobs) {
    await download(server.origin + blob.path, blob.sizeBytes);
    await server.stored(blob);
  }
  await note("cold");
  for (let count = 0; count < settings.warmPulls; count++) {
    const blob = blobs[count % blobs.length];
    if (blob !== undefined) await download(server.origin + blob.path, blob.sizeBytes);
  }
  await note("warm");
}
