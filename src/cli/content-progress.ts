import { formatBytes, formatCount } from "./quantities.ts";

/** Shows how much content was worked on. */
export interface ContentProgress {
  /** One more piece, and so many bytes of it. */
  add(bytes: number): void;
  /** Leaves the terminal as it was. */
  stop(): void;
}

/**
 * Shows it in a line of a terminal; where there is none, nowhere.
 *
 * @param verb What was done to the bytes.
 * @param totalBytes How many there are, where that is known.
 */
export async function showContent(
  screen: NodeJS.WritableStream | undefined,
  verb: string,
  totalBytes?: number,
): Promise<ContentProgress> {
  if (screen === undefined) return { add: () => undefined, stop: () => undefined };
  const { default: progress } = await import("cli-progress");
  let [count, sum] = [0, 0];
  const bar = new progress.SingleBar({
    stream: screen,
    clearOnComplete: true,
    hideCursor: true,
    gracefulExit: false,
    format: (options, params) => {
      const done = `${formatCount(count, "piece")} of content, ${formatBytes(sum)} ${verb}`;
      if (totalBytes === undefined) return done;
      return `${progress.Format.BarFormat(params.progress, options)} ${done} of ${formatBytes(totalBytes)}`;
    },
  });
  bar.start(totalBytes ?? 0, 0);
  return {
    add(bytes) {
      count++;
      sum += bytes;
      bar.update(sum);
    },
    stop: () => bar.stop(),
  };
}
