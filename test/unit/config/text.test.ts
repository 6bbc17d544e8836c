import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { decodeText, TextError } from "../../../src/config/text.ts";
import { load, loadFile, problemsOf } from "./loading.ts";

const utf16 = (text: string): Buffer => Buffer.from(text, "utf16le");

describe("a file's bytes as text", () => {
  test("in UTF-8, with a byte order mark or without", () => {
    for (const text of ["", "a", "é€😀\n", "\uFFFD", "a\uFEFFb"]) {
      assert.equal(decodeText(Buffer.from(text)), text);
      assert.equal(decodeText(Buffer.from(`\uFEFF${text}`)), text);
    }
  });

  const faults: readonly (readonly [bytes: readonly number[], place: string])[] = [
    [[0xff], "byte 1, in line 1"],
    [[0x61, 0x0a, 0x62, 0xe9, 0x0a], "byte 4, in line 2"],
    [[0xc3, 0xa9, 0x0a, 0x0a, 0xc3], "byte 5, in line 3"],
    [[0xef, 0xbb, 0xbf, 0x61, 0x80], "byte 5, in line 1"],
    // Overlong, a surrogate, beyond the last character.
    [[0x61, 0xc0, 0xae], "byte 2, in line 1"],
    [[0xed, 0xa0, 0x80], "byte 1, in line 1"],
    [[0xf4, 0x90, 0x80, 0x80], "byte 1, in line 1"],
  ];
  for (const [bytes, place] of faults) {
    test(`not in ${bytes.map((byte) => byte.toString(16)).join(" ")}`, () => {
      assert.throws(() => decodeText(Buffer.from(bytes)), new TextError(`it is not UTF-8: ${place}`));
    });
  }

  test("not in UTF-16, with a mark or without, in either order", () => {
    for (const bytes of [utf16("\uFEFFa"), utf16("a: b"), utf16("\uFEFFa").swap16(), utf16("a: b").swap16()]) {
      assert.throws(() => decodeText(bytes), new TextError("it is UTF-16, and must be UTF-8"));
    }
  });
});

describe("a configuration that is not UTF-8", () => {
  const bytes = Buffer.from("listen: 127.0.0.1:1\n# caf\xe9\n", "latin1");
  const told = "c.yaml cannot be read: it is not UTF-8: byte 26, in line 2";

  test("is refused with its place", () => {
    assert.deepEqual(
      problemsOf(() => loadFile(bytes)),
      [`--config: ${told}`],
    );
  });

  test("as the list of upstreams, too", () => {
    const files = { "c.yaml": bytes };
    const list = { upstreamConfigFile: "c.yaml" };
    assert.deepEqual(
      problemsOf(() => load({ files, flags: list })),
      [`--upstream-config-file: ${told}`],
    );
  });

  test("as UTF-16 is called that", () => {
    assert.deepEqual(
      problemsOf(() => loadFile(utf16("listen: 127.0.0.1:1\n"))),
      ["--config: c.yaml cannot be read: it is UTF-16, and must be UTF-8"],
    );
  });

  test("but has a byte order mark is read", () => {
    assert.deepEqual(loadFile("\uFEFFlisten: 127.0.0.1:1\n").listen, { kind: "tcp", host: "127.0.0.1", port: 1 });
  });
});
