import { createHmac, timingSafeEqual } from "node:crypto";

/** The secret that all replicas have: what one of them signs, the others can check, and nobody else can make. */
export class SharedSecret {
  readonly #secrets: readonly string[];

  /** @param secrets The first one signs, all of them count: so a new one comes in while the old one is in use. */
  constructor(secrets: readonly [string, ...string[]]) {
    this.#secrets = secrets;
  }

  /** A signature (HMAC-SHA-256) of texts in their order; the first says what they are, so that none passes for another. */
  sign(...texts: readonly string[]): string {
    return makeMac(this.#secrets[0] as string, texts).toString("base64url");
  }

  /** Whether a signature is one of these texts. What it takes tells nothing of how wrong it is. */
  isSigned(signature: string, ...texts: readonly string[]): boolean {
    const given = Buffer.from(signature, "base64url");
    let isRight = false;
    for (const secret of this.#secrets) {
      const mac = makeMac(secret, texts);
      if (given.length === mac.length && timingSafeEqual(given, mac)) isRight = true;
    }
    return isRight;
  }
}

function makeMac(secret: string, texts: readonly string[]): Buffer {
  // Where one ends and the next begins is signed, too.
  return createHmac("sha256", secret).update(JSON.stringify(texts)).digest();
}
