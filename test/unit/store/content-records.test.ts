import assert from "node:assert/strict";
import { test } from "node:test";
import { isPageRecord } from "../../../src/store/content-records.ts";

test("a page is one that has what it answers and a document", () => {
  assert.ok(isPageRecord({ request: "n=2", page: { document: { tags: [] } } }));
  for (const other of [
    undefined,
    null,
    "n=2",
    {},
    { page: { document: {} } },
    { request: 2, page: { document: {} } },
    { request: "n=2" },
    { request: "n=2", page: null },
    { request: "n=2", page: {} },
    { request: "n=2", page: { document: null } },
    { request: "n=2", page: { document: "tags" } },
  ]) {
    assert.ok(!isPageRecord(other), JSON.stringify(other));
  }
});
