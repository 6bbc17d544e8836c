import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { formatPurgeTarget, parsePurgeTarget } from "../../../src/jobs/purge-target.ts";
import { OciError } from "../../../src/oci/errors.ts";
import { rules } from "../../support/administration.ts";

const digest = `sha256:${"ab".repeat(32)}`;

describe("a target", () => {
  const cases: [text: string, kind: string, full: string][] = [
    ["docker.io/", "namespace", "docker.io/"],
    ["index.docker.io/", "namespace", "docker.io/"],
    ["localhost:5000/", "namespace", "localhost:5000/"],
    ["alpine", "repository", "docker.io/library/alpine"],
    ["docker.io/alpine", "repository", "docker.io/library/alpine"],
    ["team/app", "repository", "docker.io/team/app"],
    ["short/app", "repository", "short/app"],
    ["quay.io/team/app", "repository", "quay.io/team/app"],
    ["alpine:3", "tag", "docker.io/library/alpine:3"],
    ["localhost:5000/app", "repository", "localhost:5000/app"],
    ["localhost:5000/app:1.2", "tag", "localhost:5000/app:1.2"],
    ["[::1]:5000/app:1.2", "tag", "[::1]:5000/app:1.2"],
    [`quay.io/team/app@${digest}`, "digest", `quay.io/team/app@${digest}`],
    [`quay.io/team/app:1@${digest}`, "digest", `quay.io/team/app@${digest}`],
    [digest, "content", digest],
  ];
  for (const [text, kind, full] of cases) {
    test(text, () => {
      const target = parsePurgeTarget(text, rules);
      assert.equal(target.kind, kind);
      assert.equal(formatPurgeTarget(target), full);
      assert.deepEqual(parsePurgeTarget(full, rules), target);
    });
  }
});

describe("what is no target", () => {
  const cases: [text: string, code: string, message: RegExp][] = [
    ["docker.io", "NAME_INVALID", /write docker\.io\/ for all/],
    ["short", "NAME_INVALID", /write short\/ for all/],
    ["localhost", "NAME_INVALID", /write localhost\/ for all/],
    ["", "NAME_INVALID", /repository name/],
    ["/", "NAME_INVALID", /repository name/],
    ["Alpine:3", "NAME_INVALID", /lower-case/],
    ["quay.io/team/*", "NAME_INVALID", /lower-case/],
    ["alpine:", "TAG_INVALID", /tag/],
    ["sha256:abc", "DIGEST_INVALID", /digest/],
    ["alpine@sha256:abc", "DIGEST_INVALID", /digest/],
    ["a b/", "NAME_INVALID", /host/],
  ];
  for (const [text, code, message] of cases) {
    test(JSON.stringify(text), () => {
      assert.throws(
        () => parsePurgeTarget(text, rules),
        (error) => error instanceof OciError && error.code === code && message.test(error.message),
      );
    });
  }
});
