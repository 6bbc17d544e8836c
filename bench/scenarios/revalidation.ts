import { firstByteMs, pullImage } from "../clients.ts";
import { aim } from "../report.ts";
import type { Scenario } from "../scenario.ts";
import { type Server, startServer } from "../servers.ts";
import { difference, interleave, Samples } from "../statistics.ts";

/** How long a client waits for a manifest by its tag when the upstream has to be asked whether the tag has moved. */
export const revalidation: Scenario = {
  name: "revalidation",
  title: "a stored tag, of an image of many layers, that the upstream is asked for each time",
  async run({ settings, registries, upstream, content, place }) {
    await upstream.limit(Infinity);
    const image = content.addImage(
      "layers",
      Array.from({ length: settings.revalidatedLayers }, () => 4096),
    );
    await using stack = new AsyncDisposableStack();
    const servers = new Map<string, Server>();
    for (const name of ["entrepot", ...registries] as const) {
      const server = stack.use(await startServer(name, place(), { manifest_invalidation_time: "0s" }));
      servers.set(name, server);
      await pullImage(server.origin, image);
      for (const blob of image.blobs) await server.stored(blob);
    }
    const samples = new Samples();
    await interleave(["direct", "entrepot", ...registries], settings.revalidations, async (name) => {
      const origin = servers.get(name)?.origin ?? upstream.origin;
      await upstream.takeCounts();
      samples.add("time", name, await firstByteMs(origin + image.manifestPath, image.manifestBytes));
      const { manifestGets, manifestHeads } = await upstream.takeCounts();
      samples.add("asked", name, manifestGets + manifestHeads);
    });
    const direct = samples.of("time", "direct");
    const more = (name: string): number => difference(samples.of("time", name), direct);
    return {
      rows: [
        { name: `time, ${settings.revalidatedLayers} layers`, unit: "ms", samples: samples.all("time") },
        { name: "upstream requests", unit: "", samples: samples.all("asked") },
      ],
      aims: [aim("more than the upstream's own", more("entrepot"), "at most", 5, "ms")],
      notes: registries.map((name) => `${name}: ${more(name).toFixed(1)} ms more than the upstream's own`),
    };
  },
};
