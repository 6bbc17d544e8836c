import { formatPlace, toUpstreamError } from "./failures.ts";
import { Pace } from "./pace.ts";
import type { HttpResponse } from "./transport.ts";
import { UpstreamError } from "./upstream.ts";

/** As much of a body that nobody wants is read to keep the connection; a longer one costs the connection. */
const maxDiscardedBytes = 64 * 1024;
/** And for as long at most. */
const discardMs = 5_000;
/** How long a body that is read whole may take, in milliseconds: it is small, and holds up who asked for it. */
const wholeMs = 60_000;
/** The room that a body gets at first; it doubles. */
const firstBodyBytes = 16 * 1024;

/** Gets rid of a body in the background, so that its connection becomes free or closes. */
export function discard(response: HttpResponse): void {
  const limits = { limit: maxDiscardedBytes, signal: AbortSignal.timeout(discardMs) };
  void response.body.dump(limits).catch(() => {
    // The body failed: then it is gone as well.
  });
}

/** Gives a body up at once, with its connection unless it has ended already. */
export function abandon(response: HttpResponse): void {
  response.body.destroy();
}

/**
 * Reads a whole body of at most `maxBytes`, counted while reading.
 *
 * @throws {UpstreamError} "invalid": it is longer, or has another length than announced; "timeout": it took more than a
 *   minute; else why it broke.
 */
export async function readBody(
  host: string,
  response: HttpResponse,
  maxBytes: number,
  signal: AbortSignal,
): Promise<Buffer> {
  // Chunks may be of one byte each, and as objects take a hundred times as much: their bytes are gathered.
  let gathered = Buffer.allocUnsafeSlow(Math.min(firstBodyBytes, maxBytes));
  let sizeBytes = 0;
  const startedAt = response.monotonic();
  for await (const chunk of readCounted(host, response, announcedLength(response), signal)) {
    if (response.monotonic() - startedAt > wholeMs) {
      throw new UpstreamError(host, "timeout", `${formatPlace(response.url)}: it takes more than ${wholeMs} ms`);
    }
    const endBytes = sizeBytes + chunk.length;
    if (endBytes > maxBytes) {
      throw new UpstreamError(host, "invalid", `${formatPlace(response.url)}: the body is over ${maxBytes} bytes`);
    }
    if (endBytes > gathered.length) {
      const larger = Buffer.allocUnsafeSlow(Math.min(maxBytes, Math.max(endBytes, 2 * gathered.length)));
      gathered.copy(larger, 0, 0, sizeBytes);
      gathered = larger;
    }
    chunk.copy(gathered, sizeBytes);
    sizeBytes = endBytes;
  }
  // Not from Node's pool: a small one that is kept in a cache would keep all of its 64 KiB.
  const whole = Buffer.allocUnsafeSlow(sizeBytes);
  gathered.copy(whole, 0, 0, sizeBytes);
  return whole;
}

/**
 * The chunks of a body.
 *
 * A body that comes too slowly while its reader waits for it is given up: "timeout".
 *
 * @param expectedBytes Where it is known: fewer bytes are "unreachable" (the connection was cut), more "invalid".
 * @throws {UpstreamError} in the iteration; or the signal's reason.
 */
export async function* readCounted(
  host: string,
  response: HttpResponse,
  expectedBytes: number | undefined,
  signal: AbortSignal,
): AsyncGenerator<Buffer, void, undefined> {
  const place = formatPlace(response.url);
  let readBytes = 0;
  const pace = new Pace(response.monotonic);
  try {
    pace.want();
    for await (const chunk of response.body as AsyncIterable<Buffer>) {
      readBytes += chunk.length;
      if (expectedBytes !== undefined && readBytes > expectedBytes) {
        throw new UpstreamError(
          host,
          "invalid",
          `${place}: the body is longer than the ${expectedBytes} bytes expected`,
        );
      }
      if (!pace.came(chunk.length)) {
        throw new UpstreamError(host, "timeout", `${place}: the body comes too slowly`);
      }
      yield chunk;
      pace.want();
    }
  } catch (error) {
    signal.throwIfAborted();
    throw toUpstreamError(host, `body of ${place}`, error);
  }
  if (expectedBytes !== undefined && readBytes < expectedBytes) {
    const message = `${place}: the body ended after ${readBytes} of ${expectedBytes} bytes`;
    throw new UpstreamError(host, "unreachable", message);
  }
}

/** The length that `Content-Length` announces; `undefined`: none, or unreadable. */
export function announcedLength(response: HttpResponse): number | undefined {
  const text = response.header("content-length") ?? "";
  const length = /^[0-9]+$/.test(text) ? Number(text) : Number.NaN;
  return Number.isSafeInteger(length) ? length : undefined;
}

/** The media type of `Content-Type`, in lower case, without parameters; empty where there is none. */
export function mediaTypeOf(response: HttpResponse): string {
  return (response.header("content-type") ?? "").split(";", 1)[0]?.trim().toLowerCase() ?? "";
}

/**
 * Whether `Content-Encoding` says that the body is encoded. We asked for `identity`, and stores send that label with
 * bytes that are as they should be (ceph#64440: `aws-chunked`); where it is true, the announced length is that of the
 * encoded form.
 */
export function isLabelledEncoded(response: HttpResponse): boolean {
  const coding = response.header("content-encoding")?.trim().toLowerCase() ?? "";
  return coding !== "" && coding !== "identity";
}
