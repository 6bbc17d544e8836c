import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { formatNextLink, parseNextLink } from "../../../src/oci/link.ts";
import { anyText } from "./arbitraries.ts";

test("the next page is found", () => {
  const rows: [string | readonly string[] | undefined, string | undefined][] = [
    [undefined, undefined],
    ["", undefined],
    [[], undefined],
    ['</v2/a/tags/list?n=2&last=b>; rel="next"', "/v2/a/tags/list?n=2&last=b"],
    ["</v2/a/tags/list?last=b>; rel=next", "/v2/a/tags/list?last=b"],
    ["</x>;rel=next", "/x"],
    ['  </x>  ;  REL = "NEXT"  ', "/x"],
    ['<https://example.com/v2/a/tags/list?last=b>; rel="next"', "https://example.com/v2/a/tags/list?last=b"],
    ['<?last=b,c;d>; rel="next"', "?last=b,c;d"],
    ['</x>; title="a, <b>; rel=prev \\" c"; rel="next"', "/x"],
    ["</x>; title*=UTF-8''n%c3%a4chste; rel=next", "/x"],
    ['</first>; rel="first", </x>; rel="next"', "/x"],
    [["</first>; rel=first", "</x>; rel=next"], "/x"],
    ['</x>; rel="last next"', "/x"],
    ['</x>; rel="nextpage", </y>; rel="next"', "/y"],
    ["</x>; rel=prev; rel=next", undefined],
    ["</x>; rel", undefined],
    ["</x>", undefined],
    ["<>; rel=next", undefined],
    ["</x; rel=next", undefined],
    ["/x; rel=next", undefined],
    ['</x>; rel="next', undefined],
    ["</a>; rel=next, </b>; rel=next", "/a"],
    [",, </x>; rel=next", "/x"],
  ];
  for (const [header, expected] of rows) {
    assert.equal(parseNextLink(header), expected, String(header));
  }
});

test("what cannot stand in a target is encoded", () => {
  assert.equal(formatNextLink("/v2/a/tags/list?last=b"), '</v2/a/tags/list?last=b>; rel="next"');
  assert.equal(formatNextLink('/x>; rel="prev"\r\nX: 1'), '</x%3E;%20rel=%22prev%22%0D%0AX:%201>; rel="next"');
  assert.equal(formatNextLink("/é😀\u{d800}"), '</%C3%A9%F0%9F%98%80%EF%BF%BD>; rel="next"');
});

test("a link that was written is read", () => {
  const target = fc.webUrl({ withQueryParameters: true });
  fc.assert(fc.property(target, (text) => parseNextLink(formatNextLink(text)) === text));
});

test("any text is written as one line and read without an error", () => {
  fc.assert(
    fc.property(anyText, (text) => {
      parseNextLink(text);
      parseNextLink(`<${text}>; ${text}`);
      assert.match(formatNextLink(text), /^<[\x21-\x7e]*>; rel="next"$/);
    }),
  );
});
