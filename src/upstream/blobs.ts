import { type Digest, isOfNothing } from "../oci/digest.ts";
import { type ContentRange, parseContentRange } from "../oci/range.ts";
import type { Repository } from "../oci/reference.ts";
import type { RegistryClient } from "./registry-client.ts";
import { announcedLength, isLabelledEncoded, mediaTypeOf } from "./body.ts";
import { invalid } from "./failures.ts";
import type { HttpResponse } from "./transport.ts";
import type { Ask, DoubtfulLabel, UpstreamBlob, UpstreamBlobInfo, UpstreamError } from "./upstream.ts";

/** What HTML is sent as. */
const pageMediaTypes: ReadonlySet<string> = new Set(["text/html", "application/xhtml+xml"]);
/** Of the statuses from 400 to 501, those that say something else than that `Range` is not liked. */
const otherRefusals: ReadonlySet<number> = new Set([404, 408, 410, 429]);

/** What is known of a blob that is asked for. */
interface Wanted {
  readonly repository: Repository;
  readonly digest: Digest;
  readonly offset: number;
  /** From a response before. */
  readonly sizeBytes?: number;
}

/** `Upstream.blob`. */
export async function openBlob(
  registry: RegistryClient,
  repository: Repository,
  digest: Digest,
  from: { readonly offset: number; readonly sizeBytes?: number },
  by: Ask,
): Promise<UpstreamBlob | undefined> {
  const wanted: Wanted = { repository, digest, ...from };
  if (from.offset > 0) {
    const part = await ask(registry, wanted, `bytes=${from.offset}-`, by);
    if (part === undefined) return undefined;
    const opened = readAnswer(part, wanted);
    if (typeof opened !== "string") return opened;
    if (part.status === 200) throw refuse(part, opened);
    part.body.discard();
  }
  const whole = await ask(registry, wanted, undefined, by);
  if (whole === undefined) return undefined;
  const opened = readAnswer(whole, wanted);
  if (typeof opened === "string") throw refuse(whole, opened);
  return opened;
}

/** `Upstream.statBlob`. */
export async function statBlob(
  registry: RegistryClient,
  repository: Repository,
  digest: Digest,
  by: Ask,
): Promise<UpstreamBlobInfo | undefined> {
  const wanted: Wanted = { repository, digest, offset: 0 };
  // Of what has no first byte, stores say 416.
  const isEmpty = isOfNothing(digest);
  let response = await ask(registry, wanted, isEmpty ? undefined : "bytes=0-0", by);
  if (response !== undefined && response.status !== 200 && !isEmpty && partOf(response)?.start !== 0) {
    response.body.discard();
    response = await ask(registry, wanted, undefined, by);
  }
  if (response === undefined) return undefined;
  const { status } = response;
  const part = partOf(response);
  const announced = status === 206 ? part?.sizeBytes : status === 200 ? announcedLength(response) : 0;
  const sizeBytes = announced ?? (isEmpty ? 0 : undefined);
  if (sizeBytes !== undefined && (sizeBytes === 0) !== isEmpty) {
    throw refuse(response, `${sizeBytes} bytes in the place of ${digest}`);
  }
  // One byte is read off; the whole blob costs the connection.
  response.body.discard();
  return { sizeBytes, ...labelOf(response) };
}

/**
 * Asks for a blob, or a part of it. Of a part every answer is given back that may be one to `Range` alone: stores and
 * what stands before them refuse it with all kinds of statuses (containerd#11953, stereoscope#695), and a signed URL may
 * have expired, for which a new one is to be had. Of what is empty, stores say 204 and 416.
 */
function ask(
  registry: RegistryClient,
  { repository, digest }: Wanted,
  range: string | undefined,
  by: Ask,
): Promise<HttpResponse | undefined> {
  return registry.ask(
    {
      kind: "blob",
      repository,
      resource: `blobs/${digest}`,
      accept: "*/*",
      range,
      wants: ({ status }) =>
        range === undefined
          ? (status === 204 || status === 416) && isOfNothing(digest)
          : status === 206 || (status >= 400 && status <= 501 && !otherRefusals.has(status)),
    },
    by,
  );
}

/** The bytes from an offset on that an answer brings; else why it is of no use, and its body is still there. */
function readAnswer(response: HttpResponse, wanted: Wanted): UpstreamBlob | string {
  const { digest, offset } = wanted;
  const { status } = response;
  if (status !== 200 && status !== 206) {
    const end = isOfNothing(digest) ? 0 : status === 416 ? (endOf(response) ?? wanted.sizeBytes) : undefined;
    if (end !== offset || end !== (wanted.sizeBytes ?? end)) return `status ${status}: there is no byte ${offset}`;
    response.body.discard();
    return { sizeBytes: end, body: emptyBody(), cancel: () => {} };
  }
  const part = partOf(response);
  if (status === 206 && part?.start !== offset) return `the part does not start at byte ${offset}`;
  const announced = status === 206 ? part?.sizeBytes : announcedLength(response);
  const sizeBytes = announced ?? wanted.sizeBytes;
  if (sizeBytes !== (wanted.sizeBytes ?? sizeBytes)) {
    return `the blob has ${sizeBytes} bytes now, and had ${wanted.sizeBytes} before`;
  }
  if (sizeBytes !== undefined && sizeBytes < offset) {
    return `there is no byte ${offset}`;
  }
  const start = part?.start ?? 0;
  // Of a part of unknown whole at least its own length is known.
  const end = sizeBytes ?? part?.end;
  const expectedBytes = end === undefined ? undefined : end - start;
  return {
    sizeBytes,
    ...labelOf(response),
    body: { [Symbol.asyncIterator]: () => readFrom(response, offset - start, expectedBytes) },
    cancel: () => response.body.abandon(),
  };
}

/** The part that an answer brings, where it says so; of several parts (`multipart/byteranges`) none. */
function partOf(response: HttpResponse): Extract<ContentRange, { readonly start: number }> | undefined {
  const range = parseContentRange(response.header("content-range"));
  const isOne = response.status === 206 && !mediaTypeOf(response).startsWith("multipart/");
  return isOne && range !== undefined && "start" in range ? range : undefined;
}

/** Where the blob ends, by a 416. */
function endOf(response: HttpResponse): number | undefined {
  const range = parseContentRange(response.header("content-range"));
  return range !== undefined && "unsatisfied" in range ? range.unsatisfied : undefined;
}

function labelOf(response: HttpResponse): { readonly label?: DoubtfulLabel } {
  if (pageMediaTypes.has(mediaTypeOf(response))) return { label: "page" };
  return isLabelledEncoded(response) ? { label: "encoded" } : {};
}

function refuse(response: HttpResponse, reason: string): UpstreamError {
  response.body.abandon();
  return invalid(response, reason);
}

async function* readFrom(
  response: HttpResponse,
  skipBytes: number,
  expectedBytes: number | undefined,
): AsyncGenerator<Buffer, void, undefined> {
  let toSkip = skipBytes;
  for await (const chunk of response.body.chunks(expectedBytes)) {
    const skipped = Math.min(toSkip, chunk.length);
    toSkip -= skipped;
    if (skipped < chunk.length) {
      yield skipped === 0 ? chunk : chunk.subarray(skipped);
    }
  }
  if (toSkip > 0) throw invalid(response, `there is no byte ${skipBytes}`);
}

// oxlint-disable-next-line require-yield
async function* emptyBody(): AsyncGenerator<Buffer, void, undefined> {}
