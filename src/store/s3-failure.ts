import { StoreError } from "./object-store.ts";

/** What S3 answered, or why there was no answer: nothing of the request, which holds keys and signatures. */
export class S3Failure extends Error {
  override readonly name = "S3Failure";
  /** S3's own code (`NoSuchBucket`), the system's (`ECONNREFUSED`), or the name of the error. */
  readonly code: string;
  /** The answer's status, where there was an answer. */
  readonly status: number | undefined;
  /** The region that the bucket is in, where S3 says that it is another one. */
  readonly bucketRegion: string | undefined;
  /** How often it was tried. */
  readonly attempts: number;
  /** The request's name, for S3's support. */
  readonly requestId: string | undefined;

  constructor(thrown: unknown) {
    const error = (thrown ?? {}) as ThrownBySdk;
    super(withoutQueries(error.message ?? String(thrown)));
    const { $metadata: metadata = {}, $response: response } = error;
    this.status = metadata.httpStatusCode;
    const name = error.name === "Error" ? undefined : error.name;
    // An answer without a body, as to HEAD, has no code of its own: the client makes names like `403` and `Unknown`.
    const ofSystem = typeof error.code === "string" ? error.code : name;
    const given = error.Code ?? (this.status === undefined ? ofSystem : name);
    this.code = given === undefined || /^(\d+|Unknown.*)$/.test(given) ? `HTTP ${this.status ?? "?"}` : given;
    this.bucketRegion = error.Region ?? response?.headers?.["x-amz-bucket-region"];
    this.attempts = metadata.attempts ?? 1;
    this.requestId = metadata.requestId;
  }

  /** The object, or what a condition speaks of, is not there. That the bucket is not there is another matter. */
  get isAbsence(): boolean {
    return this.status === 404 && this.code !== "NoSuchBucket" && this.code !== "NoSuchUpload";
  }

  /** A condition did not hold. */
  get isRefusedCondition(): boolean {
    return this.status === 412;
  }

  /** S3 could not decide between writers, none of which need have won. */
  get isUndecidedConflict(): boolean {
    return this.status === 409;
  }

  /** What was asked for may have been done all the same. */
  get isLostAnswer(): boolean {
    return this.status === undefined || this.status >= 500 || this.code === "RequestTimeout";
  }

  /** The answer has no body that says why, as to HEAD: it may be for credentials that have ended. */
  get isUnexplainedRefusal(): boolean {
    return this.code === "HTTP 400" || this.code === "HTTP 403";
  }

  get isExpiredCredential(): boolean {
    return /^(ExpiredToken(Exception)?|TokenRefreshRequired|InvalidToken)$/.test(this.code);
  }
}

interface ThrownBySdk {
  readonly name?: string;
  readonly message?: string;
  readonly code?: unknown;
  readonly Code?: string;
  readonly Region?: string;
  readonly $metadata?: { readonly httpStatusCode?: number; readonly attempts?: number; readonly requestId?: string };
  readonly $response?: { readonly headers?: Readonly<Record<string, string>> };
}

/** Where a bucket is, for messages. */
export interface BucketPlace {
  readonly bucket: string;
  readonly endpoint: string | undefined;
  readonly region: string | undefined;
}

/** The error that the store throws: what could not be done, why, and what to do about it. */
export function storeErrorOf(action: string, place: BucketPlace, failure: S3Failure): StoreError {
  const advice = adviceFor(failure, place);
  const where = `bucket ${place.bucket}${place.endpoint === undefined ? "" : ` at ${place.endpoint}`}`;
  const what = failure.status === undefined || failure.code.startsWith("HTTP ") ? "" : `, status ${failure.status}`;
  const said = `${failure.message} (${failure.code}${what})`;
  return new StoreError(`${action}, ${where}: ${said}${advice === undefined ? "" : `; ${advice}`}`, failure);
}

