import type { ServerResponse } from "node:http";
import { setImmediate, setTimeout } from "node:timers/promises";
import { gzipSync } from "node:zlib";
import type { Behaviour, RecordedRequest } from "./behaviour.ts";
import { type Content, contentOf } from "./content.ts";

/** What a well-behaved upstream would answer. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly content: Content;
  /** Whether `Range` is applied to the content. */
  readonly ranged?: boolean;
}

/** An answer of JSON. */
export function jsonAnswer(status: number, document: object, headers: Record<string, string> = {}): Answer {
  return {
    status,
    headers: { "content-type": "application/json", ...headers },
    content: contentOf(Buffer.from(JSON.stringify(document))),
  };
}

/** An answer in the error form of the distribution specification. */
export function errorAnswer(status: number, code: string, headers: Record<string, string> = {}): Answer {
  return jsonAnswer(status, { errors: [{ code, message: code.toLowerCase().replaceAll("_", " ") }] }, headers);
}

/** The record of a request, which is kept up to date while the answer is sent. */
export type OpenRecord = { -readonly [Field in keyof RecordedRequest]: RecordedRequest[Field] };

/**
 * Sends an answer, changed by what the test has asked for. Resolves when the response has ended, one way or another;
 * never rejects because the client has gone.
 */
export async function send(
  asked: OpenRecord,
  response: ServerResponse,
  good: Answer,
  behaviour: Behaviour,
): Promise<void> {
  const gone = new AbortController();
  response.once("close", () => gone.abort());
  await waitFor(behaviour.pauseAt?.wait(), gone.signal);
  if (gone.signal.aborted) {
    return;
  }
  if (behaviour.hangUp === true) {
    cut(response, behaviour);
    return;
  }

  const isRefused = behaviour.refuseRange !== undefined && asked.headers.range !== undefined;
  const answer = isRefused ? errorAnswer(behaviour.refuseRange, "RANGE_INVALID") : distort(good, behaviour);
  const { status, headers, start, end } = selectRange(asked, answer, behaviour);
  const announced = behaviour.announceLength ?? end - start;
  asked.status = status;
  response.writeHead(status, {
    ...headers,
    ...(announced === false ? {} : { "content-length": String(announced) }),
  });
  if (asked.method === "HEAD") {
    response.end();
    return;
  }
  response.flushHeaders();

  let sent = 0;
  for (const chunk of chunks(answer.content, start, end, behaviour)) {
    let rest = chunk;
    while (rest.length > 0) {
      if (sent === behaviour.cutAfterBytes) {
        cut(response, behaviour);
        return;
      }
      if (sent === behaviour.stallAfterBytes) {
        await stall(behaviour, gone.signal);
      }
      const part = rest.subarray(0, nextEdge(sent, behaviour) - sent);
      asked.bytesSent += part.length;
      await write(response, part, gone.signal);
      if (gone.signal.aborted) {
        return;
      }
      sent += part.length;
      rest = rest.subarray(part.length);
    }
    if (behaviour.dripBytes !== undefined) {
      await drip(behaviour.dripEveryMs ?? 0, gone.signal);
    }
  }
  if (sent === behaviour.stallAfterBytes) {
    await stall(behaviour, gone.signal);
  }
  if (sent === behaviour.cutAfterBytes || (announced !== false && announced > sent)) {
    cut(response, behaviour);
    return;
  }
  response.end();
}

function distort(good: Answer, behaviour: Behaviour): Answer {
  let { status, content } = good;
  let ranged = good.ranged ?? false;
  const headers: Record<string, string> = { ...good.headers };
  if (behaviour.redirectTo !== undefined || behaviour.challenge !== undefined) {
    content = contentOf(Buffer.alloc(0));
    ranged = false;
  }
  if (behaviour.redirectTo !== undefined) {
    status = 307;
    headers["location"] = behaviour.redirectTo;
  }
  if (behaviour.challenge !== undefined) {
    status = 401;
    headers["www-authenticate"] = behaviour.challenge;
  }
  if (behaviour.status !== undefined) {
    status = behaviour.status;
    ranged = false;
  }
  if (behaviour.body !== undefined) {
    content = contentOf(Buffer.from(behaviour.body));
    ranged = false;
  }
  if (behaviour.gzip === true) {
    content = contentOf(gzipSync(Buffer.concat([...content.read(0, content.sizeBytes)])));
    headers["content-encoding"] = "gzip";
    ranged = false;
  }
  for (const [name, value] of Object.entries(behaviour.headers ?? {})) {
    if (value === undefined) {
      delete headers[name.toLowerCase()];
    } else {
      headers[name.toLowerCase()] = value;
    }
  }
  return { status, headers, content, ranged: ranged && behaviour.ignoreRange !== true };
}

