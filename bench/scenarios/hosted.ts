import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { cut, makeSmallImages, pushImages, pushParts, pushWhole } from "../pushes.ts";
import { aim } from "../report.ts";
import type { Scenario } from "../scenario.ts";
import { type Server, startServer } from "../servers.ts";
import { interleave, ratio, Samples } from "../statistics.ts";

const repository = "apps/bench";

/** How fast a hosted repository takes what is pushed, and with how much memory, beside other registries. */
export const hosted: Scenario = {
  name: "hosted",
  title: "pushes to a hosted repository",
  onRequest: true,
  async run({ settings, registries, content, place, progress }) {
    const { largeBytes, pushedPartBytes, pushedImages, pushRounds } = settings;
    const blob = content.addBlob(largeBytes);
    const folder = join(content.root, "parts");
    mkdirSync(folder);
    const file = cut({ ...blob, path: join(content.root, blob.path) }, pushedPartBytes, folder);
    const images = makeSmallImages(pushedImages, 2, 64 * 1024);
    const size = `${largeBytes / 2 ** 20} MiB`;
    const whole = `${size} with one PUT`;
    const parts = `${size} in parts of ${pushedPartBytes / 2 ** 20} MiB`;
    const many = `${pushedImages} small images at once`;
    const pushes: Readonly<Record<string, (server: Server) => Promise<number>>> = {
      [whole]: ({ origin }) => pushWhole(origin, repository, file),
      [parts]: ({ origin }) => pushParts(origin, repository, file),
      [many]: ({ origin }) => pushImages(origin, repository, images),
    };
    const samples = new Samples();
    await interleave(["entrepot", ...registries], pushRounds, async (name, round) => {
      for (const [what, push] of Object.entries(pushes)) {
        progress(`round ${round + 1}, ${name}: ${what}`);
        await using server = await startServer(name, { ...place(), isHosted: true });
        const cpuBefore = server.child.cpuSeconds();
        samples.add(what, name, await push(server));
        samples.add(`${what}: CPU`, name, server.child.cpuSeconds() - cpuBefore);
        samples.add(`${what}: peak RSS`, name, server.child.memory().peak / 2 ** 20);
      }
    });
    const leastSpeed = { [whole]: 1, [parts]: 1, [many]: 1.5 };
    return {
      rows: Object.keys(pushes).flatMap((what) => [
        { name: what, unit: "s", samples: samples.all(what) },
        { name: `${what}: CPU`, unit: "s", samples: samples.all(`${what}: CPU`) },
        { name: `${what}: peak RSS`, unit: "MiB", samples: samples.all(`${what}: peak RSS`) },
      ]),
      aims: registries.flatMap((name) =>
        Object.entries(leastSpeed).flatMap(([what, least]) => {
          const faster = ratio(samples.of(what, name), samples.of(what, "entrepot"));
          const peak = `${what}: peak RSS`;
          return [
            aim(`${what}, speed of ${name}`, faster, "at least", least),
            aim(`${peak}, of ${name}`, ratio(samples.of(peak, "entrepot"), samples.of(peak, name)), "at most", 0.5),
          ];
        }),
      ),
      notes: [],
    };
  },
};
