/* The bucket behind the folder: what is read from the file and the environment, and what is refused. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import type { BucketConfig } from "../../../src/config/bucket-schema.ts";
import { type Given, load, loadFile, pems, problemsOf } from "./loading.ts";

/** A file with a bucket, and more lines for it. */
function bucketWith(...lines: string[]): string {
  const all = ["bucket: cache", ...lines];
  return ["storage:", "  type: s3", "  s3:", ...all.map((line) => `    ${line}`)].join("\n");
}

const defaults: BucketConfig = {
  bucket: "cache",
  endpoint: undefined,
  region: undefined,
  prefix: undefined,
  forcePathStyle: undefined,
  accessKey: undefined,
  secretKey: undefined,
  sessionToken: undefined,
  caFile: undefined,
  insecureSkipVerify: false,
  serverSideEncryption: undefined,
  kmsKeyId: undefined,
  storageClass: undefined,
  maxAgeMs: Infinity,
  maxBytes: undefined,
  redirect: "never",
  publicEndpoint: undefined,
  partSizeBytes: 8 * 1024 * 1024,
  checksums: undefined,
  maxSockets: 50,
  connectTimeoutMs: 3_000,
  requestTimeoutMs: 20_000,
  retries: 3,
};

test("a name is all that a bucket needs", () => {
  assert.deepEqual(loadFile(bucketWith()).storage.s3, defaults);
});

test("without one, nothing of S3 is there", () => {
  assert.equal(load().storage.s3, undefined);
  assert.equal(loadFile("storage: {s3: null}").storage.s3, undefined);
});

test("every key is read, and keys may come from the environment", () => {
  const text = bucketWith(
    "endpoint: https://S3.example.com:9000/",
    "region: garage",
    "prefix: team/one_2",
    "force_path_style: false",
    "access_key: ${KEY}",
    "secret_key: a${SECRET}b",
    "session_token: token",
    "ca_file: /etc/ca.pem",
    "sse: aws:kms:dsse",
    "kms_key_id: alias/cache",
    "storage_class: STANDARD_IA",
    "redirect: cold",
    "public_endpoint: https://public.example.com",
    "part_size: 5MiB",
    "checksums: when_required",
    "max_sockets: 1",
    "connect_timeout: 1ms",
    "request_timeout: 1m",
    "retries: 0",
  );
  const { storage } = loadFile(text, { env: { KEY: "id", SECRET: "${KEY}" }, files: pems });
  assert.deepEqual(storage.s3, {
    ...defaults,
    endpoint: "https://s3.example.com:9000",
    region: "garage",
    prefix: "team/one_2",
    forcePathStyle: false,
    accessKey: "id",
    secretKey: "a${KEY}b",
    sessionToken: "token",
    caFile: "/etc/ca.pem",
    serverSideEncryption: "aws:kms:dsse",
    kmsKeyId: "alias/cache",
    storageClass: "STANDARD_IA",
    redirect: "cold",
    publicEndpoint: "https://public.example.com",
    partSizeBytes: 5 * 1024 * 1024,
    checksums: "when_required",
    maxSockets: 1,
    connectTimeoutMs: 1,
    requestTimeoutMs: 60_000,
    retries: 0,
  });
});

