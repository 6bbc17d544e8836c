import assert from "node:assert/strict";
import { test } from "node:test";
import { signAwsRequest } from "../../../../src/upstream/credentials/aws-signature.ts";

// The keys, the time and the signatures are those of AWS's own test suite for Signature Version 4.
const keys = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY" };
const scope = { region: "us-east-1", service: "service" };
const now = Date.UTC(2015, 7, 30, 12, 36, 0);
const url = new URL("https://example.amazonaws.com/");

test("post-vanilla", () => {
  assert.deepEqual(signAwsRequest({ url, headers: {}, body: "" }, keys, scope, now), {
    host: "example.amazonaws.com",
    "x-amz-date": "20150830T123600Z",
    authorization:
      "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
  });
});

test("post-x-www-form-urlencoded", () => {
  const headers = { "content-type": "application/x-www-form-urlencoded" };
  const signed = signAwsRequest({ url, headers, body: "Param1=value1" }, keys, scope, now);
  assert.equal(
    signed.authorization,
    "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
  );
});

test("the token of temporary keys is sent and signed", () => {
  const signed = signAwsRequest({ url, headers: {}, body: "" }, { ...keys, sessionToken: "token" }, scope, now);
  assert.equal(signed["x-amz-security-token"], "token");
  assert.match(signed.authorization ?? "", /SignedHeaders=host;x-amz-date;x-amz-security-token, /);
});
