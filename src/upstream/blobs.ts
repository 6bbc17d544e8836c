import type { Digest } from "../oci/digest.ts";
import { type ContentRange, parseContentRange } from "../oci/range.ts";
import type { Repository } from "../oci/reference.ts";
import type { Registry } from "./ask.ts";
import { abandon, announcedLength, discard, mediaTypeOf, readCounted } from "./body.ts";
import { formatPlace } from "./failures.ts";
import type { HttpResponse } from "./transport.ts";
import { type UpstreamBlob, UpstreamError } from "./upstream.ts";

/** `Upstream.blob`. */
export async function openBlob(
  registry: Registry,
  repository: Repository,
  digest: Digest,
  from: { readonly offset: number; readonly sizeBytes?: number },
  signal: AbortSignal,
): Promise<UpstreamBlob | undefined> {
  const { offset } = from;
  const response = await registry.ask(
    {
      kind: "blob",
      method: "GET",
      repository,
      resource: `blobs/${digest}`,
      headers: { accept: "*/*", range: offset > 0 ? `bytes=${offset}-` : undefined },
      wants: ({ status }) => offset > 0 && (status === 206 || status === 416),
    },
    signal,
  );
  if (response === undefined) {
    return undefined;
  }
  const refuse = (message: string): UpstreamError => {
    abandon(response);
    return new UpstreamError(registry.host, "invalid", `${formatPlace(response.url)}: ${message}`);
  };
  const range = parseContentRange(response.header("content-range"));
  if (response.status === 416) {
    const sizeBytes = (range !== undefined && "unsatisfied" in range ? range.unsatisfied : undefined) ?? from.sizeBytes;
    if (sizeBytes !== offset || (from.sizeBytes !== undefined && from.sizeBytes !== sizeBytes)) {
      throw refuse(`there is no byte ${offset}`);
    }
    discard(response);
    return { sizeBytes, body: emptyBody(), cancel: () => {} };
  }
  const unusable = reasonAgainst(response);
  if (unusable !== undefined) {
    throw refuse(unusable);
  }
  const isPartial = response.status === 206;
  if (isPartial && (range === undefined || "unsatisfied" in range || range.start !== offset)) {
    throw refuse(`the part does not start at byte ${offset}`);
  }
  const sizeBytes = isPartial ? sizeOf(range) : announcedLength(response);
  if (sizeBytes !== undefined && from.sizeBytes !== undefined && sizeBytes !== from.sizeBytes) {
    throw refuse(`the blob has ${sizeBytes} bytes now, and had ${from.sizeBytes} before`);
  }
  const wholeBytes = sizeBytes ?? from.sizeBytes;
  if (wholeBytes !== undefined && wholeBytes < offset) {
    throw refuse(`there is no byte ${offset}`);
  }
  // Of a part of unknown whole at least its own length is known.
  const partEnd = range !== undefined && "end" in range ? range.end : undefined;
  const end = wholeBytes ?? (isPartial ? partEnd : undefined);
  const start = isPartial ? offset : 0;
  const expectedBytes = end === undefined ? undefined : end - start;
  return {
    sizeBytes: wholeBytes,
    body: {
      [Symbol.asyncIterator]: () => readFrom(registry.host, response, offset - start, expectedBytes, signal),
    },
    cancel: () => abandon(response),
  };
}

/** `Upstream.statBlob`. */
export async function statBlob(
  registry: Registry,
  repository: Repository,
  digest: Digest,
  signal: AbortSignal,
): Promise<{ readonly sizeBytes: number | undefined } | undefined> {
  const response = await registry.ask(
    {
      kind: "blob",
      method: "GET",
      repository,
      resource: `blobs/${digest}`,
      headers: { accept: "*/*", range: "bytes=0-0" },
      wants: ({ status }) => status === 206 || status === 416,
    },
    signal,
  );
  if (response === undefined) {
    return undefined;
  }
  // One byte is read off; the whole blob, where Range was ignored, costs the connection.
  discard(response);
  const range = parseContentRange(response.header("content-range"));
  const isEmpty = range !== undefined && "unsatisfied" in range && range.unsatisfied === 0;
  const reason = response.status === 416 ? (isEmpty ? undefined : "there is no byte 0") : reasonAgainst(response);
  if (reason !== undefined) {
    throw new UpstreamError(registry.host, "invalid", `${formatPlace(response.url)}: ${reason}`);
  }
  if (response.status === 416) {
    return { sizeBytes: 0 };
  }
  return { sizeBytes: response.status === 206 ? sizeOf(range) : announcedLength(response) };
}

function sizeOf(range: ContentRange | undefined): number | undefined {
  return range !== undefined && "sizeBytes" in range ? range.sizeBytes : undefined;
}

/** A blob has no type of its own, but what comes as HTML is a login or error page (harbor#23882). */
function reasonAgainst(response: HttpResponse): string | undefined {
  return mediaTypeOf(response) === "text/html" ? "an HTML page in the place of a blob" : undefined;
}

async function* readFrom(
  host: string,
  response: HttpResponse,
  skipBytes: number,
  expectedBytes: number | undefined,
  signal: AbortSignal,
): AsyncGenerator<Buffer, void, undefined> {
  let toSkip = skipBytes;
  for await (const chunk of readCounted(host, response, expectedBytes, signal)) {
    const skipped = Math.min(toSkip, chunk.length);
    toSkip -= skipped;
    if (skipped < chunk.length) {
      yield skipped === 0 ? chunk : chunk.subarray(skipped);
    }
  }
  if (toSkip > 0) {
    throw new UpstreamError(host, "invalid", `${formatPlace(response.url)}: there is no byte ${skipBytes}`);
  }
}

// oxlint-disable-next-line require-yield
async function* emptyBody(): AsyncGenerator<Buffer, void, undefined> {}