function adviceFor(failure: S3Failure, place: BucketPlace): string | undefined {
  const { bucket, region } = place;
  const { bucketRegion } = failure;
  if (bucketRegion !== undefined && bucketRegion !== region && failure.status !== 404) {
    return `the bucket is in the region ${bucketRegion}: set that one`;
  }
  const { status, code } = failure;
  return (
    advice[code] ??
    (status === undefined ? adviceForTransport(code, place) : adviceByStatus[status])?.replaceAll("%", bucket)
  );
}

const clockAdvice = "the clock of this machine, or that of the server, is wrong: set it";
const keysAdvice = "correct the access key and the secret key";
const regionAdvice = "the bucket is in another region, or at another endpoint: set region and endpoint";
const checksumAdvice = "where the server does not take S3's checksums, set checksums to when_required";
const credentialsAdvice =
  "give access_key and secret_key, or a role. In a container on EC2 that has to ask the instance's metadata, the hop " +
  "limit of the instance (HttpPutResponseHopLimit) has to be 2";

const advice: Readonly<Record<string, string>> = {
  NoSuchBucket: "create the bucket, or correct its name, region and endpoint",
  RequestTimeTooSkewed: clockAdvice,
  RequestExpired: clockAdvice,
  InvalidAccessKeyId: keysAdvice,
  SignatureDoesNotMatch: `${keysAdvice}; a proxy before the server may have changed the host or a header that is signed`,
  PermanentRedirect: regionAdvice,
  AuthorizationHeaderMalformed: regionAdvice,
  IllegalLocationConstraintException: regionAdvice,
  ExpiredToken: "the temporary credentials have ended, and there are no newer ones",
  ExpiredTokenException: "the token of the web identity has ended: look at its file",
  InvalidIdentityToken: "the role does not trust the token of the web identity",
  CredentialsProviderError: credentialsAdvice,
  TokenProviderError: credentialsAdvice,
  SlowDown: "S3 asks for fewer requests",
  XAmzContentSHA256Mismatch: "what was sent changed on its way",
  InvalidStorageClass: "correct storage_class",
  KMSDisabled: "enable the key that encrypts the bucket",
  "KMS.DisabledException": "enable the key that encrypts the bucket",
  "KMS.NotFoundException": "correct the key that encrypts the bucket",
};

const adviceByStatus: Readonly<Record<number, string>> = {
  301: regionAdvice,
  400: checksumAdvice,
  403:
    "allow s3:GetObject, s3:PutObject, s3:DeleteObject and s3:AbortMultipartUpload on %/*, and s3:ListBucket on %, " +
    "without which what is absent is refused",
  501: checksumAdvice,
};

function adviceForTransport(code: string, { endpoint, region }: BucketPlace): string | undefined {
  if (code === "ENOTFOUND" || code === "EAI_AGAIN") {
    if (endpoint === undefined) {
      const named = region === undefined ? "" : `, ${region}`;
      return `correct the region${named}: it has a name such as eu-central-1; or this machine cannot look up names`;
    }
    return "correct the endpoint; where the bucket's name is no name of a host, set force_path_style";
  }
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID") return "name the server in the endpoint as its certificate does";
  if (code === "EPROTO") return "no TLS is spoken there: begin the endpoint with http://";
  if (/CERT|SIGNED|ISSUER|VERIFY/.test(code)) return "give the certificate of who signed the server's as ca_file";
  if (code === "ECONNREFUSED") return "nobody listens there";
  if (/^(ETIMEDOUT|TimeoutError|EHOSTUNREACH|ENETUNREACH)$/.test(code)) {
    return "nothing answers there: look at the endpoint, and at what keeps this machine from reaching it";
  }
  return undefined;
}

/** A message that says no more than it has to: queries may be signed. */
function withoutQueries(message: string): string {
  if (/^(\s*|UnknownError)$/.test(message)) return "no reason was given";
  return message.replaceAll(/\?[^\s"'<>]*/g, "?…").slice(0, 400);
}
