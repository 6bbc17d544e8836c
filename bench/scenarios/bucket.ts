import { BucketServer } from "../bucket.ts";
import { download, hammer, pullImage } from "../clients.ts";
import type { Image } from "../content.ts";
import { aim } from "../report.ts";
import type { Bench, Scenario } from "../scenario.ts";
import { type Server, startServer } from "../servers.ts";
import { interleave, ratio, Samples } from "../statistics.ts";

/** The same program, without a bucket behind its folder and with one. */
const names = ["entrepot", "entrepot-bucket"] as const;
type Name = (typeof names)[number];

const mib = 1024 * 1024;
const quiet = "requests to the bucket while hits are asked for";

/** What a bucket behind the folder costs: hits and first pulls beside those of a mirror without, and its requests. */
export const bucket: Scenario = {
  name: "bucket",
  title: "a bucket behind the folder, against none",
  async run(bench) {
    const samples = new Samples();
    await using server = await BucketServer.start();
    const notes = await countRequests(bench, server);
    await measureHits(bench, server, samples);
    const { upstreamBytesPerSecond: rate } = bench.settings;
    // Where clients, upstream, mirror and bucket share few cores, the higher rate shows what these leave.
    for (const each of [rate, rate / 2]) await measurePulls(bench, server, samples, each);
    const against = (what: string, first: Name, second: Name): number =>
      ratio(samples.of(what, first), samples.of(what, second));
    const row = (name: string, unit: string): { name: string; unit: string; samples: ReturnType<Samples["all"]> } => ({
      name,
      unit,
      samples: samples.all(name),
    });
    const [tiered, plain] = ["entrepot-bucket", "entrepot"] as const;
    return {
      rows: [
        row("hits of a manifest", "requests/s"),
        row("99th percentile", "ms"),
        row("CPU of a manifest", "µs"),
        row("hit of a blob", "GB/s"),
        row("CPU of a blob", "s/GB"),
        ...[rate, rate / 2].flatMap((each) => [row(pullAt(each), "s"), row(`CPU of a ${pullAt(each)}`, "s")]),
        row(quiet, ""),
      ],
      aims: [
        aim("requests/s, of those without", against("hits of a manifest", tiered, plain), "at least", 0.95),
        aim("CPU of a manifest, of that without", against("CPU of a manifest", tiered, plain), "at most", 1.05),
        aim("GB/s, of those without", against("hit of a blob", tiered, plain), "at least", 0.95),
        aim("CPU of a blob, of that without", against("CPU of a blob", tiered, plain), "at most", 1.05),
        ...[rate, rate / 2].map((each) =>
          aim(`a ${pullAt(each)}, of one without`, against(pullAt(each), tiered, plain), "at most", 1.05),
        ),
        aim("requests to the bucket for hits", Math.max(...samples.of(quiet, tiered)), "at most", 0, ""),
      ],
      notes,
    };
  },
};

/** What is asked of the bucket for each step of a first pull, and for a second one; as lines to print. */
async function countRequests({ upstream, content, warmUp, place }: Bench, bucket: BucketServer): Promise<string[]> {
  await upstream.limit(Infinity);
  const small = content.addImage("requests", [mib]);
  const large = content.addBlob(64 * mib);
  await using server = await startServer("entrepot-bucket", { ...place(), bucket });
  await pullImage(server.origin, warmUp);
  await bucket.takeCounts();
  const lines: string[] = [];
  const step = async (what: string, work: () => Promise<unknown>): Promise<void> => {
    await work();
    const { requests } = await bucket.takeCounts();
    const counts = Object.entries(requests).map(([operation, count]) => `${count} ${operation}`);
    lines.push(`${what}: ${counts.length === 0 ? "no request to the bucket" : counts.toSorted().join(", ")}`);
  };
  await step("the manifest of a new image of 2 blobs", () =>
    download(server.origin + small.manifestPath, small.manifestBytes),
  );
  const [, layer = large] = small.blobs;
  await step("a new blob of 1 MiB", () => download(server.origin + layer.path, layer.sizeBytes));
  await step("a new blob of 64 MiB", () => download(server.origin + large.path, large.sizeBytes));
  await pullImage(server.origin, small);
  await bucket.takeCounts();
  await step("the same image again", () => pullImage(server.origin, small));
  return lines;
}

async function measureHits(bench: Bench, bucket: BucketServer, samples: Samples): Promise<void> {
  const { settings, upstream, content, warmUp, place, progress } = bench;
  const { manifestConnections, manifestSeconds } = settings;
  await upstream.limit(Infinity);
  const blob = content.addBlob(settings.smallBytes);
  await using stack = new AsyncDisposableStack();
  const servers = new Map<Name, Server>();
  for (const name of names) {
    const server = stack.use(await startServer(name, { ...place(), bucket }));
    servers.set(name, server);
    await pullImage(server.origin, warmUp);
    await download(server.origin + blob.path, blob.sizeBytes);
    await server.stored(blob);
    // A process that has just begun is not what is measured.
    await hammer(server.origin + warmUp.manifestPath, manifestConnections, 1);
  }
  await bucket.takeCounts();
  await interleave(names, settings.bucketRounds, async (name, round) => {
    progress(`hits, round ${round + 1}, ${name}`);
    const server = servers.get(name);
    if (server === undefined) return;
    const { child, origin } = server;
    const before = child.cpuSeconds();
    const rate = await hammer(origin + warmUp.manifestPath, manifestConnections, manifestSeconds);
    const between = child.cpuSeconds();
    samples.add("hits of a manifest", name, rate.perSecond);
    samples.add("99th percentile", name, rate.p99Ms);
    samples.add("CPU of a manifest", name, ((between - before) / (rate.perSecond * manifestSeconds)) * 1e6);
    let seconds = 0;
    for (let times = 0; times < 4; times++) seconds += await download(origin + blob.path, blob.sizeBytes);
    const gigabytes = (4 * blob.sizeBytes) / 1e9;
    samples.add("hit of a blob", name, gigabytes / seconds);
    samples.add("CPU of a blob", name, (child.cpuSeconds() - between) / gigabytes);
    const { requests } = await bucket.takeCounts();
    samples.add(
      quiet,
      name,
      Object.values(requests).reduce((sum, each) => sum + each, 0),
    );
  });
}

function pullAt(bytesPerSecond: number): string {
  return `first pull at ${bytesPerSecond / 1e6} MB/s`;
}

/** First pulls of an image, as in `cold-pull`: each of an image of its own, as the bucket would have another's. */
async function measurePulls(bench: Bench, bucket: BucketServer, samples: Samples, rate: number): Promise<void> {
  const { settings, upstream, content, warmUp, place, progress } = bench;
  await interleave(names, settings.bucketRounds, async (name, round) => {
    progress(`${pullAt(rate)}, round ${round + 1}, ${name}`);
    const image: Image = content.addImage(`first-${rate}-${round}-${name}`, settings.layerBytes);
    await upstream.limit(Infinity);
    await using server = await startServer(name, { ...place(), bucket });
    await pullImage(server.origin, warmUp);
    await bucket.takeCounts();
    await upstream.limit(rate);
    const before = server.child.cpuSeconds();
    samples.add(pullAt(rate), name, await pullImage(server.origin, image));
    for (const blob of image.blobs) await server.stored(blob);
    const digests = image.blobs.map(({ digest }) => digest);
    if (name === "entrepot-bucket") await bucket.stored(digests, 120_000);
    samples.add(`CPU of a ${pullAt(rate)}`, name, server.child.cpuSeconds() - before);
  });
}
