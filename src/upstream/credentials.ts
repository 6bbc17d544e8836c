import { createHash } from "node:crypto";

/** What an upstream is logged in to with. The user name `<token>` says that the password is an identity token. */
export interface Credentials {
  readonly username: string;
  readonly password: string;
}

/** Whether the password is an identity (refresh) token, which is good for token servers only. */
export function isIdentityToken(credentials: Credentials): boolean {
  return credentials.username === "<token>";
}

/** The value of an `Authorization` header for HTTP Basic (RFC 7617, in UTF-8). */
export function formatBasic({ username, password }: Credentials): string {
  return `Basic ${Buffer.from(`${username}:${password}`).toString("base64")}`;
}

/** Tells credentials apart in cache keys, without being one. */
export function fingerprint(credentials: Credentials | undefined): string {
  if (credentials === undefined) {
    return "anonymous";
  }
  return createHash("sha256")
    .update(JSON.stringify([credentials.username, credentials.password]))
    .digest("hex");
}
