import { type Fault, faultsOf } from "../fault.ts";

/** Faults of how the bucket is configured and kept in order. */
export const bucketSettings: readonly Fault[] = [
  ...faultsOf(
    "config/bucket-schema",
    ["unit/config/bucket"],
    [
      {
        name: "secret-without-key",
        find: "if (secretKey !== undefined && accessKey === undefined) {",
        replace: "if (false) {",
        breaks: "keys come in pairs",
      },
      {
        name: "endpoint-with-query",
        find: "/[?#]/.test(value)",
        replace: 'url.search !== ""',
        breaks: "an endpoint is a host and no more",
      },
      {
        name: "endpoint-password",
        find: 'if (value.includes("@")) {',
        replace: "if (false) {",
        breaks: "a password in an endpoint is refused, and repeated by no message",
      },
      {
        name: "certificates-without-tls",
        find: 'if (url.protocol === "https:") return;',
        replace: "return;",
        breaks: "what does nothing is refused",
      },
      {
        name: "ssl-by-default",
        find: '? "https" : "http"}',
        replace: '? "https" : "https"}',
        breaks: "S3_ENDPOINT without a scheme has the meaning that its program gives it",
      },
      {
        name: "double-dots",
        find: "\\.(?!\\.)",
        replace: "\\.",
        breaks: "a bucket's name is one by S3's rules",
      },
    ],
  ),
  ...faultsOf(
    "config/load",
    ["unit/config/bucket"],
    [
      {
        name: "variables-always",
        find: "option.commands.length > 0 && !option.commands.includes(type)",
        replace: "false",
        breaks: "variables of S3 count only where the content is kept in it",
      },
      {
        name: "variables-in-keys",
        find: "literal ? escapeReferences(value) : value",
        replace: "value",
        breaks: "what variables hold is taken to the letter",
      },
      {
        name: "empty-alias",
        find: 'if (variable !== undefined && variable !== "") {',
        replace: "if (variable !== undefined) {",
        breaks: "a variable that is empty is not set",
      },
    ],
  ),
  ...faultsOf(
    "config/storage-schema",
    ["unit/config/bucket"],
    [
      {
        name: "bucket-without-type",
        find: '} else if (type === "filesystem" && s3 !== undefined) {',
        replace: "} else if (false) {",
        breaks: "a bucket that would not be used is refused",
      },
    ],
  ),
  ...faultsOf(
    "store/s3-connection",
    ["unit/app/bucket-store"],
    [
      {
        name: "region-missed-later",
        find: "await client.config.region();",
        replace: "",
        breaks: "a region that is missing ends the start",
      },
    ],
  ),
  ...faultsOf(
    "store/s3-failure",
    ["unit/store/s3-errors"],
    [
      {
        name: "other-name-taken-for-unknown-signer",
        find: 'if (code === "ERR_TLS_CERT_ALTNAME_INVALID") return',
        replace: 'if (code === "") return',
        breaks: "a certificate for another name is not mended by ca_file",
      },
    ],
  ),
  ...faultsOf(
    "app/storage",
    ["flow/failed-start"],
    [
      {
        name: "bucket-left-open",
        find: "    await bucketStore?.close();\n    throw error;",
        replace: "    throw error;",
        breaks: "a folder that cannot be opened leaves no connections to the bucket",
      },
    ],
  ),
  ...faultsOf(
    "app/engine",
    ["flow/failed-start"],
    [
      {
        name: "storage-left-open",
        find: "    await storage.close();\n    throw error;",
        replace: "    throw error;",
        breaks: "a start that fails gives the folder back",
      },
    ],
  ),
  ...faultsOf(
    "bucket/upkeep",
    ["unit/bucket/upkeep"],
    [
      {
        name: "told-each-time",
        find: "if (failures === 0 && !this.#stopping.signal.aborted)",
        replace: "if (!this.#stopping.signal.aborted)",
        breaks: "a bucket that cannot be used is told of once",
      },
      {
        name: "told-late",
        find: "if (!this.#stopping.signal.aborted) observer.usable(lacks);",
        replace: "observer.usable(lacks);",
        breaks: "nothing is told after the end",
      },
      {
        name: "swept-once",
        find: "pauseMs = sweepAgainMs;",
        replace: "return;",
        breaks: "a sweep that failed is made up for",
      },
    ],
  ),
];
