import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { formatDigest } from "../../../src/oci/digest.ts";
import { OciError } from "../../../src/oci/errors.ts";
import {
  acceptManifests,
  indexMediaType,
  type Manifest,
  maxManifestBytes,
  parseManifest,
} from "../../../src/oci/manifest.ts";
import { assertRefused } from "./rejection.ts";

const image = "application/vnd.oci.image.manifest.v1+json";
const artifact = "application/vnd.oci.artifact.manifest.v1+json";
const dockerList = "application/vnd.docker.distribution.manifest.list.v2+json";
const dockerImage = "application/vnd.docker.distribution.manifest.v2+json";

function descriptor(seed: number, fields: object = {}): { mediaType: string; digest: string; size: number } {
  const digest = formatDigest("sha256", seed.toString(16).padStart(64, "0"));
  return { mediaType: "application/octet-stream", digest, size: seed, ...fields };
}

const config = descriptor(1, { mediaType: "application/vnd.oci.image.config.v1+json" });
const layers = [descriptor(2), descriptor(3)];
const imageDocument = { schemaVersion: 2, mediaType: image, config, layers };
const indexDocument = { schemaVersion: 2, mediaType: indexMediaType, manifests: [descriptor(4), descriptor(5)] };

function parse(document: unknown, contentType?: string): Manifest {
  return parseManifest(Buffer.from(JSON.stringify(document)), contentType);
}

function assertInvalid(document: unknown, message: RegExp, contentType?: string): void {
  const bytes = document instanceof Uint8Array ? document : Buffer.from(JSON.stringify(document));
  assert.match(
    assertRefused(() => parseManifest(bytes, contentType), "MANIFEST_INVALID", String(message)).message,
    message,
  );
}

test("an image's children are its config and its layers, in order", () => {
  assert.deepEqual(parse(imageDocument, image), {
    mediaType: image,
    kind: "image",
    children: [config, ...layers],
    required: [config, ...layers],
    isAmbiguous: false,
    subject: undefined,
    config,
    artifactType: undefined,
    annotations: undefined,
    manifests: [],
    names: 13,
  });
});

