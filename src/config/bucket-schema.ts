import { ValueError } from "./config-error.ts";
import {
  choice,
  count,
  filePath,
  intervalOrNever,
  sizeOrNone,
  fitting,
  secret,
  sizeWithin,
  text,
  timeout,
  uncontrolled,
  yesOrNo,
} from "./fields.ts";
import {
  type Alias,
  assembled,
  type Kind,
  optional,
  type Report,
  section,
  setting,
  showAll,
  type Values,
} from "./setting.ts";

const s3 = { commands: ["s3"] } as const;

/** Reads a bucket's name. @throws {ValueError} */
export function parseBucketName(value: string): string {
  const [, name, prefix] = /^s3:\/\/([^/]+)\/?(.*?)\/?$/i.exec(value) ?? [];
  if (name !== undefined) {
    throw new ValueError(`a bucket has no scheme: write \`bucket: ${name}\`${prefix && ` and \`prefix: ${prefix}\``}`);
  }
  const isName = /^[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]$/.test(value) && !/^\d+(?:\.\d+){3}$/.test(value);
  if (!isName) {
    const grammar = "3 to 63 small letters, digits, hyphens and single dots, with a letter or a digit at both ends";
    throw new ValueError(`expected a bucket's name (${grammar}), got ${JSON.stringify(value)}`);
  }
  if (value.endsWith("--x-s3")) {
    throw new ValueError(
      "a directory bucket cannot be used, as its listings are in no order: use a general purpose one",
    );
  }
  return value;
}

function parseEndpoint(value: string): string {
  const url = URL.parse(value);
  if (value.includes("@")) {
    // What stands before the @ may be a password, so the value is not repeated.
    throw new ValueError("expected a URL without user or password; the keys go to `access_key` and `secret_key`");
  }
  if (!/^https?:\/\//i.test(value)) {
    const hint = `write https://${value}, or http:// where the server has no TLS`;
    const isHost = /^[\w.-]+(?::\d+)?$|^\[[\da-fA-F:.]+\](?::\d+)?$/.test(value);
    throw new ValueError(isHost ? `needs a scheme: ${hint}` : `expected a URL such as https://s3.example.com:9000`);
  }
  if (url === null) throw new ValueError(`expected a URL such as https://s3.example.com:9000`);
  if (url.pathname !== "/" || /[?#]/.test(value)) {
    throw new ValueError(
      `must have nothing behind the host: write ${url.origin}; the bucket goes to \`bucket\`, a path in it to \`prefix\``,
    );
  }
  return url.origin;
}

/** Reads what all keys begin with. @throws {ValueError} */
export function parsePrefix(value: string): string {
  const bare = value.replaceAll(/^\/+|\/+$/g, "");
  if (bare !== value && bare !== "") throw new ValueError(`has no slash at its ends: write ${JSON.stringify(bare)}`);
  if (!/^[\w!.*'()-]+(?:\/[\w!.*'()-]+)*$/.test(value) || value.split("/").some((part) => /^\.\.?$/.test(part))) {
    throw new ValueError("expected letters, digits and !-_.*'() with single slashes between, such as team/cache");
  }
  if (value.length > maxPrefixBytes) throw new ValueError(`must have at most ${maxPrefixBytes} characters`);
  return value;
}

/** With the longest names of registry, repository and tag, S3's 1,024 bytes for a key are not passed. */
const maxPrefixBytes = 256;

function parseStorageClass(value: string): string {
  if (/^(?:GLACIER|DEEP_ARCHIVE)$/.test(value)) {
    throw new ValueError(`${value} cannot be read when it is asked for; use GLACIER_IR, STANDARD_IA or another one`);
  }
  if (!/^[A-Z][A-Z0-9_]*$/.test(value)) throw new ValueError("expected a class such as STANDARD_IA, in capitals");
  return value;
}

const key = secret(fitting(uncontrolled, "must not be empty, nor hold a control character such as a line's end"));
const keyId = fitting(/^[\x21-\x7e]{1,2048}$/, "must be printable ASCII text without spaces");
const mib = 1024 * 1024;

/** `S3_ENDPOINT`, as the program has it that it comes from: a host with a port and no scheme, or a URL. */
const endpointAlias: Alias = {
  name: "S3_ENDPOINT",
  read: (value, { S3_USE_SSL: tls = "" }) =>
    value.includes("://") ? value : `${/^(?:true|1)$/.test(tls) ? "https" : "http"}://${value}`,
};

