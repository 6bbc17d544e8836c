import { download, pullImage } from "../clients.ts";
import type { Blob } from "../content.ts";
import { aim } from "../report.ts";
import type { Bench, Scenario } from "../scenario.ts";
import { type ServerName, startServer } from "../servers.ts";
import { median, ratio, Samples } from "../statistics.ts";

/** Many clients that ask for the same cold blob at once. */
export const herd: Scenario = {
  name: "herd",
  title: "many clients on one cold blob",
  async run(bench) {
    const { settings, registries, upstream, content, progress } = bench;
    const { herdBytes, herdRounds, registryHerdRounds, herdClients } = settings;
    const blob = content.addBlob(herdBytes);
    await upstream.limit(settings.upstreamBytesPerSecond);
    const samples = new Samples();
    for (let round = 0; round < herdRounds; round++) {
      progress(`round ${round + 1}, direct`);
      samples.add("slowest", "direct", await download(upstream.origin + blob.path, herdBytes));
      progress(`round ${round + 1}, entrepot`);
      await stampede("entrepot", blob, bench, samples);
    }
    for (let round = 0; round < registryHerdRounds; round++) {
      for (const name of registries) {
        progress(`round ${round + 1}, ${name}`);
        await stampede(name, blob, bench, samples);
      }
    }
    const direct = samples.of("slowest", "direct");
    return {
      rows: [
        { name: `slowest of ${herdClients}`, unit: "s", samples: samples.all("slowest") },
        { name: "all, with the start of the clients", unit: "s", samples: samples.all("all") },
        { name: "upstream GETs", unit: "", samples: samples.all("gets") },
        { name: "upstream bytes, of the blob's", unit: "×", samples: samples.all("bytes") },
        { name: "peak RSS", unit: "MiB", samples: samples.all("rss") },
        { name: "CPU", unit: "s", samples: samples.all("cpu") },
      ],
      aims: [
        aim("slowest, of one direct download", ratio(samples.of("slowest", "entrepot"), direct), "at most", 1.15),
        aim("upstream GETs", Math.max(...samples.of("gets", "entrepot")), "at most", 1, ""),
        aim("upstream bytes", Math.max(...samples.of("bytes", "entrepot")), "at most", 1),
      ],
      notes: registries.map((name) => {
        const times = median(samples.of("slowest", name)) / median(direct);
        return `${name}: ${times.toFixed(1)}× one direct download`;
      }),
    };
  },
};

async function stampede(
  name: ServerName,
  blob: Blob,
  { settings, upstream, warmUp, place }: Bench,
  samples: Samples,
): Promise<void> {
  await using server = await startServer(name, place());
  await pullImage(server.origin, warmUp);
  await upstream.takeCounts();
  const cpuBefore = server.child.cpuSeconds();
  const began = performance.now();
  const times = await Promise.all(
    Array.from({ length: settings.herdClients }, () => download(server.origin + blob.path, blob.sizeBytes)),
  );
  samples.add("all", name, (performance.now() - began) / 1000);
  await server.stored(blob);
  const { blobGets, blobBytes } = await upstream.takeCounts();
  samples.add("slowest", name, Math.max(...times));
  samples.add("gets", name, blobGets);
  samples.add("bytes", name, blobBytes / blob.sizeBytes);
  samples.add("rss", name, server.child.memory().peak / 2 ** 20);
  samples.add("cpu", name, server.child.cpuSeconds() - cpuBefore);
}