test("what may be kept elsewhere is not required, and nothing that an index lists is", () => {
  const foreign = descriptor(6, { mediaType: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip" });
  const restricted = descriptor(7, { mediaType: "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip" });
  const linked = descriptor(8, { urls: ["https://example.com/layer"] });
  const read = parse({ ...imageDocument, layers: [...layers, foreign, restricted, linked] }, image);
  assert.equal(read.children.length, 6);
  assert.deepEqual(read.required, [config, ...layers]);
  assert.deepEqual(parse(indexDocument, indexMediaType).required, []);
});

test("an index's children are its manifests, whose descriptors are kept whole", () => {
  const manifests = [
    descriptor(4, {
      platform: { os: "linux", architecture: "amd64" },
      annotations: { a: "b" },
      urls: ["x"],
      data: "e30=",
    }),
    descriptor(5, { artifactType: "application/vnd.example" }),
    descriptor(4, { platform: { os: "linux", architecture: "386" } }),
  ];
  const read = parse({ ...indexDocument, manifests, annotations: { c: "d" }, artifactType: "x/y" }, indexMediaType);
  assert.equal(read.kind, "index");
  assert.deepEqual(read.manifests, manifests);
  assert.deepEqual(read.children, [descriptor(4), descriptor(5)]);
  assert.deepEqual(read.annotations, { c: "d" });
  assert.equal(read.artifactType, "x/y");
});

test("the kinds of documents that exist are read", () => {
  const empty = descriptor(2, { mediaType: "application/vnd.oci.empty.v1+json" });
  const rows: [
    what: string,
    document: object,
    contentType: string | undefined,
    mediaType: string,
    kind: string,
    children: number,
  ][] = [
    ["Docker image", { ...imageDocument, mediaType: dockerImage }, dockerImage, dockerImage, "image", 3],
    ["Docker list", { ...indexDocument, mediaType: dockerList }, dockerList, dockerList, "index", 2],
    ["no mediaType inside", { schemaVersion: 2, config, layers }, image, image, "image", 3],
    ["an empty mediaType inside", { ...imageDocument, mediaType: "" }, image, image, "image", 3],
    ["no layers", { schemaVersion: 2, mediaType: image, config, layers: [] }, image, image, "image", 1],
    ["layers that Go wrote", { schemaVersion: 2, mediaType: image, config, layers: null }, image, image, "image", 1],
    [
      "an index that Go wrote",
      { schemaVersion: 2, mediaType: indexMediaType, manifests: null },
      indexMediaType,
      indexMediaType,
      "index",
      0,
    ],
    ["empty index", { ...indexDocument, manifests: [] }, indexMediaType, indexMediaType, "index", 0],
    [
      "artifact as image",
      { ...imageDocument, artifactType: "x/y", config: empty, layers: [empty] },
      image,
      image,
      "image",
      1,
    ],
    ["artifact manifest", { mediaType: artifact, artifactType: "x/y", blobs: layers }, artifact, artifact, "image", 2],
    ["artifact manifest without blobs", { mediaType: artifact, artifactType: "x/y" }, artifact, artifact, "image", 0],
    [
      "other manifest type",
      { ...imageDocument, mediaType: "application/vnd.x+json" },
      "application/vnd.x+json",
      "application/vnd.x+json",
      "image",
      3,
    ],
    ["unknown fields", { ...imageDocument, "org.example": { a: [1] } }, image, image, "image", 3],
  ];
  for (const [what, document, contentType, mediaType, kind, children] of rows) {
    const read = parse(document, contentType);
    assert.deepEqual([read.mediaType, read.kind, read.children.length], [mediaType, kind, children], what);
  }
});

test("a generic Content-Type leaves it to the document, and then to its shape", () => {
  const generic = [
    undefined,
    "",
    "application/json",
    "application/json; charset=utf-8",
    "Application/Octet-Stream",
    "text/plain; x",
  ];
  for (const contentType of generic) {
    assert.equal(
      parse({ ...imageDocument, mediaType: dockerImage }, contentType).mediaType,
      dockerImage,
      String(contentType),
    );
    assert.equal(parse({ schemaVersion: 2, config, layers }, contentType).mediaType, image, String(contentType));
    assert.equal(
      parse({ schemaVersion: 2, manifests: [] }, contentType).mediaType,
      indexMediaType,
      String(contentType),
    );
    assert.equal(parse({ blobs: layers }, contentType).mediaType, artifact, String(contentType));
  }
});

test("parameters and letter case of the Content-Type do not count", () => {
  assert.equal(parse(imageDocument, ` ${image.toUpperCase()} ; charset=utf-8`).mediaType, image);
});

test("a document that could be read as two things is refused", () => {
  const both = /both an index .* and an image/;
  for (const contentType of [image, indexMediaType, undefined]) {
    assertInvalid({ schemaVersion: 2, manifests: [descriptor(4)], layers }, both, contentType);
    assertInvalid({ schemaVersion: 2, manifests: [descriptor(4)], config }, both, contentType);
    assertInvalid({ schemaVersion: 2, manifests: [], layers: [] }, both, contentType);
    assertInvalid({ schemaVersion: 2, Manifests: [descriptor(4)], config, layers }, both, contentType);
    assertInvalid({ schemaVersion: 2, manifests: [descriptor(4)], LAYERS: layers }, both, contentType);
  }
});

test("a Content-Type that contradicts the document is refused", () => {
  assertInvalid(imageDocument, /mediaType .*oci\.image\.manifest.* is not its Content-Type .*docker/, dockerImage);
  assertInvalid(imageDocument, /is not its Content-Type/, indexMediaType);
  assertInvalid({ schemaVersion: 2, config, layers }, /fields of an image/, indexMediaType);
  assertInvalid({ schemaVersion: 2, config, layers }, /fields of an image/, dockerList);
  assertInvalid({ schemaVersion: 2, manifests: [] }, /fields of an index/, image);
  assertInvalid({ ...indexDocument, mediaType: image }, /fields of an index/);
});

test("what is no manifest's media type is refused", () => {
  for (const contentType of [
    "text/html",
    "text/html; charset=utf-8",
    "image/svg+xml",
    "application/xml",
    "*/*",
    "json",
  ]) {
    assertInvalid({ schemaVersion: 2, config, layers }, /is not the media type of a manifest/, contentType);
  }
  assertInvalid({ ...imageDocument, mediaType: "text/html" }, /is not the media type of a manifest/);
});

test("schema 1 is refused, and the message says what to do", () => {
  const message = /schema 1 .* push the image again with a current client/;
  const schema1 = { schemaVersion: 1, name: "a", tag: "b", fsLayers: [], history: [], signatures: [] };
  assertInvalid(schema1, message);
  assertInvalid(schema1, message, "application/json");
  for (const suffix of ["json", "prettyjws"]) {
    const mediaType = `application/vnd.docker.distribution.manifest.v1+${suffix}`;
    assertInvalid(schema1, message, mediaType);
    assertInvalid({ schemaVersion: 2 }, message, mediaType);
    assertInvalid({ ...imageDocument, mediaType }, message);
  }
});

test("what is no document of either kind is refused", () => {
  assertInvalid(Buffer.alloc(0), /not JSON/);
  assertInvalid(Buffer.from("<html>"), /not JSON/, "application/json");
  assertInvalid(Buffer.from(JSON.stringify(imageDocument).slice(0, -1)), /not JSON/);
  assertInvalid(Buffer.from(`\u{feff}${JSON.stringify(imageDocument)}`), /not JSON/);
  assertInvalid(Buffer.from(JSON.stringify({ ...imageDocument, x: "\u{ff}" }), "latin1"), /not JSON in UTF-8/);
  for (const document of [null, true, 1, "x", [], [imageDocument]]) {
    assertInvalid(document, /not a JSON object/);
  }
  assertInvalid({}, /neither an index/);
  assertInvalid({ schemaVersion: 2, mediaType: image }, /neither an index/, image);
  for (const schemaVersion of [undefined, null, "2", 3, 2.5]) {
    assertInvalid({ ...imageDocument, schemaVersion }, /schemaVersion is not 2/);
    assertInvalid({ ...indexDocument, schemaVersion }, /schemaVersion is not 2/);
  }
  assertInvalid({ blobs: [], schemaVersion: 3 }, /schemaVersion is not 2/);
});

test("fields of the wrong type are refused", () => {
  const rows: [object, RegExp][] = [
    [{ ...imageDocument, mediaType: 1 }, /its mediaType is not a string/],
    [{ ...imageDocument, artifactType: {} }, /its artifactType is not a string/],
    [{ ...imageDocument, annotations: [] }, /its annotations are not strings/],
    [{ ...imageDocument, annotations: { a: 1 } }, /its annotations are not strings/],
    [{ ...imageDocument, config: [] }, /its config is not a descriptor/],
    [{ ...imageDocument, layers: {} }, /its layers is not a list/],
    [{ ...imageDocument, layers: [config, null] }, /its layers\[1\] is not a descriptor/],
    [{ ...imageDocument, blobs: 1 }, /its blobs is not a list/],
    [{ ...imageDocument, subject: "x" }, /its subject is not a descriptor/],
    [{ ...indexDocument, manifests: "x" }, /its manifests is not a list/],
    [{ ...indexDocument, manifests: [descriptor(4, { annotations: { a: 1 } })] }, /its manifests\[0\]\.annotations/],
    [{ ...indexDocument, manifests: [descriptor(4, { artifactType: 1 })] }, /its manifests\[0\]\.artifactType/],
  ];
  for (const [document, message] of rows) {
    assertInvalid(document, message);
  }
});

test("null stands for an absent field", () => {
  const read = parse({ ...imageDocument, subject: null, annotations: null, artifactType: null });
  assert.deepEqual([read.subject, read.annotations, read.artifactType], [undefined, undefined, undefined]);
});

test("descriptors with a bad digest, size or media type are refused", () => {
  const digests = [
    undefined,
    1,
    "",
    "sha256:",
    "sha256:baddigeststring",
    `sha256:${"A".repeat(64)}`,
    `sha512:${"a".repeat(64)}`,
    `SHA256:${"a".repeat(64)}`,
    "../../etc/passwd",
    "blake3:../x",
    `blake3:${"a".repeat(300)}`,
  ];
  for (const digest of digests) {
    for (const place of ["config", "subject"]) {
      assertInvalid(
        { ...imageDocument, [place]: descriptor(1, { digest }) },
        new RegExp(`its ${place} has no valid digest`),
      );
    }
    assertInvalid(
      { ...imageDocument, layers: [layers[0], descriptor(1, { digest })] },
      /its layers\[1\] has no valid digest/,
    );
    assertInvalid(
      { ...indexDocument, manifests: [descriptor(1, { digest })] },
      /its manifests\[0\] has no valid digest/,
    );
  }
  for (const size of [undefined, null, "1", -1, 1.5, 2 ** 53]) {
    assertInvalid({ ...imageDocument, config: descriptor(1, { size }) }, /its config has a size/);
  }
  assertInvalid({ ...imageDocument, config: descriptor(1, { mediaType: undefined }) }, /its config has no mediaType/);
});

test("descriptors of an algorithm that is not supported are left out", () => {
  const other = descriptor(9, { digest: `blake3:${"a".repeat(64)}` });
  const unusual = descriptor(9, { digest: "multihash+base58:QmRZxt2b1FVZPNqd8hsiykDL3TdBDeTSPX9Kv46HmX4Gx8" });
  const read = parse({ ...imageDocument, subject: other, layers: [other, ...layers, unusual] });
  assert.deepEqual(read.children, [config, ...layers]);
  assert.equal(read.subject, undefined);
  const index = parse({ ...indexDocument, manifests: [other, descriptor(4)] });
  assert.deepEqual(index.manifests, [descriptor(4)]);
});

test("the subject is read and is no child", () => {
  for (const document of [imageDocument, indexDocument]) {
    const read = parse({ ...document, subject: descriptor(7, { annotations: {} }) });
    assert.deepEqual(read.subject, descriptor(7));
    assert.ok(read.children.every(({ digest }) => digest !== descriptor(7).digest));
  }
});

test("a digest that is repeated is one child, as it stands first", () => {
  const again = descriptor(2, { size: 99, mediaType: "text/plain" });
  const read = parse({ ...imageDocument, layers: [layers[0], config, again, layers[1]] });
  assert.deepEqual(read.children, [config, ...layers]);
});

test("the number of children is limited", () => {
  const manifests = Array.from({ length: 10_001 }, (_, index) => descriptor(index));
  assert.equal(parse({ ...indexDocument, manifests: manifests.slice(1) }).children.length, 10_000);
  assertInvalid({ ...indexDocument, manifests }, /more than 10000/);
});

test("the number of bytes is limited", () => {
  const bytes = Buffer.from(JSON.stringify(imageDocument));
  const padding = Buffer.alloc(maxManifestBytes - bytes.length, " ");
  assert.equal(parseManifest(Buffer.concat([bytes, padding]), image).kind, "image");
  assertInvalid(Buffer.concat([bytes, padding, Buffer.from(" ")]), /more than 4194304 bytes/);
});

test("nesting without end is an answer, not a crash", () => {
  assertInvalid(Buffer.alloc(maxManifestBytes, "["), /more than 64 levels deep/);
  const nested = `{"a":${"[".repeat(1_000_000)}${"]".repeat(1_000_000)}}`;
  assertInvalid(Buffer.from(nested), /more than 64 levels deep/);
});

test("names that objects have are fields like others", () => {
  const text = JSON.stringify({ ...imageDocument, annotations: {} }).replace(
    "{}",
    '{"__proto__":"a","constructor":"b"}',
  );
  assert.deepEqual(Object.entries(parseManifest(Buffer.from(text), image).annotations ?? {}), [
    ["__proto__", "a"],
    ["constructor", "b"],
  ]);
  assertInvalid(Buffer.from('{"__proto__":{"schemaVersion":2,"manifests":[]}}'), /neither an index/);
});

test("what is asked of upstreams names four types and no wildcard", () => {
  assert.deepEqual(acceptManifests.split(", "), [indexMediaType, image, dockerList, dockerImage]);
});

test("any document is read or refused with MANIFEST_INVALID", () => {
  const value = fc.oneof(
    fc.jsonValue({ maxDepth: 2 }),
    fc.constant(descriptor(1)),
    fc.constant([descriptor(1)]),
    fc.constantFrom(1, 2, image, indexMediaType, artifact),
  );
  const names = fc.constantFrom(
    "schemaVersion",
    "mediaType",
    "config",
    "layers",
    "manifests",
    "blobs",
    "subject",
    "annotations",
    "artifactType",
  );
  const document = fc.oneof(
    fc.jsonValue(),
    fc.dictionary(names, value),
    fc.dictionary(names, value).map((fields) => ({ schemaVersion: 2, ...fields })),
  );
  const bytes = fc.oneof(
    fc.uint8Array(),
    document.map((content) => Buffer.from(JSON.stringify(content))),
  );
  const contentType = fc.option(fc.oneof(fc.constantFrom(image, indexMediaType, "text/html", ";"), fc.string()), {
    nil: undefined,
  });
  fc.assert(
    fc.property(bytes, contentType, (content, type) => {
      try {
        const read = parseManifest(content, type);
        assert.match(read.mediaType, /^application\/.*json$/);
        assert.equal(new Set(read.children.map(({ digest }) => digest)).size, read.children.length);
      } catch (error) {
        assert.ok(error instanceof OciError && error.code === "MANIFEST_INVALID", String(error));
      }
    }),
    { numRuns: 500 },
  );
});
