import type { Dispatcher } from "undici";
import type { Clock } from "../concurrency/clock.ts";
import { invalid, toUpstreamError, withoutQuery } from "./failures.ts";
import { Pace } from "./pace.ts";
import type { Headed } from "./rest.ts";
import { UpstreamError } from "./upstream.ts";

/** As much of a body that nobody wants is read to keep the connection; a longer one costs the connection. */
const maxDiscardedBytes = 64 * 1024;
/** And for as long at most. */
const discardMs = 5_000;
/** How long a body that is read whole may take, in milliseconds: it is small, and holds up who asked for it. */
const wholeMs = 60_000;
/** The room that a body gets at first; it doubles. */
const firstBodyBytes = 16 * 1024;

/** What a body belongs to. */
interface BodyOptions {
  /** The upstream's host and port, and where the body comes from; for errors. */
  readonly upstream: string;
  readonly url: URL;
  /** `undefined`: nothing was announced. */
  readonly announcedBytes: number | undefined;
  /** Bound to the body; its reason is what reading throws after an abort. */
  readonly signal: AbortSignal;
  /** What its transfer is timed by. */
  readonly clock: Pick<Clock, "monotonic">;
}

/** A body on its way. It must be read to its end, discarded or given up. */
export class Body {
  readonly #bytes: Dispatcher.ResponseData["body"];
  readonly #options: BodyOptions;

  constructor(bytes: Dispatcher.ResponseData["body"], options: BodyOptions) {
    this.#bytes = bytes;
    this.#options = options;
    // An error that comes while nobody reads must not end the process; whoever reads gets it all the same.
    bytes.on("error", () => {});
  }

  /** Gets rid of it in the background, so that its connection becomes free or closes. */
  discard(): void {
    const limits = { limit: maxDiscardedBytes, signal: AbortSignal.timeout(discardMs) };
    void this.#bytes.dump(limits).catch(() => {
      // The body failed: then it is gone as well.
    });
  }

  /** Gives it up at once, with its connection unless it has ended already; who reads it is told why. */
  abandon(reason?: Error): void {
    this.#bytes.destroy(reason);
  }

  /** Calls `over` when it has ended, in whatever way. */
  onClose(over: () => void): void {
    if (this.#bytes.closed) over();
    else this.#bytes.once("close", over);
  }

  /**
   * Reads it whole, at most `maxBytes`, counted while reading.
   *
   * @throws {UpstreamError} "invalid": it is longer, or has another length than announced; "timeout": it took more than
   *   a minute; else why it broke.
   */
  async read(maxBytes: number): Promise<Buffer> {
    const { clock, upstream, url, announcedBytes } = this.#options;
    // Chunks may be of one byte each, and as objects take a hundred times as much: their bytes are gathered.
    let gathered = Buffer.allocUnsafeSlow(Math.min(firstBodyBytes, maxBytes));
    let sizeBytes = 0;
    const startedAt = clock.monotonic();
    for await (const chunk of this.chunks(announcedBytes)) {
      if (clock.monotonic() - startedAt > wholeMs) {
        throw new UpstreamError(upstream, "timeout", `${withoutQuery(url)}: it takes more than ${wholeMs} ms`);
      }
      const endBytes = sizeBytes + chunk.length;
      if (endBytes > maxBytes) throw invalid(this.#options, `the body is over ${maxBytes} bytes`);
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
   * Its chunks. One that comes too slowly while its reader waits for it is given up: "timeout".
   *
   * @param expectedBytes Where it is known: fewer bytes are "unreachable" (the connection was cut), more "invalid".
   * @throws {UpstreamError} in the iteration; or the signal's reason.
   */
  async *chunks(expectedBytes: number | undefined): AsyncGenerator<Buffer, void, undefined> {
    const { clock, signal, upstream, url } = this.#options;
    const place = withoutQuery(url);
    let readBytes = 0;
    const pace = new Pace(clock);
    try {
      pace.want();
      for await (const chunk of this.#bytes as AsyncIterable<Buffer>) {
        readBytes += chunk.length;
        if (expectedBytes !== undefined && readBytes > expectedBytes) {
          throw invalid(this.#options, `the body is longer than the ${expectedBytes} bytes expected`);
        }
        if (!pace.came(chunk.length)) {
          throw new UpstreamError(upstream, "timeout", `${place}: the body comes too slowly`);
        }
        yield chunk;
        pace.want();
      }
    } catch (error) {
      signal.throwIfAborted();
      throw toUpstreamError(upstream, `body of ${place}`, error);
    }
    if (expectedBytes !== undefined && readBytes < expectedBytes) {
      const message = `${place}: the body ended after ${readBytes} of ${expectedBytes} bytes`;
      throw new UpstreamError(upstream, "unreachable", message);
    }
  }
}

/** The length that `Content-Length` announces; `undefined`: none, or unreadable. */
export function announcedLength(response: Headed): number | undefined {
  const text = response.header("content-length") ?? "";
  const length = /^[0-9]+$/.test(text) ? Number(text) : Number.NaN;
  return Number.isSafeInteger(length) ? length : undefined;
}

/** The media type of `Content-Type`, in lower case, without parameters; empty where there is none. */
export function mediaTypeOf(response: Headed): string {
  return (response.header("content-type") ?? "").split(";", 1)[0]?.trim().toLowerCase() ?? "";
}

/**
 * Whether `Content-Encoding` says that the body is encoded. We asked for `identity`, and stores send that label with
 * bytes that are as they should be (ceph#64440: `aws-chunked`); where it is true, the announced length is that of the
 * encoded form.
 */
export function isLabelledEncoded(response: Headed): boolean {
  const coding = response.header("content-encoding")?.trim().toLowerCase() ?? "";
  return coding !== "" && coding !== "identity";
}