const settings = {
  bucket: optional("bucket", text(parseBucketName))
    .about("The bucket's name. It must exist, and may hold other things below other prefixes.")
    .flag("--bucket <name>", "the bucket", { ...s3, aliases: [{ name: "S3_BUCKET_NAME" }] }),
  endpoint: optional("endpoint", text(parseEndpoint))
    .about(
      "The URL of a server that speaks S3, such as `https://s3.example.com:9000`, without a path. It is for S3 alone, not for the services that credentials come from. Null for AWS.",
    )
    .flag("--host <url>", "URL of a server that speaks S3; AWS without it", { ...s3, aliases: [endpointAlias] }),
  region: optional("region", text(fitting(/^[\w-]{1,64}$/, "expected a region's name such as eu-central-1")))
    .about(
      "The bucket's region. Null for that of AWS's own settings (`AWS_REGION`, the profile), and for `us-east-1` with an `endpoint`.",
    )
    .flag("--region <name>", "the bucket's region; without it that of AWS's own settings", s3),
  prefix: optional("prefix", text(parsePrefix))
    .about("What all keys begin with, without slashes at its ends: `team/cache`. Null for nothing.")
    .flag("--prefix <path>", "what all keys in the bucket begin with", s3),
  forcePathStyle: optional("force_path_style", yesOrNo)
    .about(
      "Whether the bucket is named in the path rather than in the host's name. Null for `true` with an `endpoint`, `false` at AWS.",
    )
    .flag("--path-style", "name the bucket in the path, not in the host's name", s3),
  accessKey: optional("access_key", secret(keyId))
    .about(
      "The access key's id; together with `secret_key`. Without both, AWS's default chain: its variables of the environment, profile, web identity, and the roles of containers and instances. Null for none.",
    )
    .flag("--access-key <id>", "id of the access key; without it AWS's default chain", {
      ...s3,
      aliases: [{ name: "S3_ACCESS_KEY_ID" }],
    }),
  secretKey: optional("secret_key", key)
    .about("The secret access key; together with `access_key`. Null for none.")
    .flag("--secret-key <key>", "secret access key; others can see a flag, so prefer the variable", {
      ...s3,
      aliases: [{ name: "S3_SECRET_ACCESS_KEY" }],
    }),
  sessionToken: optional("session_token", secret(keyId)).about(
    "The token that belongs to keys that are temporary. Such keys are not renewed. Null for none.",
  ),
  caFile: optional("ca_file", filePath).about(
    "A PEM file with certificates that are trusted besides the built-in ones, for the bucket's server. Null for none.",
  ),
  insecureSkipVerify: setting("insecure_skip_verify", yesOrNo, false).about(
    "Whether any certificate of the server is taken, unchecked.",
  ),
  serverSideEncryption: optional("sse", choice(["AES256", "aws:kms", "aws:kms:dsse"])).about(
    "How S3 is to encrypt what it stores. Null for the bucket's own setting.",
  ),
  kmsKeyId: optional("kms_key_id", text(keyId)).about(
    "The key of AWS's KMS, by id or ARN, for `sse: aws:kms` and `aws:kms:dsse`. Null for the account's own one.",
  ),
  storageClass: optional("storage_class", text(parseStorageClass)).about(
    "The storage class of what is written, such as `STANDARD_IA` or `INTELLIGENT_TIERING`. Null for the bucket's default.",
  ),
  maxAgeMs: setting("max_age", intervalOrNever, "never").about(
    "What no instance has used or stored for so long is removed from the bucket: a duration, which is rounded up to whole days, or `never`. What was used today or yesterday stays.",
  ),
  maxBytes: setting("max_size", sizeOrNone, "none").about(
    "What the bucket's objects may take. Where it is more, what was not used for longest is removed, by days and of the last day by repositories, down to 90% of it. `none` or null for no limit.",
  ),
  redirect: setting("redirect", choice(["never", "always", "cold"]), "never").about(
    "Which blobs clients are sent to the bucket for, by a URL that is signed for five minutes: none, all that the bucket has, or those of them that the folder does not have. Clients must be able to reach the bucket.",
  ),
  publicEndpoint: optional("public_endpoint", text(parseEndpoint)).about(
    "The URL at which clients reach the bucket's server with `redirect`, where that is not `endpoint`. Null for the same.",
  ),
  partSizeBytes: setting("part_size", sizeWithin(5 * mib, 1024 * mib), "8MiB").about(
    "How large the parts are in which blobs are uploaded, at least; each upload has one of them in memory, and two while all have 64MiB at most. From 5MiB to 1GiB.",
  ),
  checksums: optional("checksums", choice(["when_supported", "when_required"])).about(
    "Whether uploads carry S3's own checksums; several servers refuse them. Null for `when_required` with an `endpoint`, `when_supported` at AWS.",
  ),
  maxSockets: setting("max_sockets", count(1, 10_000), 50).about("How many connections there may be."),
  connectTimeoutMs: setting("connect_timeout", timeout(1), "3s").about("How long a connection may take to be made."),
  requestTimeoutMs: setting("request_timeout", timeout(1), "20s").about(
    "How long an answer may take to begin, and each next piece of it to come.",
  ),
  retries: setting("retries", count(0, 10), 3).about("How often a request is repeated that failed."),
};

