import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { maxEnvelopeBytes, parseBlobKey, parseManifestKey, readEnvelope } from "../../../src/jobs/adopt-layout.ts";
import { envelopeOf } from "../../support/earlier-cache.ts";
import { maxManifestBytes } from "../../../src/oci/manifest.ts";

const hex = "0123456789abcdef".repeat(4);
const read = (text: string): ReturnType<typeof readEnvelope> => readEnvelope(Buffer.from(text));
const bytesOf = (text: string): string | undefined => {
  const envelope = read(text);
  return typeof envelope === "string" ? envelope : envelope.bytes.toString("hex");
};

describe("keys of the earlier system", () => {
  test("a manifest by tag, and by digest", () => {
    const place = { namespace: "docker.io", repository: "library/alpine" };
    assert.deepEqual(parseManifestKey("manifests/docker.io/library/alpine/3.20"), { ...place, reference: "3.20" });
    assert.deepEqual(parseManifestKey(`manifests/docker.io/library/alpine/sha256:${hex}`), {
      ...place,
      reference: `sha256:${hex}`,
    });
    assert.equal(parseManifestKey("manifests/registry.k8s.io/pause/3.9")?.repository, "pause");
    assert.equal(parseManifestKey("manifests/localhost:5000/a/b")?.namespace, "localhost:5000");
  });

  test("what it has not made is none", () => {
    for (const key of [
      "manifests",
      "manifests/docker.io",
      "manifests/docker.io/latest",
      "manifests/docker.io//latest",
      "manifests/docker.io/a/../b/latest",
      "manifests/docker.io/A/latest",
      "manifests/docker.io/a/-latest",
      `manifests/docker.io/a/sha256:${hex.toUpperCase()}`,
      `manifests/docker.io/a/sha256:${hex.slice(1)}`,
      `manifests/docker.io/${"a/".repeat(200)}latest`,
      "manifests/docker.io/a/line\nbreak",
    ]) {
      assert.equal(parseManifestKey(key), undefined, key);
    }
  });

  test("a blob, also by a digest in upper case", () => {
    assert.equal(parseBlobKey(`blobs/sha256/${hex.slice(0, 2)}/${hex.slice(2)}`), `sha256:${hex}`);
    const upper = hex.toUpperCase();
    assert.equal(parseBlobKey(`blobs/sha256/${upper.slice(0, 2)}/${upper.slice(2)}`), `sha256:${hex}`);
  });

  test("what is no blob of it is none", () => {
    for (const key of [
      "blobs/sha256",
      `blobs/sha256/${hex}`,
      `blobs/sha256/${hex.slice(0, 3)}/${hex.slice(3)}`,
      `blobs/sha256/${hex.slice(0, 2)}/${hex.slice(3)}`,
      `blobs/sha256/${hex.slice(0, 2)}/${hex.slice(2)}/more`,
      `blobs/md5/${hex.slice(0, 2)}/${hex.slice(2)}`,
      `blobs/sha256/${hex.slice(0, 2)}/${hex.slice(2)}.part`,
    ]) {
      assert.equal(parseBlobKey(key), undefined, key);
    }
  });
});

