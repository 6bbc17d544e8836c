import fc from "fast-check";
import { type Digest, formatDigest } from "../../../src/oci/digest.ts";
import { parseRepository, parseTag, type Repository, type Tag } from "../../../src/oci/reference.ts";

const word = fc.stringMatching(/^[a-z0-9]{1,6}$/);
const separator = fc.constantFrom(".", "_", "__", "-", "---");

const pieces: readonly string[] = [
  ...'/ ? & = % : . , - \\ ; * [ ] 0 a _ < > " \\" é v2 /v2/ manifests blobs uploads tags list referrers ns= docker.io'.split(
    " ",
  ),
  ..."%2F %00 %zz .. bytes= 0- -5 99999999999999999999 realm= rel=next sha256:".split(" "),
  " ",
  "\t",
  "bytes ",
  "Bearer ",
  "\u{d800}",
  "\u{0}",
];

/** A part of a repository's name; often one of the words that the API's paths use themselves. */
export const component: fc.Arbitrary<string> = fc.oneof(
  fc.constantFrom("v2", "manifests", "blobs", "tags", "uploads", "referrers", "list", "docker.io", "registry.k8s.io"),
  fc
    .tuple(word, fc.array(fc.tuple(separator, word), { maxLength: 2 }))
    .map(([first, rest]) => first + rest.flat().join("")),
);

/** A repository's name. */
export const repository: fc.Arbitrary<Repository> = fc
  .array(component, { minLength: 1, maxLength: 6 })
  .map((parts) => parseRepository(parts.join("/")));

/** A tag. */
export const tag: fc.Arbitrary<Tag> = fc
  .stringMatching(/^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/)
  .map((text) => parseTag(text));

/** A digest of either algorithm. */
export const digest: fc.Arbitrary<Digest> = fc.oneof(
  hexadecimal(64).map((encoded) => formatDigest("sha256", encoded)),
  hexadecimal(128).map((encoded) => formatDigest("sha512", encoded)),
);

// fast-check's own "binary" takes more than half a second to set up.
const codePoint = fc
  .oneof(fc.nat({ max: 0xff }), fc.nat({ max: 0x10_ffff }), fc.integer({ min: 0xd800, max: 0xdfff }))
  .map((code) => String.fromCodePoint(code));

/** Text of any kind: Unicode, bytes as Latin-1, and mixtures of the pieces that the parsers look for. */
export const anyText: fc.Arbitrary<string> = fc.oneof(
  fc.string({ unit: codePoint, maxLength: 80 }),
  fc.string({ unit: "grapheme", maxLength: 80 }),
  fc
    .array(fc.string({ unit: "binary-ascii", minLength: 1, maxLength: 3 }), { maxLength: 12 })
    .map((parts) => parts.join("/")),
  fc.string({
    unit: fc.constantFrom(...pieces),
    maxLength: 40,
  }),
);

function hexadecimal(length: number): fc.Arbitrary<string> {
  return fc.stringMatching(new RegExp(`^[0-9a-f]{${length}}$`));
}
