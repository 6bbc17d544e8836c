import { hammer, pullImage } from "../clients.ts";
import { aim } from "../report.ts";
import type { Scenario } from "../scenario.ts";
import { type Server, startServer } from "../servers.ts";
import { interleave, ratio, Samples } from "../statistics.ts";

/** How many requests for a tag's manifest are answered. */
export const manifests: Scenario = {
  name: "manifests",
  title: "a stored manifest by its tag",
  async run({ settings, registries, upstream, warmUp, place, progress }) {
    await upstream.limit(Infinity);
    const { manifestRounds, manifestSeconds, manifestConnections } = settings;
    await using stack = new AsyncDisposableStack();
    const servers = new Map<string, Server>();
    const names = ["entrepot", "nginx", ...registries] as const;
    for (const name of names) {
      const server = stack.use(await startServer(name, place()));
      servers.set(name, server);
      await pullImage(server.origin, warmUp);
      // A process that has just begun is not what is measured.
      await hammer(server.origin + warmUp.manifestPath, manifestConnections, 1);
    }
    const samples = new Samples();
    await upstream.takeCounts();
    await interleave(names, manifestRounds, async (name, round) => {
      progress(`round ${round + 1}, ${name}`);
      const server = servers.get(name);
      if (server === undefined) return;
      const cpuBefore = server.child.cpuSeconds();
      const rate = await hammer(server.origin + warmUp.manifestPath, manifestConnections, manifestSeconds);
      const { manifestGets, manifestHeads } = await upstream.takeCounts();
      const requests = rate.perSecond * manifestSeconds;
      samples.add("rate", name, rate.perSecond);
      samples.add("p99", name, rate.p99Ms);
      samples.add("cpu", name, ((server.child.cpuSeconds() - cpuBefore) / requests) * 1e6);
      samples.add("upstream", name, (manifestGets + manifestHeads) / requests);
    });
    const ours = samples.of("rate", "entrepot");
    return {
      rows: [
        { name: `${manifestConnections} connections`, unit: "requests/s", samples: samples.all("rate") },
        { name: "99th percentile", unit: "ms", samples: samples.all("p99") },
        { name: "CPU", unit: "µs a request", samples: samples.all("cpu") },
        { name: "upstream requests a request", unit: "", samples: samples.all("upstream") },
      ],
      aims: [
        aim("requests/s, of nginx", ratio(ours, samples.of("rate", "nginx")), "at least", 0.3),
        ...registries.map((name) =>
          aim(`requests/s, of ${name}`, ratio(ours, samples.of("rate", name)), "at least", 50),
        ),
      ],
      notes: [],
    };
  },
};
