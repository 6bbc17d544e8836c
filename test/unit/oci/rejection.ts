import assert from "node:assert/strict";
import { OciError, type OciErrorCode } from "../../../src/oci/errors.ts";

/** Asserts that `run` throws an `OciError` with this code, and says what was tried where it does not. */
export function assertRefused(run: () => unknown, code: OciErrorCode, tried = "it"): OciError {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof OciError, `${tried} threw ${String(error)}`);
    assert.equal(error.code, code, tried);
    return error;
  }
  return assert.fail(`${JSON.stringify(tried)} was accepted; ${code} was expected`);
}

/** Asserts that `run` returns, or throws an `OciError` that blames the client. */
export function assertThrowsOnlyOciError(run: () => unknown): void {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof OciError, String(error));
    assert.ok(error.status >= 400 && error.status < 500, `${error.code} has status ${error.status}`);
  }
}
