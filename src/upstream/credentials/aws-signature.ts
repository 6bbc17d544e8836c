import { createHash, createHmac } from "node:crypto";

/** Keys of AWS. */
export interface AwsKeys {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Belongs to keys that are temporary. */
  readonly sessionToken?: string;
}

/** A POST without query to sign. */
export interface SignableRequest {
  readonly url: URL;
  /** Names in lower case, values without spaces at their ends. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/**
 * Signs a request to an API of AWS (Signature Version 4, "Create a signed AWS API request").
 *
 * @param scope The region and the service's name for signing.
 * @param now Milliseconds since 1970; AWS takes a clock that is at most five minutes wrong.
 * @returns the headers to send: those of the request, and those of the signature.
 */
export function signAwsRequest(
  request: SignableRequest,
  keys: AwsKeys,
  scope: { readonly region: string; readonly service: string },
  now: number,
): Record<string, string> {
  const time = new Date(now).toISOString().replaceAll(/[-:]|\.\d+/g, "");
  const date = time.slice(0, 8);
  const headers: Record<string, string> = {
    ...request.headers,
    host: request.url.host,
    "x-amz-date": time,
    ...(keys.sessionToken === undefined ? {} : { "x-amz-security-token": keys.sessionToken }),
  };
  const names = Object.keys(headers).toSorted();
  const signedNames = names.join(";");
  const canonical = [
    "POST",
    request.url.pathname,
    "",
    ...names.map((name) => `${name}:${headers[name] ?? ""}`),
    "",
    signedNames,
    sha256(request.body),
  ].join("\n");
  const credentialScope = [date, scope.region, scope.service, "aws4_request"].join("/");
  const text = ["AWS4-HMAC-SHA256", time, credentialScope, sha256(canonical)].join("\n");
  const key = [date, scope.region, scope.service, "aws4_request"].reduce<string | Buffer>(
    (parent, part) => hmac(parent, part),
    `AWS4${keys.secretAccessKey}`,
  );
  const signature = hmac(key, text).toString("hex");
  return {
    ...headers,
    authorization: `AWS4-HMAC-SHA256 Credential=${keys.accessKeyId}/${credentialScope}, SignedHeaders=${signedNames}, Signature=${signature}`,
  };
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac("sha256", key).update(text).digest();
}