describe("envelopes", () => {
  test("as the earlier system wrote them: bytes as numbers, with a digest or none", () => {
    assert.deepEqual(read('{"manifest":[0,9,10,99,100,255],"media_type":"a/b","digest":"sha256:1"}'), {
      bytes: Buffer.from([0, 9, 10, 99, 100, 255]),
      mediaType: "a/b",
      digest: "sha256:1",
    });
    assert.deepEqual(read('{"manifest":[1],"media_type":"a/b","digest":null}'), {
      bytes: Buffer.from([1]),
      mediaType: "a/b",
      digest: undefined,
    });
  });

  test("of all media types that the earlier system knows, compact, and in the order of its fields", () => {
    // It keeps no others: an answer of another type is an error there. They are written as registries name them.
    for (const mediaType of [
      "application/vnd.oci.image.index.v1+json",
      "application/vnd.oci.image.manifest.v1+json",
      "application/vnd.oci.image.config.v1+json",
      "application/vnd.docker.distribution.manifest.v1+json",
      "application/vnd.docker.distribution.manifest.v1+prettyjws",
      "application/vnd.docker.distribution.manifest.v2+json",
      "application/vnd.docker.distribution.manifest.list.v2+json",
      "application/vnd.docker.image.rootfs.diff.tar.gzip",
      "application/vnd.docker.container.image.v1+json",
      "application/json",
    ]) {
      const bytes = Buffer.from('{\n   "schemaVersion": 2\n}');
      const text = `{"manifest":[${bytes.join(",")}],"media_type":"${mediaType}","digest":"sha256:${hex}"}`;
      assert.deepEqual(read(text), { bytes, mediaType, digest: `sha256:${hex}` });
      assert.equal(envelopeOf(bytes, mediaType, `sha256:${hex}`).toString(), text);
    }
  });

  test("in any order, with white space and escapes, without a digest, and of no bytes", () => {
    assert.equal(bytesOf(' {\n"media_type" : "a\\u002fb" , "manifest" : [ 1 , 22 ]\n} '), "0116");
    const escaped = read('{"media_type":"a\\u002f\\"b","manifest":[]}');
    assert.deepEqual(escaped, { bytes: Buffer.alloc(0), mediaType: 'a/"b', digest: undefined });
  });

  test("one that ends at any byte before its last is torn", () => {
    const whole = '{"manifest":[12,255],"media_type":"a/b","digest":null}';
    for (let length = 0; length < whole.length; length++) {
      assert.equal(read(whole.slice(0, length)), "torn", whole.slice(0, length));
    }
    assert.equal(bytesOf(whole), "0cff");
  });

  test("what is no envelope is refused, and none of it is built", () => {
    for (const text of [
      "[]",
      "{}",
      '{"manifest":[1]}',
      '{"media_type":"a/b"}',
      '{"manifest":[1],"media_type":null}',
      '{"manifest":[1],"media_type":"a/b"} x',
      '{"manifest":[1],"manifest":[2],"media_type":"a/b"}',
      '{"manifest":[1],"media_type":"a/b","digest":null,"digest":"b"}',
      '{"manifest":[1],"media_type":"a/b","more":1}',
      '{"manifest":"AQ==","media_type":"a/b"}',
      '{"manifest":[[1]],"media_type":"a/b"}',
      '{"manifest":[1,],"media_type":"a/b"}',
      '{"manifest":[256],"media_type":"a/b"}',
      '{"manifest":[1000000000000],"media_type":"a/b"}',
      '{"manifest":[-1],"media_type":"a/b"}',
      '{"manifest":[1.5],"media_type":"a/b"}',
      '{"manifest":[1 2],"media_type":"a/b"}',
      '{"manifest":[1],"media_type":"line\nbreak"}',
      '{"manifest":[1],"media_type":"a\\xb"}',
      `{"manifest":[1],"media_type":"${"a".repeat(2_000)}"}`,
      "[".repeat(1_000_000),
      `{"manifest":${"[".repeat(1_000_000)}`,
    ]) {
      assert.equal(read(text), "malformed", text.slice(0, 100));
    }
    assert.equal(readEnvelope(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a])), "malformed");
  });

  test("the largest manifest is read, and one byte more is not", () => {
    const envelope = (count: number): string => `{"manifest":[${"255,".repeat(count - 1)}255],"media_type":"a/b"}`;
    const largest = envelope(maxManifestBytes);
    assert.ok(largest.length < maxEnvelopeBytes);
    const found = read(largest);
    assert.equal(typeof found === "string" ? found : found.bytes.length, maxManifestBytes);
    assert.equal(read(envelope(maxManifestBytes + 1)), "malformed");
  });
});
