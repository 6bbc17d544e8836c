import { download, pullImage } from "../clients.ts";
import { BucketServer } from "../bucket.ts";
import { aim } from "../report.ts";
import type { Scenario } from "../scenario.ts";
import { startServer } from "../servers.ts";
import { Samples } from "../statistics.ts";

const limitSeconds = 900;

/** Resident memory of a mirror with a bucket while large blobs are fetched, and uploaded on their way, all at once. */
export const uploads: Scenario = {
  name: "uploads",
  title: "resident memory while large blobs are uploaded to a bucket, all at once",
  onRequest: true,
  async run({ settings, upstream, content, warmUp, place, progress }) {
    const { uploadedBlobs, uploadedBytes, uploadRounds } = settings;
    const size = `${uploadedBlobs} blobs of ${uploadedBytes / 2 ** 20} MiB`;
    await upstream.limit(Infinity);
    const samples = new Samples();
    for (let round = 0; round < uploadRounds; round++) {
      await using bucket = await BucketServer.start();
      const blobs = Array.from({ length: uploadedBlobs }, () => content.addSparseBlob(uploadedBytes));
      await using server = await startServer("entrepot-bucket", { ...place(), bucket });
      const { child } = server;
      const name = "entrepot-bucket";
      await pullImage(server.origin, warmUp);
      await bucket.takeCounts();
      samples.add("before", name, child.memory().rss / 2 ** 20);
      progress(`round ${round + 1}: ${size}`);
      const began = performance.now();
      await Promise.all(blobs.map((blob) => download(server.origin + blob.path, blob.sizeBytes, limitSeconds)));
      await bucket.stored(
        blobs.map(({ digest }) => digest),
        limitSeconds * 1000,
      );
      samples.add("time", name, (performance.now() - began) / 1000);
      const { requests, openUploads } = await bucket.takeCounts();
      if (openUploads > 0) throw new Error(`${openUploads} uploads were left open`);
      samples.add("parts", name, requests["UploadPart blobs"] ?? 0);
      samples.add("peak", name, child.memory().peak / 2 ** 20);
    }
    const peaks = samples.of("peak", "entrepot-bucket");
    return {
      rows: [
        { name: "before", unit: "MiB", samples: samples.all("before") },
        { name: `peak, ${size}`, unit: "MiB", samples: samples.all("peak") },
        { name: "until all are in the bucket", unit: "s", samples: samples.all("time") },
        { name: "parts", unit: "", samples: samples.all("parts") },
      ],
      aims: [aim(`RSS with ${size}, the highest`, Math.max(...peaks), "at most", 300, "MiB")],
      notes: [],
    };
  },
};
