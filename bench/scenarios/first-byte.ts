import { firstByteMs, pullImage } from "../clients.ts";
import { aim } from "../report.ts";
import type { Scenario } from "../scenario.ts";
import { type Server, startServer } from "../servers.ts";
import { difference, Samples } from "../statistics.ts";

/** How long a client waits for the first byte of a blob's body that is not stored. */
export const firstByte: Scenario = {
  name: "first-byte",
  title: "the first byte of a cold blob's body",
  async run({ settings, registries, upstream, content, warmUp, place }) {
    const { firstByteBlobs, firstByteBytes } = settings;
    const blobs = Array.from({ length: firstByteBlobs }, () => content.addBlob(firstByteBytes));
    await upstream.limit(settings.upstreamBytesPerSecond);
    await using stack = new AsyncDisposableStack();
    const servers = new Map<string, Server>();
    const names = ["direct", "entrepot", ...registries];
    for (const name of ["entrepot", ...registries] as const) {
      const server = stack.use(await startServer(name, place()));
      servers.set(name, server);
      await pullImage(server.origin, warmUp);
    }
    const samples = new Samples();
    for (const [index, blob] of blobs.entries()) {
      for (let turn = 0; turn < names.length; turn++) {
        const name = names[(index + turn) % names.length] ?? "direct";
        const server = servers.get(name);
        samples.add("time", name, await firstByteMs((server?.origin ?? upstream.origin) + blob.path, firstByteBytes));
        await server?.stored(blob);
      }
    }
    const direct = samples.of("time", "direct");
    return {
      rows: [{ name: "time", unit: "ms", samples: samples.all("time") }],
      aims: [
        aim("more than the upstream's own", difference(samples.of("time", "entrepot"), direct), "at most", 20, "ms"),
      ],
      notes: registries.map(
        (name) => `${name}: ${difference(samples.of("time", name), direct).toFixed(1)} ms more than the upstream's own`,
      ),
    };
  },
};