describe("the names that other programs have for variables", () => {
  const cases: [name: string, env: Record<string, string>, expected: Partial<BucketConfig>][] = [
    [
      "those of the earlier system",
      { S3_HOST: "http://s3.local", S3_REGION: "r", S3_ACCESS_KEY: "id", S3_SECRET_KEY: "key" },
      { endpoint: "http://s3.local", region: "r", accessKey: "id", secretKey: "key" },
    ],
    [
      "those of the read-only registry, whose endpoint has no scheme",
      { S3_ENDPOINT: "s3.local:9000", S3_ACCESS_KEY_ID: "id", S3_SECRET_ACCESS_KEY: "key", S3_USE_SSL: "false" },
      { endpoint: "http://s3.local:9000", accessKey: "id", secretKey: "key" },
    ],
    ["with TLS", { S3_ENDPOINT: "s3.local", S3_USE_SSL: "true" }, { endpoint: "https://s3.local" }],
    ["its scheme counts", { S3_ENDPOINT: "http://s3.local", S3_USE_SSL: "true" }, { endpoint: "http://s3.local" }],
    ["S3_USE_SSL alone is nothing", { S3_USE_SSL: "true" }, {}],
    ["the path style", { S3_PATH_STYLE: "true" }, { forcePathStyle: true }],
    ["no path style", { S3_PATH_STYLE: "false" }, { forcePathStyle: false }],
    ["the prefix", { S3_PREFIX: "a/b" }, { prefix: "a/b" }],
    ["the first name counts", { S3_BUCKET: "first", S3_BUCKET_NAME: "second" }, { bucket: "first" }],
    ["an empty one is not set", { S3_BUCKET: "", S3_BUCKET_NAME: "second" }, { bucket: "second" }],
    [
      "what keys hold is taken to the letter",
      { S3_ACCESS_KEY: "$${", S3_SECRET_KEY: "a${B}$$c" },
      { accessKey: "$${", secretKey: "a${B}$$c" },
    ],
  ];
  for (const [name, env, expected] of cases) {
    test(name, () => {
      const given = loadFile(bucketWith("region: file"), { env }).storage.s3;
      assert.deepEqual(given, { ...defaults, region: "file", ...expected });
    });
  }

  test("they alone will do", () => {
    const config = load({ command: "s3", env: { S3_BUCKET_NAME: "cache" } });
    assert.deepEqual(config.storage.s3, defaults);
  });

  test("they count for nothing where the content is kept in a folder alone", () => {
    const env = { S3_BUCKET: "NO", S3_HOST: "no", S3_ACCESS_KEY: "no", S3_PATH_STYLE: "no" };
    assert.deepEqual(load({ env }), load());
    assert.deepEqual(load({ env, command: "filesystem" }), load());
  });

  test("flags beat them, they beat the file, and the folder's variable counts, too", () => {
    const file = bucketWith("region: file", "prefix: file", "endpoint: http://file.local");
    const env = { S3_REGION: "env", S3_ENDPOINT: "env.local", FILESYSTEM_ROOT: "/env" };
    const { storage } = loadFile(file, { command: "s3", flags: { region: "flag" }, env });
    assert.equal(storage.root, "/env");
    assert.deepEqual(storage.s3, { ...defaults, region: "flag", prefix: "file", endpoint: "http://env.local" });
  });
});