type BucketValues = Values<typeof settings>;

const connectionSettings = {
  endpoint: settings.endpoint.withoutFlags(),
  region: settings.region.withoutFlags(),
  forcePathStyle: settings.forcePathStyle.withoutFlags(),
  accessKey: settings.accessKey.withoutFlags(),
  secretKey: settings.secretKey.withoutFlags(),
  sessionToken: settings.sessionToken,
  caFile: settings.caFile,
  insecureSkipVerify: settings.insecureSkipVerify,
  publicEndpoint: settings.publicEndpoint,
  maxSockets: settings.maxSockets,
  connectTimeoutMs: settings.connectTimeoutMs,
  requestTimeoutMs: settings.requestTimeoutMs,
  retries: settings.retries,
};

/** How a bucket is spoken to that is only read. */
export interface BucketConnection extends Values<typeof connectionSettings> {}

/** The mapping of that. */
export const bucketConnection: Kind<BucketConnection> = section(connectionSettings, reportKeys);

/** The bucket behind the folder, and how it is spoken to. */
export interface BucketConfig extends BucketValues {
  readonly bucket: string;
}

type Keys = Pick<BucketValues, "accessKey" | "secretKey" | "sessionToken">;

function reportKeys({ accessKey, secretKey, sessionToken }: Keys, report: Report): void {
  if (accessKey !== undefined && secretKey === undefined) {
    report({ path: ["access_key"], message: "needs a secret_key with it; without both, AWS's default chain is used" });
  }
  if (secretKey !== undefined && accessKey === undefined) {
    report({ path: ["secret_key"], message: "needs an access_key with it; without both, AWS's default chain is used" });
  }
  if (sessionToken !== undefined && (accessKey === undefined || secretKey === undefined)) {
    report({ path: ["session_token"], message: "needs access_key and secret_key with it" });
  }
}

/** What is right by itself but not together. */
function reportConflicts(values: BucketValues, report: Report): void {
  const { bucket, endpoint, serverSideEncryption, kmsKeyId } = values;
  if (bucket === undefined) report(missingBucket);
  reportKeys(values, report);
  if (kmsKeyId !== undefined && serverSideEncryption?.startsWith("aws:kms") !== true) {
    report({ path: ["kms_key_id"], message: "needs `sse: aws:kms` or `sse: aws:kms:dsse` with it" });
  }
  if (values.publicEndpoint !== undefined && values.redirect === "never") {
    report({ path: ["public_endpoint"], message: "needs `redirect: always` or `redirect: cold` with it" });
  }
  if (endpoint === undefined) return;
  const url = new URL(endpoint);
  if (url.hostname.endsWith(".amazonaws.com") && url.hostname.startsWith(`${bucket}.`)) {
    url.hostname = url.hostname.slice(`${bucket}.`.length);
    report({ path: ["endpoint"], message: `must not name the bucket: write ${url.origin}` });
  }
  if (url.protocol === "https:") return;
  for (const { key: name, given } of [
    { key: "ca_file", given: values.caFile !== undefined },
    { key: "insecure_skip_verify", given: values.insecureSkipVerify },
  ]) {
    if (given) report({ path: [name], message: `is for an endpoint that begins with https://, not for ${endpoint}` });
  }
}

/** What is wrong where no bucket is named. */
export const missingBucket = {
  path: ["bucket"],
  message: "is required: name the bucket here, by `s3 --bucket NAME` or by S3_BUCKET",
};

/** The mapping `storage.s3`. */
export const bucket: Kind<BucketConfig> = {
  schema: assembled(settings, (values, report): BucketConfig => {
    reportConflicts(values, report);
    return { ...values, bucket: values.bucket ?? "" };
  }),
  show: (values) => showAll(settings, values),
  settings,
};
