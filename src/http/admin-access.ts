import { createHash, timingSafeEqual } from "node:crypto";
import type { IncomingHttpHeaders } from "node:http";
import { isIP } from "node:net";
import { OciError } from "../oci/errors.ts";
import type { Request } from "./request.ts";

const bearer = /^bearer +(\S+) *$/i;

/**
 * Refuses who may not administer.
 *
 * A page of another site that a browser shows must not reach this, least of all without a token: browsers say where a
 * request comes from (Fetch Metadata; RFC 6454). Without a token a name that leads here is not believed either, as
 * anybody's name can be made to (DNS rebinding); a page's GET for its own origin does not even say where it comes from.
 *
 * @param access.token The token that is needed; `undefined` where none is.
 * @param access.host The name that is listened at, which is believed.
 * @throws {OciError} DENIED, UNAUTHORIZED
 */
export function checkAccess(
  { method, headers }: Pick<Request, "method" | "headers">,
  { token, host }: { readonly token: string | undefined; readonly host: string | undefined },
): void {
  if (isForeign(headers, token !== undefined)) {
    throw new OciError("DENIED", "the administration does not answer the pages of other sites");
  }
  if (token === undefined) {
    const name = nameOf(headers.host);
    const isRead = method === "GET" || method === "HEAD";
    if (!isRead || name === undefined || isThisMachine(name) || name === host?.toLowerCase()) return;
    throw new OciError(
      "DENIED",
      "without a token the administration is asked by an IP address, localhost or the host of admin_listen, and no other name",
    );
  }
  const given = bearer.exec(headers.authorization ?? "")?.[1];
  if (given === undefined || !isSame(given, token)) {
    const message =
      given === undefined ? "the administration needs its token" : "that is not the administration's token";
    throw new OciError("UNAUTHORIZED", message);
  }
}

function isForeign(headers: IncomingHttpHeaders, hasToken: boolean): boolean {
  const { origin, host = "", "sec-fetch-site": site } = headers;
  if (site !== undefined && site !== "same-origin" && site !== "none") return true;
  if (origin === undefined) return false;
  const url = URL.parse(origin);
  return url === null || url.host !== host.toLowerCase() || !(hasToken || isThisMachine(url.hostname));
}

/** The host of a `Host` field, without its port; `undefined` where there is none, as browsers always send one. */
function nameOf(host: string | undefined): string | undefined {
  return host === undefined || host === "" ? undefined : (URL.parse(`http://${host}`)?.hostname ?? host);
}

function isThisMachine(hostname: string): boolean {
  return hostname === "localhost" || isIP(hostname.replace(/^\[|\]$/g, "")) !== 0;
}

/** Compares in a time that tells nothing of the token. */
function isSame(given: string, token: string): boolean {
  const hash = (text: string): Buffer => createHash("sha256").update(text).digest();
  return timingSafeEqual(hash(given), hash(token));
}
