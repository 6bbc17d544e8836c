import { download } from "../clients.ts";
import { aim } from "../report.ts";
import type { Scenario } from "../scenario.ts";
import { type RegistryName, type Server, startServer } from "../servers.ts";
import { interleave, ratio, Samples } from "../statistics.ts";

/** How much faster than another cache Entrepot is to be. */
const leastOf: Record<RegistryName, number> = { "docker-registry": 1.2, "distribution-3": 1.1 };

/** How fast stored blobs are sent, and what CPU time that takes. */
export const warmBlobs: Scenario = {
  name: "warm-blobs",
  title: "throughput of a blob that is stored",
  async run({ settings, registries, upstream, content, place, progress }) {
    await upstream.limit(Infinity);
    const { largeBytes, streams, throughputRounds } = settings;
    const blob = content.addBlob(largeBytes);
    await using stack = new AsyncDisposableStack();
    const servers = new Map<string, Server>();
    const names = ["entrepot", "nginx", ...registries] as const;
    for (const name of names) {
      const server = stack.use(await startServer(name, place()));
      servers.set(name, server);
      await download(server.origin + blob.path, largeBytes);
      await server.stored(blob);
    }
    const samples = new Samples();
    for (const count of [1, streams]) {
      const speed = `${count} stream${count === 1 ? "" : "s"}`;
      progress(speed);
      await interleave(names, throughputRounds, async (name) => {
        const server = servers.get(name);
        if (server === undefined) return;
        const cpuBefore = server.child.cpuSeconds();
        const began = performance.now();
        const times = await Promise.all(
          Array.from({ length: count }, () => download(server.origin + blob.path, largeBytes)),
        );
        const seconds = count === 1 ? (times[0] ?? Number.NaN) : (performance.now() - began) / 1000;
        const gigabytes = (count * largeBytes) / 1e9;
        samples.add(speed, name, gigabytes / seconds);
        samples.add(`${speed}: CPU`, name, (server.child.cpuSeconds() - cpuBefore) / gigabytes);
      });
    }
    const labels = ["1 stream", `${streams} streams`];
    return {
      rows: labels.flatMap((label) => [
        { name: label, unit: "GB/s", samples: samples.all(label) },
        { name: `${label}: CPU`, unit: "s/GB", samples: samples.all(`${label}: CPU`) },
      ]),
      aims: labels.flatMap((label) => [
        aim(`${label}, of nginx`, ratio(samples.of(label, "entrepot"), samples.of(label, "nginx")), "at least", 0.9),
        ...registries.map((name) => {
          const faster = ratio(samples.of(label, "entrepot"), samples.of(label, name));
          return aim(`${label}, of ${name}`, faster, "at least", leastOf[name]);
        }),
      ]),
      notes: registries.flatMap((name) =>
        labels.map((label) => {
          const cpu = `${label}: CPU`;
          return `${cpu}, of ${name}: ${ratio(samples.of(cpu, "entrepot"), samples.of(cpu, name)).toFixed(2)}×`;
        }),
      ),
    };
  },
};
