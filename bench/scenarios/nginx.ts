import { download } from "../clients.ts";
import { aim } from "../report.ts";
import type { Scenario } from "../scenario.ts";
import { startServer } from "../servers.ts";
import { interleave, ratio, Samples } from "../statistics.ts";

const [front, alone, direct] = ["nginx-in-front", "nginx-alone", "entrepot"] as const;

/** What it costs that Entrepot is asked before nginx sends a file (`accel_redirect`). */
export const nginx: Scenario = {
  name: "nginx",
  title: "a stored blob through nginx in front of Entrepot, and the same file from that nginx alone",
  async run({ settings, upstream, content, place, progress }) {
    await upstream.limit(Infinity);
    const { largeBytes, firstByteBytes, streams, throughputRounds } = settings;
    const blob = content.addBlob(largeBytes);
    const small = content.addBlob(firstByteBytes);
    await using stack = new AsyncDisposableStack();
    const behind = stack.use(await startServer("entrepot", { ...place(), isAccelerated: true }));
    const server = stack.use(await startServer("nginx-in-front", { ...place(), behind }));
    for (const each of [blob, small]) {
      await download(server.origin + each.path, each.sizeBytes);
      await behind.stored(each);
    }
    const fileOf = ({ digest }: { readonly digest: string }): string => {
      const hex = digest.replace("sha256:", "");
      return `/alone/blobs/sha256/${hex.slice(0, 2)}/${hex.slice(2)}`;
    };
    const urlOf = (name: string, each: typeof blob): string => {
      if (name === alone) return server.origin + fileOf(each);
      return (name === front ? server : behind).origin + each.path;
    };
    const samples = new Samples();
    const cpuSeconds = (): number => server.child.cpuSeconds() + behind.child.cpuSeconds();
    for (const count of [1, streams]) {
      const speed = `${count} stream${count === 1 ? "" : "s"}`;
      progress(speed);
      await interleave([front, alone, direct], throughputRounds, async (name) => {
        const cpuBefore = cpuSeconds();
        const began = performance.now();
        const url = urlOf(name, blob);
        const times = await Promise.all(Array.from({ length: count }, () => download(url, largeBytes)));
        const seconds = count === 1 ? (times[0] ?? Number.NaN) : (performance.now() - began) / 1000;
        const gigabytes = (count * largeBytes) / 1e9;
        samples.add(speed, name, gigabytes / seconds);
        samples.add(`${speed}: CPU`, name, (cpuSeconds() - cpuBefore) / gigabytes);
      });
    }
    progress("a small blob");
    const whole = `a blob of ${firstByteBytes} bytes`;
    await interleave([front, alone, direct], throughputRounds, async (name) => {
      samples.add(whole, name, 1_000 * (await download(urlOf(name, small), firstByteBytes)));
    });
    const labels = ["1 stream", `${streams} streams`];
    return {
      rows: [
        ...labels.flatMap((label) => [
          { name: label, unit: "GB/s", samples: samples.all(label) },
          { name: `${label}: CPU`, unit: "s/GB", samples: samples.all(`${label}: CPU`) },
        ]),
        { name: whole, unit: "ms", samples: samples.all(whole) },
      ],
      aims: labels.map((label) =>
        aim(`${label}, of nginx alone`, ratio(samples.of(label, front), samples.of(label, alone)), "at least", 0.95),
      ),
      notes: [],
    };
  },
};
