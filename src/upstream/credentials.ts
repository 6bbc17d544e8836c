import { createHmac, randomBytes } from "node:crypto";

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

// Drawn at start: a plain hash of a weak password, in a metric or a log, could be guessed back.
let fingerprintKey = randomBytes(32);

/** From here on makes the same fingerprints as all processes that have the same secret; before any is made. */
export function shareFingerprints(secret: string): void {
  fingerprintKey = createHmac("sha256", secret).update("fingerprints of credentials").digest();
}

/** Tells credentials apart in cache keys, without being one. It is another one in every process, unless shared. */
export function fingerprint(credentials: Credentials | undefined): string {
  if (credentials === undefined) return "anonymous";
  return createHmac("sha256", fingerprintKey)
    .update(JSON.stringify([credentials.username, credentials.password]))
    .digest("hex")
    .slice(0, 32);
}
