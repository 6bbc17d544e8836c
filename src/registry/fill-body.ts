import { setTimeout as delay } from "node:timers/promises";
import { type UpstreamBlob, UpstreamError } from "../upstream/upstream.ts";

const firstPauseMs = 100;
const longestPauseMs = 5_000;
/** What a connection that timed out must have brought to count as progress: one that drips is not taken up for ever. */
const leastProgressBytes = 64 * 1024;

/** How a body is resumed. */
export interface ResumingOptions {
  /** The blob's size, where it is known. */
  readonly sizeBytes: number | undefined;
  /** Asks for the blob from an offset on. */
  readonly ask: (offset: number) => Promise<UpstreamBlob | undefined>;
  /** How often in a row a connection may break without progress. */
  readonly retries: number;
  /** Whom errors name. */
  readonly host: string;
  /** Told that a connection broke, and that it goes on from `offset`. */
  readonly onBreak: (offset: number, error: Error) => void;
}

/**
 * A blob's whole body, over as many connections as it needs.
 *
 * @throws {UpstreamError} in the iteration: it has another length than is known, the blob disappeared, or why its last
 *   connection broke. And what the signal's abort brings about.
 */
export async function* resuming(
  first: UpstreamBlob,
  options: ResumingOptions,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const { sizeBytes = Infinity, ask, retries, host, onBreak } = options;
  let blob: UpstreamBlob | undefined = first;
  let offset = 0;
  for (let failures = 0; ;) {
    if (blob === undefined) throw new UpstreamError(host, "invalid", "the blob disappeared while it was being fetched");
    const before = offset;
    try {
      for await (const chunk of blob.body) {
        offset += chunk.length;
        if (offset > sizeBytes) {
          const message = `the body is longer than the ${sizeBytes} bytes that were announced`;
          throw new UpstreamError(host, "invalid", message);
        }
        yield chunk;
      }
      if (offset === (options.sizeBytes ?? offset)) return;
      throw new UpstreamError(host, "unreachable", `the body ended at ${offset} of ${sizeBytes} bytes`);
    } catch (error) {
      if (!(error instanceof UpstreamError) || error.failure === "invalid") throw error;
      // Another replica that breaks off is no failure of the upstream, and is not asked again.
      if (blob.origin === "replica") {
        onBreak(offset, error);
        blob = await ask(offset);
        continue;
      }
      const leastBytes = error.failure === "timeout" ? leastProgressBytes : 1;
      failures = offset - before >= leastBytes ? 1 : failures + 1;
      if (failures > retries) throw error;
      onBreak(offset, error);
      await pause(failures, signal);
    }
    blob = await ask(offset);
  }
}

async function pause(failures: number, signal: AbortSignal): Promise<void> {
  const longest = Math.min(longestPauseMs, firstPauseMs * 2 ** (failures - 1));
  await delay(longest * (0.5 + Math.random() / 2), undefined, { signal });
}
