import type { IncomingMessage } from "node:http";
import { OciError } from "../oci/errors.ts";

/** What a request is for, in whichever form its target came (RFC 9112 §3.2). */
export interface RequestTarget {
  /** Path and query; `*` for the server as a whole. */
  readonly target: string;
  /** The host that is meant: the target's own where it names one, whatever `Host` says. */
  readonly host: string | undefined;
}

const absoluteForm = /^https?:\/\/([^/?#]*)([^#]*)$/i;
const authority = /^(?:[a-z0-9._~%!$&'()*+,;=-]+|\[[0-9a-f:.]+\])(?::\d*)?$/i;

/**
 * Reads the target and `Host` of a request.
 *
 * @throws {OciError} REQUEST_INVALID where there is not one `Host` field (HTTP/1.0 may have none; §3.2), or the target
 *   is one that no client may send: with user information, a fragment, another scheme, or for nothing in particular.
 */
export function readTarget(
  request: Pick<IncomingMessage, "method" | "url" | "headers" | "rawHeaders" | "httpVersion">,
): RequestTarget {
  const { method, url = "", headers, httpVersion } = request;
  const hosts = countHosts(request.rawHeaders);
  if (hosts > 1) throw new OciError("REQUEST_INVALID", "the request has more than one Host field");
  if (hosts === 0 && httpVersion !== "1.0") throw new OciError("REQUEST_INVALID", "the request has no Host field");
  if (url.startsWith("/") || (url === "*" && method === "OPTIONS")) return { target: url, host: headers.host };
  const [, host = "", rest = ""] = absoluteForm.exec(url) ?? [];
  if (!authority.test(host)) throw new OciError("REQUEST_INVALID", "the request's target is not one that is served");
  if (rest === "" && method === "OPTIONS") return { target: "*", host };
  return { target: rest.startsWith("/") ? rest : `/${rest}`, host };
}

/** Two of them could be read as one by whoever stands before this server, and as the other here. */
function countHosts(rawHeaders: readonly string[]): number {
  let count = 0;
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] ?? "";
    if (name.length === 4 && name.toLowerCase() === "host") count++;
  }
  return count;
}
