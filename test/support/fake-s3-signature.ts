import { createHash, createHmac } from "node:crypto";
import { type Headers, S3Refusal } from "./fake-s3-bucket.ts";

/** The keys that the fake takes. */
export interface FakeKeys {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken?: string;
}

/** A request, as far as a signature covers it. */
export interface SignedRequest {
  readonly method: string;
  /** As it was sent, with its query. */
  readonly target: string;
  readonly headers: Headers;
}

const maxSkewMs = 15 * 60_000;

/**
 * Looks at who signed and when, and at the signature itself: that of a header or of a query.
 *
 * @throws {S3Refusal}
 */
export function assertSigned(request: SignedRequest, keys: readonly FakeKeys[], now: number): void {
  const { query } = partsOf(request.target);
  const { authorization, "x-amz-date": date, "x-amz-security-token": token } = request.headers;
  const inHeader = new Map(
    [...String(authorization).matchAll(/(\w+)=([^,\s]+)/g)].map(([, name, value]) => [name, value]),
  );
  const ofQuery = query.has("X-Amz-Signature");
  const get = (name: string): string => (ofQuery ? query.get(`X-Amz-${name}`) : inHeader.get(name)) ?? "";
  const [accessKeyId, ...scope] = get("Credential").split("/");
  if (accessKeyId === undefined || accessKeyId === "") throw new S3Refusal(403, "AccessDenied");
  const ofThatName = keys.filter((each) => each.accessKeyId === accessKeyId);
  if (ofThatName.length === 0) throw new S3Refusal(403, "InvalidAccessKeyId");
  const known = ofThatName.find((each) => each.sessionToken === (query.get("X-Amz-Security-Token") ?? token));
  if (known === undefined) throw new S3Refusal(400, "ExpiredToken");
  const signedAt = query.get("X-Amz-Date") ?? String(date);
  const moment = momentOf(signedAt);
  const expires = query.get("X-Amz-Expires");
  if (expires === null && Math.abs(moment - now) > maxSkewMs) throw new S3Refusal(403, "RequestTimeTooSkewed");
  if (expires !== null && moment + Number(expires) * 1000 < now) throw new S3Refusal(403, "AccessDenied");
  const payload = ofQuery ? "UNSIGNED-PAYLOAD" : String(request.headers["x-amz-content-sha256"]);
  const canonical = canonicalOf(request, get("SignedHeaders"), payload);
  const text = ["AWS4-HMAC-SHA256", signedAt, scope.join("/"), sha256(canonical)].join("\n");
  const key = scope.reduce<string | Buffer>((parent, part) => hmac(parent, part), `AWS4${known.secretAccessKey}`);
  if (hmac(key, text).toString("hex") !== get("Signature")) throw new S3Refusal(403, "SignatureDoesNotMatch");
}

function canonicalOf({ method, target, headers }: SignedRequest, signedNames: string, payload: string): string {
  const { path, query } = partsOf(target);
  const pairs = [...query]
    .filter(([name]) => name !== "X-Amz-Signature")
    .map(([name, value]) => `${escaped(name)}=${escaped(value)}`)
    .toSorted();
  const lines = signedNames.split(";").map((name) => `${name}:${String(headers[name] ?? "").trim()}`);
  return [method, path, pairs.join("&"), ...lines, "", signedNames, payload].join("\n");
}

function partsOf(target: string): { readonly path: string; readonly query: URLSearchParams } {
  const [path = "", query = ""] = target.split("?");
  return { path, query: new URLSearchParams(query.replaceAll("+", "%2B")) };
}

function escaped(text: string): string {
  return encodeURIComponent(text).replaceAll(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}

/** The moment of `20260131T235959Z`. */
function momentOf(compact: string): number {
  return Date.parse(compact.replace(/^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/, "$1-$2-$3T$4:$5:$6Z"));
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac("sha256", key).update(text).digest();
}
