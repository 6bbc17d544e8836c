import assert from "node:assert/strict";
import { describe, test } from "node:test";
import fc from "fast-check";
import { digestOf } from "../../../src/oci/digest.ts";
import type { ManifestEntry } from "../../../src/oci/manifest.ts";
import { chooseEntries, formatPlatform, parsePlatform } from "../../../src/oci/platform.ts";

/** An entry with this platform (`os/architecture/variant`), whose digest is that of its name. */
function entry(
  platform: string | undefined,
  more: Partial<ManifestEntry> & { readonly name?: string } = {},
): ManifestEntry {
  const { name = platform ?? "none", ...fields } = more;
  const [os, architecture, variant] = platform?.split("/") ?? [];
  return {
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    digest: digestOf(Buffer.from(name)),
    size: 1,
    name,
    ...(platform !== undefined && { platform: { os, architecture, ...(variant !== undefined && { variant }) } }),
    ...fields,
  };
}

function attestation(subject: ManifestEntry): ManifestEntry {
  return entry("unknown/unknown", {
    name: `attestation of ${String(subject["name"])}`,
    annotations: {
      "vnd.docker.reference.type": "attestation-manifest",
      "vnd.docker.reference.digest": subject.digest,
    },
  });
}

function chosen(entries: readonly ManifestEntry[], ...platforms: readonly string[]): unknown[] {
  return chooseEntries(entries, platforms.map(parsePlatform)).map((each) => each["name"]);
}

describe("a platform", () => {
  test("is os/architecture, and perhaps a variant", () => {
    assert.deepEqual(parsePlatform("linux/amd64"), { os: "linux", architecture: "amd64", variant: undefined });
    assert.deepEqual(parsePlatform("Linux/ARM/v7"), { os: "linux", architecture: "arm", variant: "v7" });
  });

  for (const text of ["", "linux", "linux/", "/amd64", "linux/arm/v7/x", "linux/arm/", "linux /amd64"]) {
    test(`is not ${JSON.stringify(text)}`, () => {
      assert.throws(() => parsePlatform(text), { name: "OciError", code: "NAME_INVALID" });
    });
  }

  test("is read as the one that was written", () => {
    const word = fc.stringMatching(/^[a-z0-9_.-]{1,8}$/);
    fc.assert(
      fc.property(word, word, fc.option(word, { nil: undefined }), (os, architecture, variant) => {
        const platform = { os, architecture, variant };
        assert.deepEqual(parsePlatform(formatPlatform(platform)), platform);
      }),
    );
  });
});

describe("the entries of an index", () => {
  const amd64 = entry("linux/amd64");
  const arm64 = entry("linux/arm64/v8");
  const entries = [amd64, attestation(amd64), arm64, attestation(arm64), entry(undefined), entry("windows/amd64")];

  test("are all chosen where no platform is asked for", () => {
    assert.deepEqual(chooseEntries(entries, []), entries);
  });

  test("are chosen by platform, with the attestations about them, in the index's order", () => {
    assert.deepEqual(chosen(entries, "linux/arm64", "linux/amd64"), [
      "linux/amd64",
      "attestation of linux/amd64",
      "linux/arm64/v8",
      "attestation of linux/arm64/v8",
    ]);
    assert.deepEqual(chosen(entries, "linux/arm64"), ["linux/arm64/v8", "attestation of linux/arm64/v8"]);
    assert.deepEqual(chosen(entries, "linux/s390x"), []);
    assert.deepEqual(chosen(entries, "unknown/unknown").includes("linux/amd64"), false);
  });

  const arms = ["linux/arm/v5", "linux/arm/v6", "linux/arm/v7"].map((platform) => entry(platform));
  const amds = ["linux/amd64", "linux/amd64/v2", "linux/amd64/v3"].map((platform) => entry(platform));
  const cases: readonly (readonly [what: string, ManifestEntry[], wanted: string, string[]])[] = [
    ["the variant that is asked for", arms, "linux/arm/v6", ["linux/arm/v6"]],
    ["the usual variant where none is asked for", arms, "linux/arm", ["linux/arm/v7"]],
    ["the highest variant below where there is not that one", arms, "linux/arm/v8", ["linux/arm/v7"]],
    ["no variant above", arms.slice(1), "linux/arm/v5", []],
    ["the one without a variant as the usual one", amds, "linux/amd64", ["linux/amd64"]],
    ["the one without a variant where only lower ones fit", amds.slice(0, 1), "linux/amd64/v4", ["linux/amd64"]],
    ["a variant that has no number only by its name", [entry("linux/riscv64/rva23")], "linux/riscv64/rva20", []],
    ["what names no variant for any", [entry("linux/ppc64le")], "linux/ppc64le/power9", ["linux/ppc64le"]],
    ["names in any case", [entry("Linux/AMD64")], "linux/amd64", ["Linux/AMD64"]],
    ["an empty variant as none", [entry("linux/arm64/")], "linux/arm64", ["linux/arm64/"]],
    ["another system's not", [entry("windows/amd64")], "linux/amd64", []],
    ["another architecture's not", [entry("linux/arm")], "linux/arm64", []],
  ];
  for (const [what, offered, wanted, expected] of cases) {
    test(`${what}: ${wanted}`, () => {
      assert.deepEqual(chosen(offered, wanted), expected);
    });
  }

  test("that differ in something else are all chosen", () => {
    const versions = ["10.0.17763", "10.0.20348"].map((version) => entry("windows/amd64", { name: version }));
    assert.deepEqual(chosen(versions, "windows/amd64"), ["10.0.17763", "10.0.20348"]);
  });

  for (const platform of [null, 1, "linux/amd64", [], {}, { os: "linux" }, { os: 1, architecture: "amd64" }]) {
    test(`whose platform is ${JSON.stringify(platform)} fit none`, () => {
      assert.deepEqual(chosen([{ ...amd64, platform }], "linux/amd64"), []);
    });
  }
});
