import { setTimeout as delay } from "node:timers/promises";
import { download, pullImage, readSlowly } from "../clients.ts";
import type { Blob } from "../content.ts";
import { aim } from "../report.ts";
import type { Bench, Scenario } from "../scenario.ts";
import { startServer, type ServerName } from "../servers.ts";
import { Samples } from "../statistics.ts";

const settleMs = 1_500;

/** Resident memory: after the start, and with many slow clients on one blob while it is being fetched and when it is stored. */
export const memory: Scenario = {
  name: "memory",
  title: "resident memory, and many slow clients on one blob",
  async run(bench) {
    const { settings, registries, content } = bench;
    const sizes = [settings.smallBytes, settings.largeBytes];
    const blobs = sizes.map((size) => content.addBlob(size));
    const samples = new Samples();
    for (const blob of blobs) {
      for (const name of ["entrepot", "nginx", ...registries] as const) await observe(name, blob, bench, samples);
    }
    const clients = `${settings.slowClients} clients`;
    const states = (blob: Blob): string[] =>
      ["cold", "warm"].map((state) => `${formatSize(blob.sizeBytes)}, ${state}: ${clients}`);
    const peaks = blobs.map((blob) => Math.max(...states(blob).flatMap((state) => samples.of(state, "entrepot"))));
    const [small = Number.NaN, large = Number.NaN] = peaks;
    return {
      rows: ["idle", ...blobs.flatMap(states)].map((name) => ({ name, unit: "MiB", samples: samples.all(name) })),
      aims: [
        aim(`RSS with ${clients}`, Math.max(...peaks), "at most", 256, "MiB"),
        aim("RSS, large blob against small", large / small, "at most", 1.15),
      ],
      notes: ["nginx is several processes: pages that they share are counted for each of them"],
    };
  },
};

async function observe(name: ServerName, blob: Blob, bench: Bench, samples: Samples): Promise<void> {
  const { settings, upstream, warmUp, place, progress } = bench;
  const size = formatSize(blob.sizeBytes);
  await using server = await startServer(name, place());
  const { child } = server;
  const url = server.origin + blob.path;
  const slow = {
    clients: settings.slowClients,
    bytesPerSecond: settings.slowBytesPerSecond,
    seconds: settings.slowSeconds,
  };
  const peak = async (state: string): Promise<void> => {
    progress(`${size}, ${name}, ${state}`);
    child.resetPeak();
    await readSlowly(url, slow);
    samples.add(`${size}, ${state}: ${slow.clients} clients`, name, child.memory().peak / 2 ** 20);
  };
  await delay(settleMs);
  samples.add("idle", name, child.memory().rss / 2 ** 20);
  await pullImage(server.origin, warmUp);
  // The other caches fetch the blob anew for each client.
  if (name === "entrepot") {
    // About as long as the clients stay.
    await upstream.limit(blob.sizeBytes / settings.slowSeconds);
    await peak("cold");
  }
  await upstream.limit(Infinity);
  await download(url, blob.sizeBytes);
  await server.stored(blob);
  await peak("warm");
}

function formatSize(bytes: number): string {
  return `${bytes / 2 ** 20} MiB`;
}
