/* Manifests that two readers may take to say different things. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { formatDigest } from "../../../src/oci/digest.ts";
import { indexMediaType, type Manifest, parseManifest } from "../../../src/oci/manifest.ts";
import { assertRefused } from "./rejection.ts";

const image = "application/vnd.oci.image.manifest.v1+json";
const dockerImage = "application/vnd.docker.distribution.manifest.v2+json";
const artifact = "application/vnd.oci.artifact.manifest.v1+json";

/** A descriptor as text, with more text at its end. */
function descriptor(seed: number, more = ""): string {
  const digest = formatDigest("sha256", seed.toString(16).padStart(64, "0"));
  return `{"mediaType":"application/x","digest":"${digest}","size":${seed}${more}}`;
}

const own = `"schemaVersion":2,"config":${descriptor(1)},"layers":[${descriptor(2)}]`;
const others = `[${descriptor(3)}]`;

function parse(text: string, mediaType = image): Manifest {
  return parseManifest(Buffer.from(text), mediaType);
}

const ambiguous: Record<string, string> = {
  "the same name twice": `{${own},"layers":${others}}`,
  "the same name twice, the first time escaped": `{"\\u006cayers":${others},${own}}`,
  "the same name twice, the second time escaped": `{${own},"layer\\u0073":${others}}`,
  "config twice": `{${own},"config":${descriptor(3)}}`,
  "another case": `{${own},"Layers":${others}}`,
  "another case of config": `{${own},"CONFIG":${descriptor(3)}}`,
  "another case alone": `{"schemaVersion":2,"config":${descriptor(1)},"layerS":${others}}`,
  "a long s": `{${own},"layer\u017f":${others}}`,
  "a long s, escaped": `{${own},"layer\\u017f":${others}}`,
  "a dotless i": `{${own},"conf\u0131g":${descriptor(3)}}`,
  "another case of mediaType": `{${own},"mediatype":"${dockerImage}"}`,
  "another case of schemaVersion": `{${own},"SchemaVersion":1}`,
  "an artifact's blobs": `{${own},"blobs":${others}}`,
  "an artifact's blobs in another case": `{${own},"Blobs":${others}}`,
  "an artifact's blobs, empty": `{${own},"blobs":null}`,
  "the layers of schema 1": `{${own},"fsLayers":[{"blobSum":"sha256:${"3".repeat(64)}"}]}`,
  "the layers of schema 1 in another case": `{${own},"FSLayers":[]}`,
  "signatures of schema 1": `{${own},"Signatures":[]}`,
  "a subject twice": `{${own},"subject":${descriptor(3)},"subject":${descriptor(4)}}`,
};
const inDescriptors: Record<string, string> = {
  "a digest twice": `,"digest":"sha256:${"4".repeat(64)}"`,
  "another case of digest": `,"Digest":"sha256:${"4".repeat(64)}"`,
  "another case of size": `,"SIZE":1`,
  "a long s in size": `,"\u017fize":1`,
  "another case of urls": `,"URLs":["http://192.0.2.1/"]`,
  "another case of mediaType": `,"MediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"`,
  "another case of data": `,"Data":""`,
  "a name twice deep below": `,"x":{"y":[{"z":1,"z":2}]}`,
};
for (const [what, more] of Object.entries(inDescriptors)) {
  ambiguous[`${what} in config`] = `{"schemaVersion":2,"config":${descriptor(3, more)},"layers":[${descriptor(2)}]}`;
  ambiguous[`${what} in a layer`] =
    `{"schemaVersion":2,"config":${descriptor(1)},"layers":[${descriptor(2)},${descriptor(3, more)}]}`;
  ambiguous[`${what} in the subject`] = `{${own},"subject":${descriptor(3, more)}}`;
}

for (const [what, text] of Object.entries(ambiguous)) {
  test(`a manifest with ${what} is read, and proves nothing`, () => {
    for (const mediaType of [image, dockerImage]) {
      const read = parse(text, mediaType);
      assert.deepEqual([read.isAmbiguous, read.required, read.mediaType], [true, [], mediaType]);
    }
  });
}

test("the media type decides which fields count", () => {
  const blobs = `"schemaVersion":2,"mediaType":"${artifact}","blobs":[${descriptor(2)}]`;
  assert.deepEqual(parse(`{${blobs}}`, artifact).required.length, 1);
  assert.ok(parse(`{${blobs},"layers":${others}}`, artifact).isAmbiguous);
  assert.ok(parse(`{${blobs},"config":${descriptor(3)}}`, artifact).isAmbiguous);
  assert.ok(parse(`{"schemaVersion":2,"blobs":[${descriptor(2)}]}`, image).isAmbiguous);
  assert.ok(parse(`{${own}}`, artifact).isAmbiguous);
  // Who does not know a type checks nothing of it.
  assert.ok(parse(`{${own}}`, "application/vnd.example+json").isAmbiguous);
});

test("an index is ambiguous in the same ways", () => {
  const entries = `"schemaVersion":2,"manifests":[${descriptor(4)}]`;
  assert.ok(!parse(`{${entries}}`, indexMediaType).isAmbiguous);
  for (const text of [
    `{${entries},"manifests":${others}}`,
    `{${entries},"Manifests":${others}}`,
    `{${entries},"blobs":${others}}`,
    `{"schemaVersion":2,"manifests":[${descriptor(4, ',"Digest":"x"')}]}`,
  ]) {
    assert.ok(parse(text, indexMediaType).isAmbiguous, text);
  }
});

test("what some reader takes for both an index and an image is refused", () => {
  for (const name of ["layer\u017f", "LAYERS", "\\u006cayers", "Config"]) {
    const text = `{"schemaVersion":2,"manifests":[${descriptor(4)}],"${name}":${others}}`;
    assertRefused(() => parse(text, indexMediaType), "MANIFEST_INVALID", name);
  }
});

test("what means nothing to anybody may be written as it likes", () => {
  for (const more of [
    `"annotations":{"a":"1","A":"2","Layers":"3","größe":"4"}`,
    `"org.example":{"layers":[],"Layers":[],"x":1}`,
    `"größe":1`,
    `"layers2":[]`,
    `"mediaType":"${image}"`,
    `"artifactType":"application/x"`,
    `"x":"\\"layers\\":[],{\\\\"`,
  ]) {
    const read = parse(`{${own},${more}}`);
    assert.deepEqual([read.isAmbiguous, read.required.length], [false, 2], more);
  }
  const escaped = parse(`{"schemaVersion":2,"config":${descriptor(1)},"l\\u0061yers":[${descriptor(2)}]}`);
  assert.deepEqual([escaped.isAmbiguous, escaped.required.length], [false, 2]);
});

test("a manifest that was written from an object is never ambiguous, and always is with a name repeated anywhere", () => {
  const objects = fc.dictionary(
    fc.string({ unit: "binary" }).map((name) => `x${name}`),
    fc.jsonValue({ maxDepth: 3 }),
    { minKeys: 1 },
  );
  fc.assert(
    fc.property(objects, fc.nat(), (fields, at) => {
      const text = `{${own},"x":${JSON.stringify(fields)}}`;
      assert.ok(!parse(text).isAmbiguous, text);
      const names = Object.keys(fields);
      const repeated = JSON.stringify(names[at % names.length]);
      assert.ok(parse(`{${own},"x":${JSON.stringify(fields).slice(0, -1)},${repeated}:0}}`).isAmbiguous, text);
    }),
  );
});
