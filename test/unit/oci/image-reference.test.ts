import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { OciError } from "../../../src/oci/errors.ts";
import {
  formatImageReference,
  ImageListError,
  parseImageList,
  parseImageReference,
} from "../../../src/oci/image-reference.ts";
import { type Namespace, parseNamespace } from "../../../src/oci/reference.ts";
import { anyText, digest, repository, tag } from "./arbitraries.ts";

const sha256 = `sha256:${"a".repeat(64)}`;
const sha512 = `sha512:${"b".repeat(128)}`;

/** What stands before the first slash of a full name and can be told from a part of a repository. */
const namespace: fc.Arbitrary<Namespace> = fc
  .constantFrom(
    "docker.io",
    "quay.io",
    "localhost",
    "localhost:5000",
    "registry.example.com:443",
    "[::1]:5000",
    "10.0.0.1",
  )
  .map(parseNamespace);

describe("an image's name", () => {
  const names: readonly (readonly [text: string, namespace: string, repository: string, reference: string])[] = [
    ["alpine", "docker.io", "alpine", "latest"],
    ["alpine:3.20", "docker.io", "alpine", "3.20"],
    ["team/app", "docker.io", "team/app", "latest"],
    ["docker.io/library/alpine:3", "docker.io", "library/alpine", "3"],
    ["index.docker.io/library/alpine", "index.docker.io", "library/alpine", "latest"],
    ["registry.k8s.io/pause:3.9", "registry.k8s.io", "pause", "3.9"],
    [`ghcr.io/org/app@${sha256}`, "ghcr.io", "org/app", sha256],
    [`ghcr.io/org/app:1.2@${sha512}`, "ghcr.io", "org/app", sha512],
    [`alpine@${sha256}`, "docker.io", "alpine", sha256],
    ["localhost/x", "localhost", "x", "latest"],
    ["localhost:5000/x", "localhost:5000", "x", "latest"],
    ["localhost:5000/x:1", "localhost:5000", "x", "1"],
    ["builder:5000/x/y:1", "builder:5000", "x/y", "1"],
    ["[::1]:5000/x", "[::1]:5000", "x", "latest"],
    ["localhost", "docker.io", "localhost", "latest"],
    ["a.b", "docker.io", "a.b", "latest"],
  ];
  for (const [text, ...parts] of names) {
    test(`${text.slice(0, 60)} is ${parts.join(" ").slice(0, 80)}`, () => {
      const image = parseImageReference(text);
      assert.deepEqual([image.namespace, image.repository, image.reference], parts);
    });
  }

  const refused: readonly (readonly [text: string, code: string])[] = [
    ["Quay/team/app", "NAME_INVALID"],
    ["", "NAME_INVALID"],
    ["alpine:", "TAG_INVALID"],
    ["alpine:-1", "TAG_INVALID"],
    ["alpine:1:2", "TAG_INVALID"],
    ["alpine@", "DIGEST_INVALID"],
    ["alpine@3.20", "DIGEST_INVALID"],
    ["alpine@sha256:abc", "DIGEST_INVALID"],
    [`alpine:-1@${sha256}`, "TAG_INVALID"],
    ["Alpine", "NAME_INVALID"],
    ["team/App", "NAME_INVALID"],
    ["quay.io/", "NAME_INVALID"],
    ["/alpine", "NAME_INVALID"],
    ["https://quay.io/team/app", "NAME_INVALID"],
    ["docker://alpine", "NAME_INVALID"],
    ["quay.io:99999/app", "NAME_INVALID"],
    ["alpine 3.20", "NAME_INVALID"],
  ];
  for (const [text, code] of refused) {
    test(`${JSON.stringify(text.slice(0, 60))} is refused as ${code}`, () => {
      assert.throws(() => parseImageReference(text), { name: "OciError", code });
    });
  }

  test("a full name is read as the image that it was written for", () => {
    fc.assert(
      fc.property(namespace, repository, fc.oneof(tag, digest), (...parts) => {
        const image = { namespace: parts[0], repository: parts[1], reference: parts[2] };
        assert.deepEqual(parseImageReference(formatImageReference(image)), image);
      }),
    );
  });

  test("a tag before a digest changes nothing", () => {
    fc.assert(
      fc.property(namespace, repository, tag, digest, (host, name, version, exact) => {
        assert.deepEqual(
          parseImageReference(`${host}/${name}:${version}@${exact}`),
          parseImageReference(`${host}/${name}@${exact}`),
        );
      }),
    );
  });

  test("any text is an image, which its full name means too, or is refused with an error for people", () => {
    fc.assert(
      fc.property(anyText, (text) => {
        try {
          const image = parseImageReference(text);
          assert.deepEqual(parseImageReference(formatImageReference(image)), image);
        } catch (error) {
          assert.ok(error instanceof OciError, String(error));
        }
      }),
    );
  });
});

describe("a list of images", () => {
  test("has one a line, comments, empty lines, and the line ends of any system", () => {
    const text = "\uFEFF# base images\r\nalpine:3\n\n  quay.io/team/app  # the application\n\t\n#alpine:2";
    assert.deepEqual(parseImageList(text).map(formatImageReference), ["docker.io/alpine:3", "quay.io/team/app:latest"]);
  });

  test("may be empty", () => {
    assert.deepEqual(parseImageList(""), []);
  });

  test("tells all lines that cannot be read, by number", () => {
    assert.throws(
      () => parseImageList("alpine\nAlpine\n\n# x\nalpine:-1 # y\nbusybox"),
      (error) => {
        assert.ok(error instanceof ImageListError);
        assert.deepEqual(
          error.problems.map(({ line }) => line),
          [2, 5],
        );
        assert.match(error.message, /^line 2: "Alpine": .+\nline 5: "alpine:-1": a tag .+$/);
        return true;
      },
    );
  });

  test("is read as the images that it was written for", () => {
    const image = fc.record({ namespace, repository, reference: fc.oneof(tag, digest) }, { noNullPrototype: true });
    fc.assert(
      fc.property(fc.array(image), (images) => {
        assert.deepEqual(parseImageList(images.map(formatImageReference).join("\n")), images);
      }),
    );
  });
});
