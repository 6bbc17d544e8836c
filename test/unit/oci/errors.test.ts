import assert from "node:assert/strict";
import { test } from "node:test";
import { OciError, type OciErrorCode } from "../../../src/oci/errors.ts";

const statuses: Record<OciErrorCode, number> = {
  BLOB_UNKNOWN: 404,
  BLOB_UPLOAD_INVALID: 400,
  BLOB_UPLOAD_UNKNOWN: 404,
  CONFLICT: 409,
  CONTENT_TOO_LARGE: 413,
  DENIED: 403,
  DIGEST_INVALID: 400,
  MANIFEST_BLOB_UNKNOWN: 404,
  MANIFEST_INVALID: 400,
  MANIFEST_UNKNOWN: 404,
  NAME_INVALID: 400,
  NAME_UNKNOWN: 404,
  NOT_FOUND: 404,
  PAGINATION_NUMBER_INVALID: 400,
  PRECONDITION_FAILED: 412,
  RANGE_INVALID: 416,
  REQUEST_INVALID: 400,
  SIZE_INVALID: 400,
  TAG_INVALID: 400,
  TOOMANYREQUESTS: 429,
  UNAUTHORIZED: 401,
  UNAVAILABLE: 503,
  UNKNOWN: 500,
  UNSUPPORTED: 405,
  UNSUPPORTED_MEDIA_TYPE: 415,
  URI_TOO_LONG: 414,
};

test("every code has its status and a message", () => {
  for (const [code, status] of Object.entries(statuses) as [OciErrorCode, number][]) {
    const error = new OciError(code);
    assert.equal(error.status, status, code);
    assert.notEqual(error.message, "", code);
    assert.equal(error.code, code);
    assert.equal(error.detail, undefined);
    assert.equal(Object.hasOwn(error, "cause"), false);
  }
});

test("a message, a detail and a cause are kept", () => {
  const cause = new Error("inner");
  const error = new OciError("NAME_INVALID", "too long", { detail: { length: 300 }, cause });
  assert.ok(error instanceof Error);
  assert.equal(error.name, "OciError");
  assert.equal(error.message, "too long");
  assert.deepEqual(error.detail, { length: 300 });
  assert.equal(error.cause, cause);
});