describe("what cannot be used is said, with what to write instead", () => {
  const grammar = "3 to 63 small letters, digits, hyphens and single dots, with a letter or a digit at both ends";
  const url = "expected a URL such as https://s3.example.com:9000";
  const pair = "with it; without both, AWS's default chain is used";
  const cases: [name: string, given: Given & { readonly file?: string }, expected: string | RegExp][] = [
    [
      "no bucket",
      { file: "storage:\n  type: s3" },
      "c.yaml:1: storage.s3.bucket: is required: name the bucket here, by `s3 --bucket NAME` or by S3_BUCKET",
    ],
    ["a mapping without bucket", { file: "storage:\n  type: s3\n  s3: {}" }, /^c\.yaml:3: storage\.s3\.bucket: is req/],
    ["variables without bucket", { command: "s3", env: { S3_REGION: "r" } }, /^storage\.s3\.bucket: is required/],
    [
      "a bucket without its type",
      { file: "storage:\n  s3: {bucket: cache}" },
      "c.yaml:2: storage.s3: needs `type: s3`, or the command `s3`; else there is no bucket",
    ],
    [
      "a bucket beside the command filesystem",
      { file: bucketWith(), command: "filesystem" },
      /^c\.yaml:3: storage\.s3: needs `type: s3`/,
    ],
    ["no mapping", { file: "storage:\n  type: s3\n  s3: cache" }, /^c\.yaml:3: storage\.s3: expected a mapping/],
    ["a misspelt key", { file: bucketWith("endpont: x") }, /^c\.yaml:5: .*unknown key; did you mean "endpoint"\?$/],
    ...["", "ab", "Cache", "a_b", "-ab", "ab-", "a..b", "10.0.0.1", "a/b", "x".repeat(64)].map(
      (name): [string, Given, string] => [
        `the bucket ${JSON.stringify(name)}`,
        { flags: { bucket: name }, command: "s3" },
        `--bucket: expected a bucket's name (${grammar}), got ${JSON.stringify(name)}`,
      ],
    ),
    [
      "a bucket as a URL",
      { flags: { bucket: "s3://cache/a/b/" }, command: "s3" },
      "--bucket: a bucket has no scheme: write `bucket: cache` and `prefix: a/b`",
    ],
    [
      "that without a path",
      { flags: { bucket: "s3://cache" }, command: "s3" },
      "--bucket: a bucket has no scheme: write `bucket: cache`",
    ],
    [
      "a directory bucket",
      { env: { S3_BUCKET: "a--euc1-az1--x-s3" }, command: "s3" },
      /^S3_BUCKET: a directory bucket/,
    ],
    [
      "a host with port",
      { file: bucketWith("endpoint: localhost:9000") },
      "c.yaml:5: storage.s3.endpoint: needs a scheme: write https://localhost:9000, or http:// where the server has no TLS",
    ],
    ["another scheme", { file: bucketWith("endpoint: ftp://a.example.com") }, `c.yaml:5: storage.s3.endpoint: ${url}`],
    ["no URL", { env: { S3_HOST: "http://[" }, file: bucketWith() }, `S3_HOST: ${url}`],
    ["no host", { env: { S3_ENDPOINT: "a b" }, file: bucketWith() }, `S3_ENDPOINT: ${url}`],
    ...["/cache", "/?x=1", "?x", "/#", "#a"].map((rest): [string, Given & { file: string }, string] => [
      `an endpoint with ${rest}`,
      { file: bucketWith(`endpoint: "https://a.example.com:9000${rest}"`) },
      "c.yaml:5: storage.s3.endpoint: must have nothing behind the host: write https://a.example.com:9000; the bucket goes to `bucket`, a path in it to `prefix`",
    ]),
    [
      "an endpoint with a password",
      { file: bucketWith('endpoint: "https://hunter1:hunter2@a.example.com"') },
      "c.yaml:5: storage.s3.endpoint: expected a URL without user or password; the keys go to `access_key` and `secret_key`",
    ],
    [
      "AWS's endpoint with the bucket",
      { file: bucketWith("endpoint: https://cache.s3.eu-central-1.amazonaws.com") },
      "c.yaml:5: storage.s3.endpoint: must not name the bucket: write https://s3.eu-central-1.amazonaws.com",
    ],
    ["a region with a space", { file: bucketWith("region: a b") }, /expected a region's name such as eu-central-1$/],
    ...["/a", "a/", "//a/"].map((prefix): [string, Given & { file: string }, string] => [
      `the prefix ${prefix}`,
      { file: bucketWith(`prefix: ${prefix}`) },
      'c.yaml:5: storage.s3.prefix: has no slash at its ends: write "a"',
    ]),
    ...["''", "/", "a//b", "a/../b", ".", "a b", "a?b"].map((prefix): [string, Given & { file: string }, RegExp] => [
      `the prefix ${prefix}`,
      { file: bucketWith(`prefix: ${prefix}`) },
      /^c\.yaml:5: storage\.s3\.prefix: expected letters, digits and !-_\.\*'\(\) with single slashes between/,
    ]),
    ["a long prefix", { file: bucketWith(`prefix: ${"x".repeat(257)}`) }, /prefix: must have at most 256 characters$/],
    [
      "a key alone",
      { file: bucketWith("access_key: hunter2") },
      `c.yaml:5: storage.s3.access_key: needs a secret_key ${pair}`,
    ],
    [
      "a secret alone",
      { file: bucketWith(), env: { S3_SECRET_KEY: "hunter2" } },
      `S3_SECRET_KEY: needs an access_key ${pair}`,
    ],
    [
      "a token without keys",
      { file: bucketWith("session_token: hunter2") },
      "c.yaml:5: storage.s3.session_token: needs access_key and secret_key with it",
    ],
    [
      "a secret that is no text",
      { file: bucketWith("secret_key: 12345") },
      /secret_key: expected text; put it in quotes$/,
    ],
    ["a variable that is not set", { file: bucketWith("secret_key: ${NO}") }, /variable NO is not set$/],
    [
      "a key with a line's end",
      { file: bucketWith(), env: { S3_SECRET_KEY: "hunter2\n", S3_ACCESS_KEY: "a" } },
      "S3_SECRET_KEY: must not be empty, nor hold a control character such as a line's end",
    ],
    [
      "certificates without TLS",
      { file: bucketWith("endpoint: http://a.example.com", "ca_file: /etc/ca.pem"), files: pems },
      "c.yaml:6: storage.s3.ca_file: is for an endpoint that begins with https://, not for http://a.example.com",
    ],
    [
      "unchecked certificates without TLS",
      { file: bucketWith("endpoint: http://a.example.com", "insecure_skip_verify: true") },
      /^c\.yaml:6: storage\.s3\.insecure_skip_verify: is for an endpoint that begins with https/,
    ],
    [
      "a file of certificates that is not there",
      { file: bucketWith("ca_file: /none.pem") },
      "c.yaml:5: storage.s3.ca_file: /none.pem cannot be used: there is no such file",
    ],
    [
      "another encryption",
      { file: bucketWith("sse: aes256") },
      /sse: expected one of AES256, .*did you mean "AES256"\?$/,
    ],
    ["a key that encrypts nothing", { file: bucketWith("kms_key_id: a") }, /kms_key_id: needs `sse: aws:kms` or/],
    [
      "a key beside S3's own",
      { file: bucketWith("kms_key_id: a", "sse: AES256") },
      /kms_key_id: needs `sse: aws:kms` or/,
    ],
    ["a class that is not read at once", { file: bucketWith("storage_class: GLACIER") }, /use GLACIER_IR, STANDARD_IA/],
    [
      "a class in small letters",
      { file: bucketWith("storage_class: standard_ia") },
      /such as STANDARD_IA, in capitals$/,
    ],
    [
      "a public endpoint that nobody is sent to",
      { file: bucketWith("public_endpoint: https://a.example.com") },
      "c.yaml:5: storage.s3.public_endpoint: needs `redirect: always` or `redirect: cold` with it",
    ],
    [
      "a public endpoint with a path",
      { file: bucketWith("redirect: cold", "public_endpoint: https://a.example.com/cache") },
      /^c\.yaml:6: storage\.s3\.public_endpoint: must have nothing behind the host: write https:\/\/a\.example\.com;/,
    ],
    [
      "another redirect",
      { file: bucketWith("redirect: all") },
      /redirect: expected one of never, always, cold, got "all"/,
    ],
    ["small parts", { file: bucketWith("part_size: 1MiB") }, /part_size: must be from 5MiB to 1GiB, got "1MiB"$/],
    ["large parts", { file: bucketWith("part_size: 5GiB") }, /part_size: must be from 5MiB to 1GiB, got "5GiB"$/],
    ["parts without unit", { file: bucketWith("part_size: 8") }, /part_size: a size needs a unit/],
    [
      "no switch",
      { file: bucketWith(), env: { S3_PATH_STYLE: "yes" } },
      /^S3_PATH_STYLE: expected true, false, 1 or 0/,
    ],
  ];
  for (const [name, { file, ...given }, expected] of cases) {
    test(name, () => {
      const problems = problemsOf(() => (file === undefined ? load(given) : loadFile(file, given)));
      assert.equal(problems.length, 1, problems.join("\n"));
      if (typeof expected === "string") assert.equal(problems[0], expected);
      else assert.match(problems[0] ?? "", expected);
      assert.doesNotMatch(problems.join("\n"), /hunter/);
    });
  }
});
