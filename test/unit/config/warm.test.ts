import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type ImageReference, parseImageReference } from "../../../src/oci/image-reference.ts";
import { parsePlatform, type Platform } from "../../../src/oci/platform.ts";
import { loadFile, problemsOf } from "./loading.ts";

describe("platforms", () => {
  const platformsOf = (platform: string): readonly Platform[] =>
    loadFile(JSON.stringify({ warm: { platforms: [platform] } })).warm.platforms;
  for (const text of ["linux/amd64", "linux/arm/v7", "windows/amd64", "wasip1/wasm", "linux/mips64le"]) {
    test(`takes ${text}`, () => assert.deepEqual(platformsOf(text), [parsePlatform(text)]));
  }
  for (const text of ["", "linux", "linux/", "/amd64", "linux/arm/v7/x", "Linux/amd64", "linux/amd64 ", "all"]) {
    test(`refuses "${text}"`, () => assert.throws(() => platformsOf(text), { name: "ConfigError" }));
  }
});

describe("images", () => {
  const imagesOf = (image: string): readonly ImageReference[] =>
    loadFile(JSON.stringify({ warm: { images: [image] } })).warm.images;
  for (const image of [
    "alpine",
    "alpine:3.20",
    "library/alpine",
    "team/app:Latest_1",
    "quay.io/team/app",
    "Quay.io/team/app:1",
    "localhost:5000/app",
    "[::1]:5000/app:1",
    `alpine@sha256:${"a".repeat(64)}`,
    `quay.io/team/app:1@sha512:${"0".repeat(128)}`,
  ]) {
    test(`takes ${image.slice(0, 50)}`, () => assert.deepEqual(imagesOf(image), [parseImageReference(image)]));
  }
  for (const image of [
    "",
    "/alpine",
    "alpine/",
    "alpine:",
    "Alpine",
    "a b",
    "https://quay.io/a",
    "a@sha256:",
    "a:b:c",
  ]) {
    test(`refuses "${image}"`, () => assert.equal(problemsOf(() => imagesOf(image)).length, 1));
  }
});
