import { pullImage } from "../clients.ts";
import { aim } from "../report.ts";
import type { Scenario } from "../scenario.ts";
import { startServer } from "../servers.ts";
import { interleave, ratio, Samples } from "../statistics.ts";

/** How long the first pull of an image takes, against a pull from the upstream itself. */
export const coldPull: Scenario = {
  name: "cold-pull",
  title: "the first pull of an image, three blobs at a time",
  async run({ settings, registries, upstream, content, warmUp, place, progress }) {
    const image = content.addImage("cold", settings.layerBytes);
    await upstream.limit(settings.upstreamBytesPerSecond);
    const samples = new Samples();
    await interleave(["direct", "entrepot", ...registries], settings.pullRounds, async (name, round) => {
      progress(`round ${round + 1}, ${name}`);
      if (name === "direct") {
        samples.add("time", name, await pullImage(upstream.origin, image));
        return;
      }
      await using server = await startServer(name, place());
      await pullImage(server.origin, warmUp);
      await upstream.takeCounts();
      samples.add("time", name, await pullImage(server.origin, image));
      for (const blob of image.blobs) await server.stored(blob);
      samples.add("gets", name, (await upstream.takeCounts()).blobGets);
    });
    const direct = samples.of("time", "direct");
    return {
      rows: [
        { name: "time", unit: "s", samples: samples.all("time") },
        { name: `upstream GETs of ${image.blobs.length} blobs`, unit: "", samples: samples.all("gets") },
      ],
      aims: [aim("time, of a direct pull", ratio(samples.of("time", "entrepot"), direct), "at most", 1.05)],
      notes: registries.map((name) => `${name}: ${ratio(samples.of("time", name), direct).toFixed(2)}× a direct pull`),
    };
  },
};
