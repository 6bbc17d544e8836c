import { aim } from "../report.ts";
import type { Scenario } from "../scenario.ts";
import { hasDist, type ServerName, startServer } from "../servers.ts";
import { interleave, median, Samples } from "../statistics.ts";

/** How long a process takes from its start to its first answer. */
export const startUp: Scenario = {
  name: "start-up",
  title: "from the start of the process until it answers",
  async run({ settings, registries, place }) {
    const names: ServerName[] = ["entrepot", "entrepot-uncached", "nginx", ...registries];
    if (hasDist()) names.push("entrepot-dist");
    const samples = new Samples();
    await interleave(names, settings.startRounds, async (name) => {
      await using server = await startServer(name, place());
      samples.add("time", name, server.readyMs);
    });
    const time = (name: ServerName): number => median(samples.of("time", name));
    return {
      rows: [{ name: "ready", unit: "ms", samples: samples.all("time") }],
      aims: [
        aim("ready", time("entrepot"), "at most", 400, "ms"),
        ...(hasDist() ? [aim("ready, compiled", time("entrepot-dist"), "at most", 400, "ms")] : []),
      ],
      notes: [
        "entrepot-uncached is the very first start after an installation, without Node's compile cache",
        ...(hasDist() ? [] : ["the compiled program is measured too after `npm run build`"]),
      ],
    };
  },
};