/** Applies a single range (RFC 9110, section 14.1.2); anything else is answered whole. */
function selectRange(
  asked: OpenRecord,
  answer: Answer,
  behaviour: Behaviour,
): { status: number; headers: Record<string, string>; start: number; end: number } {
  const { status, content, ranged } = answer;
  const size = content.sizeBytes;
  const headers = { ...answer.headers };
  const whole = { status, headers, start: 0, end: size };
  const [, first = "", last = ""] = /^bytes=(\d*)-(\d*)$/.exec(asked.headers.range ?? "") ?? [];
  if (ranged !== true || asked.method !== "GET" || (first === "" && last === "")) {
    return whole;
  }
  const start = first === "" ? Math.max(0, size - Number(last)) : Number(first);
  const end = first === "" || last === "" ? size : Math.min(size, Number(last) + 1);
  if (start >= end) {
    return { status: 416, headers: { ...headers, "content-range": `bytes */${size}` }, start: 0, end: 0 };
  }
  const contentRange = behaviour.headers?.["content-range"] ?? `bytes ${start}-${end - 1}/${size}`;
  return { status: 206, headers: { ...headers, "content-range": contentRange }, start, end };
}

function* chunks(content: Content, start: number, end: number, behaviour: Behaviour): Iterable<Buffer> {
  const { corruptByteAt = -1, dripBytes = Number.POSITIVE_INFINITY } = behaviour;
  let offset = start;
  for (const chunk of content.read(start, end)) {
    const byte = chunk[corruptByteAt - offset];
    if (byte !== undefined) {
      chunk[corruptByteAt - offset] = byte ^ 0xff;
    }
    offset += chunk.length;
    for (let at = 0; at < chunk.length; at += dripBytes) {
      yield chunk.subarray(at, at + dripBytes);
    }
  }
}

/** How far the body may go before the next thing happens. */
function nextEdge(sent: number, { cutAfterBytes = 0, stallAfterBytes = 0 }: Behaviour): number {
  return Math.min(...[cutAfterBytes, stallAfterBytes, Number.POSITIVE_INFINITY].filter((at) => at > sent));
}

function stall(behaviour: Behaviour, gone: AbortSignal): Promise<void> {
  return waitFor(behaviour.stallAt?.wait() ?? new Promise<void>(() => {}), gone);
}

function cut(response: ServerResponse, behaviour: Behaviour): void {
  if (behaviour.cutBy === "reset") {
    response.socket?.resetAndDestroy();
  } else {
    response.socket?.destroy();
  }
}

/** Resolves when the bytes are with the system, so that cutting the connection afterwards does not lose them. */
function write(response: ServerResponse, bytes: Buffer, gone: AbortSignal): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  response.write(bytes, () => resolve());
  return waitFor(promise, gone);
}

async function drip(everyMs: number, gone: AbortSignal): Promise<void> {
  try {
    await (everyMs === 0 ? setImmediate() : setTimeout(everyMs, undefined, { signal: gone }));
  } catch {
    // The client has gone; the caller looks at the signal.
  }
}

/** Waits for a promise that never rejects, but no longer than the client is there. */
async function waitFor(promise: Promise<void> | undefined, gone: AbortSignal): Promise<void> {
  if (promise === undefined || gone.aborted) {
    return;
  }
  const { promise: left, resolve } = Promise.withResolvers<void>();
  const leave = (): void => resolve();
  gone.addEventListener("abort", leave);
  await Promise.race([promise, left]);
  gone.removeEventListener("abort", leave);
}
