import { setTimeout as delay } from "node:timers/promises";
import { BucketServer } from "../bucket.ts";
import { download, firstByteMs, hammer, pullImage } from "../clients.ts";
import { aim } from "../report.ts";
import type { Bench, Scenario } from "../scenario.ts";
import { type Server, startServer } from "../servers.ts";
import { difference, interleave, ratio, Samples } from "../statistics.ts";

/** How many replicas there are. */
const counts = ["1", "2", "3"] as const;

/** Until all have seen each other. */
const acquaintedMs = 6_000;
/** What replicas ask the bucket for by the clock, whatever they are asked for themselves. */
const isByTheClock = (operation: string): boolean => / (?:replicas|usage|probe|pins|retention)$/.test(operation);

/** What acting as one costs, and what it saves: cold blobs through one, two and three replicas, and hits of one. */
export const replicas: Scenario = {
  name: "replicas",
  title: "several replicas on one bucket",
  async run(bench) {
    const samples = new Samples();
    const notes: string[] = [];
    await measureColdBlobs(bench, samples, notes);
    await measureHits(bench, samples);
    const direct = samples.of("first byte", "direct");
    const worst = Math.max(...counts.map((count) => difference(samples.of("first byte", count), direct)));
    return {
      rows: [
        { name: "slowest of a herd", unit: "s", samples: samples.all("slowest") },
        { name: "upstream GETs of the herd's blob", unit: "", samples: samples.all("gets") },
        { name: "first byte of a cold blob", unit: "ms", samples: samples.all("first byte") },
        { name: "hits of a manifest", unit: "requests/s", samples: samples.all("hits") },
        { name: "CPU of a manifest", unit: "µs", samples: samples.all("CPU") },
      ],
      aims: [
        aim("upstream GETs", Math.max(...counts.flatMap((count) => samples.of("gets", count))), "at most", 1, ""),
        aim("first byte, more than the upstream's own", worst, "at most", 100, "ms"),
        aim(
          "hits of a replica, of an instance's",
          ratio(samples.of("hits", "replica"), samples.of("hits", "alone")),
          "at least",
          0.95,
        ),
        aim(
          "CPU of a hit, of an instance's",
          ratio(samples.of("CPU", "replica"), samples.of("CPU", "alone")),
          "at most",
          1.05,
        ),
      ],
      notes,
    };
  },
};

async function measureColdBlobs(bench: Bench, samples: Samples, notes: string[]): Promise<void> {
  const { settings, upstream, content, place, progress, warmUp } = bench;
  for (const count of counts) {
    await using stack = new AsyncDisposableStack();
    const bucket = stack.use(await BucketServer.start());
    const servers: Server[] = [];
    for (let index = 0; index < Number(count); index++) {
      servers.push(stack.use(await startServer("entrepot-replica", { ...place(), bucket })));
    }
    await delay(acquaintedMs);
    await upstream.limit(Infinity);
    for (const { origin } of servers) await pullImage(origin, warmUp);
    await bucket.takeCounts();
    const originOf = (index: number): string => servers[index % servers.length]?.origin ?? "";
    for (let round = 0; round < settings.herdRounds; round++) {
      progress(`${count} replicas, herd ${round + 1}`);
      const image = content.addImage(`replicas-${count}-${round}`, [settings.herdBytes, 1024 * 1024, 1024 * 1024]);
      const [, large, ...small] = image.blobs;
      if (large === undefined) throw new Error("the image has no layer");
      await upstream.limit(Infinity);
      for (const { origin } of servers) await download(origin + image.manifestPath, image.manifestBytes);
      await bucket.takeCounts();
      await upstream.takeCounts();
      await upstream.limit(settings.upstreamBytesPerSecond);
      const times = await Promise.all(
        Array.from({ length: settings.herdClients }, (_, client) =>
          download(originOf(client) + large.path, large.sizeBytes),
        ),
      );
      samples.add("slowest", count, Math.max(...times));
      samples.add("gets", count, (await upstream.takeCounts()).blobGets);
      const { requests } = await bucket.takeCounts();
      if (round === 0) notes.push(`${count} replicas, one cold blob: ${formatCounts(requests)}`);
      for (const [index, blob] of small.entries()) {
        samples.add("first byte", "direct", await firstByteMs(upstream.origin + blob.path, blob.sizeBytes));
        samples.add("first byte", count, await firstByteMs(originOf(index) + blob.path, blob.sizeBytes));
      }
    }
  }
}

function formatCounts(requests: Readonly<Record<string, number>>): string {
  const wanted = Object.entries(requests).filter(([operation]) => !isByTheClock(operation));
  return wanted
    .map(([operation, count]) => `${count} ${operation}`)
    .toSorted()
    .join(", ");
}

/** Hits of one of two replicas, beside those of an instance with a bucket that is none. */
async function measureHits(bench: Bench, samples: Samples): Promise<void> {
  const { settings, upstream, place, progress, warmUp } = bench;
  const { manifestConnections, manifestSeconds } = settings;
  await upstream.limit(Infinity);
  await using stack = new AsyncDisposableStack();
  const bucket = stack.use(await BucketServer.start());
  const alone = stack.use(
    await startServer("entrepot-bucket", { ...place(), bucket: stack.use(await BucketServer.start()) }),
  );
  const replica = stack.use(await startServer("entrepot-replica", { ...place(), bucket }));
  stack.use(await startServer("entrepot-replica", { ...place(), bucket }));
  const servers = { alone, replica } as const;
  for (const { origin } of Object.values(servers)) {
    await pullImage(origin, warmUp);
    await hammer(origin + warmUp.manifestPath, manifestConnections, 1);
  }
  await interleave(["alone", "replica"] as const, settings.bucketRounds, async (name, round) => {
    progress(`hits, round ${round + 1}, ${name}`);
    const { child, origin } = servers[name];
    const before = child.cpuSeconds();
    const { perSecond } = await hammer(origin + warmUp.manifestPath, manifestConnections, manifestSeconds);
    samples.add("hits", name, perSecond);
    samples.add("CPU", name, ((child.cpuSeconds() - before) / (perSecond * manifestSeconds)) * 1e6);
  });
}
