import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  algorithmOf,
  createHasher,
  digestOf,
  formatDigest,
  hexOf,
  isDigest,
  parseDigest,
} from "../../../src/oci/digest.ts";
import { anyText, digest } from "./arbitraries.ts";
import { assertRefused, assertThrowsOnlyOciError } from "./rejection.ts";

const hex64 = "0123456789abcdef".repeat(4);
const hex128 = hex64.repeat(2);

test("digests of the supported algorithms are read", () => {
  for (const text of [`sha256:${hex64}`, `sha512:${hex128}`]) {
    assert.equal(parseDigest(text), text);
    assert.equal(isDigest(text), true);
  }
});

test("everything else is refused", () => {
  const refused = [
    "",
    ":",
    "sha256",
    "sha256:",
    `:${hex64}`,
    hex64,
    "sha256:baddigeststring",
    `sha256:${hex64.slice(1)}`,
    `sha256:${hex64}0`,
    `sha256:${hex64.toUpperCase()}`,
    `SHA256:${hex64}`,
    `sha256:${hex128}`,
    `sha512:${hex64}`,
    `sha256:${hex64}\n`,
    ` sha256:${hex64}`,
    `sha256:../${hex64.slice(3)}`,
    `sha256:${hex64.slice(1)}/`,
    `sha256:sha256:${hex64.slice(7)}`,
    `sha256+b64:${hex64}`,
    `blake3:${hex64}`,
    `md5:${hex64.slice(32)}`,
    `constructor:${hex64}`,
    `__proto__:${hex64}`,
    `sha256:${"0".repeat(300)}`,
  ];
  for (const text of refused) {
    assertRefused(() => parseDigest(text), "DIGEST_INVALID", text);
    assert.equal(isDigest(text), false, text);
  }
});

test("an unsupported algorithm is named", () => {
  assert.match(
    assertRefused(() => parseDigest(`blake3:${hex64}`), "DIGEST_INVALID").message,
    /blake3 is not supported/,
  );
});

test("a digest is its algorithm and its hex digits", () => {
  fc.assert(
    fc.property(digest, (value) => {
      assert.equal(parseDigest(value), value);
      assert.equal(isDigest(value), true);
      assert.equal(formatDigest(algorithmOf(value), hexOf(value)), value);
    }),
  );
});

test("any text is a digest or DIGEST_INVALID, and isDigest agrees", () => {
  fc.assert(
    fc.property(anyText, (text) => {
      assertThrowsOnlyOciError(() => parseDigest(text));
      if (isDigest(text)) {
        assert.equal(parseDigest(text), text);
      } else {
        assertRefused(() => parseDigest(text), "DIGEST_INVALID");
      }
    }),
  );
});

test("known bytes have known digests", () => {
  const empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
  assert.equal(digestOf(Buffer.alloc(0)), empty);
  assert.equal(digestOf(Buffer.from("{}")), "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
  assert.equal(
    digestOf(Buffer.from("abc"), "sha512"),
    "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a" +
      "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
  );
  const hasher = createHasher("sha256").update("a").update("bc");
  assert.equal(formatDigest("sha256", hasher.digest("hex")), digestOf(Buffer.from("abc")));
});
