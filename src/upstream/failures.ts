import { RefusedAddressError } from "./addresses.ts";
import { askedRestSeconds, type Headed } from "./rest.ts";
import { UpstreamError, type UpstreamFailure } from "./upstream.ts";

/** Where an answer came from. */
interface Origin {
  /** Host and port of the upstream that was asked. */
  readonly upstream: string;
  readonly url: URL;
}

/** The part of a response that a failure is made from. */
interface FailedResponse extends Origin, Headed {
  readonly status: number;
}

const timeouts: ReadonlySet<string> = new Set([
  "ECANCELLED",
  "ETIMEOUT",
  "ETIMEDOUT",
  "UND_ERR_CONNECT_TIMEOUT",
  "UND_ERR_HEADERS_TIMEOUT",
  "UND_ERR_BODY_TIMEOUT",
]);
/** The connection ended inside of a message: not the other side's fault. */
const cutOff: ReadonlySet<string> = new Set(["HPE_INVALID_EOF_STATE", "UND_ERR_RES_CONTENT_LENGTH_MISMATCH"]);
const passingCodes: ReadonlySet<string> = new Set([
  "EAI_AGAIN",
  "ECONNABORTED",
  "ECONNREFUSED",
  "ECONNRESET",
  "EHOSTUNREACH",
  "ENETDOWN",
  "ENETUNREACH",
  "EPIPE",
  "ESERVFAIL",
  "HPE_INVALID_EOF_STATE",
  "UND_ERR_SOCKET",
]);
/** There was a connection, and it broke. */
const brokenCodes: ReadonlySet<string> = new Set([...cutOff, "ECONNABORTED", "ECONNRESET", "EPIPE", "UND_ERR_SOCKET"]);
const passingStatuses: ReadonlySet<number> = new Set([408, 500, 502, 503, 504]);

/**
 * Turns what the HTTP client threw into an `UpstreamError`; one that is an `UpstreamError` already stays as it is.
 *
 * @param doing What was tried, with host and path but never a query: queries of redirect targets hold signatures.
 */
export function toUpstreamError(host: string, doing: string, error: unknown): UpstreamError {
  if (error instanceof UpstreamError) return error;
  const refusal = causesOf(error).find((cause) => cause instanceof RefusedAddressError);
  if (refusal !== undefined) {
    return new UpstreamError(host, "refused", `${doing}: ${refusal.message}`, { cause: refusal });
  }
  const code = codeOf(error);
  const reason = code ?? (error instanceof Error ? error.name : "it failed");
  return new UpstreamError(host, failureOf(code), `${doing}: ${reason}`, { cause: withoutData(error) });
}

/**
 * The failure that an unwanted status stands for: a 429, or anything else that makes no sense here.
 *
 * @param denies Whether the status says that there is no right to read.
 */
export function toStatusError(response: FailedResponse, now: number, denies = false): UpstreamError {
  const { status, upstream, url } = response;
  const failure = denies ? "denied" : status === 429 ? "rate-limited" : "status";
  const retryAfterSeconds = askedRestSeconds(response, now);
  return new UpstreamError(upstream, failure, `${withoutQuery(url)}: status ${status}`, { status, retryAfterSeconds });
}

/** The failure of an answer that breaks the protocol, in the way that is told. */
export function invalid({ upstream, url }: Origin, reason: string, cause?: unknown): UpstreamError {
  return new UpstreamError(upstream, "invalid", `${withoutQuery(url)}: ${reason}`, { cause });
}

/** Whether a connection failed in a way that may have passed at the next try. A time-out has cost enough as it is. */
export function mayPass(error: unknown): boolean {
  return (
    error instanceof UpstreamError && error.failure === "unreachable" && passingCodes.has(codeOf(error.cause) ?? "")
  );
}

/**
 * Whether it was an answer that failed, one that makes no sense or that broke off: to a HEAD that may be so while a GET
 * is answered well. A time-out, or no connection, would be the same for both.
 */
export function isFailedAnswer(error: unknown): boolean {
  if (!(error instanceof UpstreamError)) return false;
  return error.failure === "invalid" || (error.failure === "unreachable" && brokenCodes.has(codeOf(error.cause) ?? ""));
}

/** Whether a status speaks of trouble that may have passed at the next try. */
export function isPassingStatus(status: number): boolean {
  return passingStatuses.has(status);
}

/** A URL as it may stand in a message: host and path. */
export function withoutQuery(url: URL): string {
  return `${url.host}${url.pathname}`;
}

function failureOf(code: string | undefined): UpstreamFailure {
  if (code === undefined) return "unreachable";
  if (timeouts.has(code)) return "timeout";
  const broken = code.startsWith("HPE_") || code === "UND_ERR_HEADERS_OVERFLOW" || code === "UND_ERR_INVALID_ARG";
  return broken && !cutOff.has(code) ? "invalid" : "unreachable";
}

function codeOf(error: unknown): string | undefined {
  for (const cause of causesOf(error)) {
    if ("code" in cause && typeof cause.code === "string") return cause.code;
    // For what is no HTTP at all the parser has no code.
    if (cause.name === "HTTPParserError") return "HPE_UNKNOWN";
  }
  return undefined;
}

/** An error with what it wraps; connecting to several addresses fails with one error for each. */
function causesOf(error: unknown): Error[] {
  const found: Error[] = [];
  const pending = [error];
  while (pending.length > 0 && found.length < 32) {
    const next = pending.shift();
    if (next instanceof Error) {
      found.push(next);
      pending.push(...(next instanceof AggregateError ? (next.errors as unknown[]) : []), next.cause);
    }
  }
  return found;
}

/** The HTTP parser attaches the bytes that it choked on, and these may hold a token. */
function withoutData(error: unknown): unknown {
  if (!(error instanceof Error) || !("data" in error)) return error;
  return Object.assign(new Error(error.message), { code: codeOf(error) });
}
